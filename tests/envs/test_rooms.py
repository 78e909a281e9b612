"""The order of the files of ``rlmaml_envs``: none leads back to itself, nothing heavy is loaded before its use."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from rlmaml_envs import KNOWN_IDS

ROOT = Path(__file__).parents[2]
MODULES = {
    f"rlmaml_envs.{path.stem}": path for path in (ROOT / "envs" / "rlmaml_envs").glob("*.py") if path.stem != "__init__"
}


def imported(source: str) -> set[str]:
    """Every module that a source text imports, wherever: at its top, in functions, and for types only."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "an import names its module in full"
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def named(source: str) -> set[str]:
    """Every module that a source text names for a later import, as ``"module:name"``."""
    texts = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    return {text.split(":")[0] for text in texts if isinstance(text, str)}


def order(sources: dict[str, str]) -> list[str]:
    """The modules, each after those that it needs.

    Raises:
        CycleError: there is no such order; its arguments hold the circle.
    """
    needs = {module: (imported(source) | named(source)) & set(sources) for module, source in sources.items()}
    return list(TopologicalSorter(needs).static_order())


def test_no_file_of_envs_needs_itself_by_whatever_way() -> None:
    found = order({module: path.read_text() for module, path in MODULES.items()})
    assert set(found) == set(MODULES)
    families = [found.index(f"rlmaml_envs.{name}") for name in ("navigation", "locomotion", "half_cheetah", "rover")]
    assert max(families) < found.index("rlmaml_envs.registry") < found.index("rlmaml_envs.vector")


@pytest.mark.parametrize(
    "back",
    [
        "import rlmaml_envs.a",
        "from rlmaml_envs import a",
        "def late():\n    from rlmaml_envs.a import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from rlmaml_envs.a import x",
        "table = {'id': ('rlmaml_envs.a:x', 3)}",
    ],
)
def test_a_circle_is_seen_through_every_kind_of_import(back: str) -> None:
    with pytest.raises(CycleError):
        order({"rlmaml_envs.a": "from rlmaml_envs.b import y", "rlmaml_envs.b": back})


def test_no_file_of_envs_imports_the_package_whose_part_it_is() -> None:
    for path in MODULES.values():
        assert "rlmaml_envs" not in imported(path.read_text()), path


def test_envs_asks_what_a_family_can_do_and_never_which_it_is() -> None:
    for path in MODULES.values():
        compared = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Compare)]
        texts = {text.value for node in compared for text in ast.walk(node) if isinstance(text, ast.Constant)}
        assert not texts & set(KNOWN_IDS), path


def test_envs_never_imports_torch_or_rlmaml() -> None:
    for path in (ROOT / "envs" / "rlmaml_envs").rglob("*.py"):
        packages = {name.split(".")[0] for name in imported(path.read_text())}
        assert not packages & {"torch", "rlmaml"}, path


@pytest.mark.parametrize(
    "modules", ["rlmaml_envs", ", ".join(sorted(MODULES))], ids=["the package", "each of its files"]
)
def test_importing_envs_loads_nothing_that_draws(modules: str) -> None:
    heavy = ("torch", "rlmaml", "matplotlib", "pygame", "PIL")
    code = f"import sys, {modules}; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout == "[]\n"
