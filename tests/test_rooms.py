import ast
import inspect
import json
import pkgutil
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = (
    "base",
    "terminal",
    "settings",
    "core",
    "rules",
    "policies",
    "sampling",
    "families",
    "storage",
    "deploy",
    "evaluation",
    "algorithms",
    "training",
    "results",
)
"""The rooms of rlmaml from the ground up: each imports from itself and from those before it."""
ROOMS = {path.name for path in (ROOT / "rlmaml").iterdir() if path.is_dir() and path.name != "__pycache__"}


def imported(path: Path) -> set[str]:
    """Every module that a file imports, also inside functions and for type checking."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_room_has_its_place() -> None:
    assert set(ORDER) == ROOMS


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_downwards_only(room: str) -> None:
    above = ORDER[ORDER.index(room) + 1 :]
    for path in (ROOT / "rlmaml" / room).rglob("*.py"):
        wrong = {
            name for name in imported(path) if name.split(".")[0] == "rlmaml" and set(name.split(".")[1:2]) & {*above}
        }
        assert not wrong, path


def test_the_files_of_a_room_need_one_another_in_no_circle() -> None:
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / "rlmaml").rglob("*.py")}
    needs = {name: imported(path) & set(files) for name, path in files.items()}
    while leaves := {name for name, others in needs.items() if not others}:
        needs = {name: others - leaves for name, others in needs.items() if name not in leaves}
    assert not needs


def test_rlmaml_never_imports_envs_and_envs_never_imports_torch_or_rlmaml() -> None:
    for path in (ROOT / "rlmaml").rglob("*.py"):
        assert "rlmaml_envs" not in {name.split(".")[0] for name in imported(path)}, path
    for path in (ROOT / "envs" / "rlmaml_envs").glob("*.py"):
        assert not {"torch", "rlmaml"} & {name.split(".")[0] for name in imported(path)}, path


def test_a_room_is_about_a_dozen_files_and_no_file_is_long() -> None:
    for room in [*ORDER, "settings/methods"]:
        paths = [path for path in (ROOT / "rlmaml" / room).glob("*.py") if path.name != "__init__.py"]
        most = 20 if room == "algorithms" else 16  # a third of the algorithms are names for settings of another
        assert 2 <= len(paths) <= most, room
        for path in paths:
            assert len(path.read_text().splitlines()) <= 400, path
    for path in (ROOT / "scripts").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path


def test_no_two_files_of_the_package_have_one_name_but_a_method_and_its_settings() -> None:
    names = Counter(path.stem for path in (ROOT / "rlmaml").rglob("[!_]*.py"))
    twice = {name for name, count in names.items() if count > 1}
    beside = {path.stem for path in (ROOT / "rlmaml" / "settings").rglob("[!_]*.py")}
    assert twice <= beside


def test_no_two_files_of_the_package_define_a_function_of_one_name() -> None:
    defined: dict[str, list[Path]] = {}
    for path in (ROOT / "rlmaml").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                defined.setdefault(node.name, []).append(path)
    # Every module of a method has what its name stands for.
    assert {name for name, paths in defined.items() if len(paths) > 1} <= {"meta_algorithm"}


def test_public_functions_of_the_mathematics_take_neither_a_config_nor_a_clock() -> None:
    seen = 0
    for room in ("core", "rules", "policies", "algorithms", "sampling"):
        package = import_module(f"rlmaml.{room}")
        for module in pkgutil.iter_modules(package.__path__, f"rlmaml.{room}."):
            for name, value in vars(import_module(module.name)).items():
                if inspect.isfunction(value) and not name.startswith("_"):
                    seen += 1
                    assert not {"config", "clock"} & set(inspect.signature(value).parameters), f"{module.name}.{name}"
    assert seen > 60


def test_only_one_file_names_the_files_of_a_run() -> None:
    names = (
        "checkpoint.safetensors",
        "metrics.jsonl",
        "run.json",
        "evaluation.json",
        "adaptation.png",
        "comparison.json",
    )
    for path in [*(ROOT / "rlmaml").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        if path.name != "run_directory.py":
            strings = {
                node.value
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
            assert not strings & set(names), path


def test_nothing_outside_of_the_policies_room_names_a_policys_entries() -> None:
    for path in [*(ROOT / "rlmaml").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        if path.parent.name != "policies":
            assert '"layer0' not in path.read_text(), path
            assert '"log_std"' not in path.read_text(), path


def test_nothing_asks_for_a_family_by_its_name() -> None:
    for path in [
        *(ROOT / "rlmaml").rglob("*.py"),
        *(ROOT / "scripts").glob("*.py"),
        *(ROOT / "envs" / "rlmaml_envs").glob("*.py"),
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                for part in (node.left, *node.comparators):
                    value = part.value if isinstance(part, ast.Constant) else None
                    assert not (isinstance(value, str) and value.endswith("-v0")), f"{path}:{node.lineno}"


ABSENT = {
    "rlmaml": {"torch", "numpy"},
    "rlmaml.settings.whole": {"torch", "matplotlib", "tensorboard"},
    "rlmaml.storage.checkpoint": {"matplotlib", "tensorboard", "PIL", "rlmaml.algorithms"},
    "rlmaml.deploy.adaptable": {
        *(
            "rlmaml.algorithms",
            "rlmaml.training",
            "rlmaml.results",
            "rlmaml.evaluation",
            "rlmaml_envs",
            "gymnasium",
            "mujoco",
        ),
        *("tensorboard", "tyro", "torch.utils.tensorboard", "matplotlib", "scipy", "PIL", "moviepy", "torch._dynamo"),
    },
    "rlmaml.families.decoding": {"torch"},
    "rlmaml.algorithms.registry": {"matplotlib", "tensorboard", "PIL", "rlmaml.algorithms.reptile"},
    "rlmaml.results.summary": {"matplotlib", "tensorboard", "PIL", "rlmaml.training"},
}
"""Module -> what importing it does not load."""
IMPORTS = """
import importlib, json, os, sys
for modules in json.loads(sys.argv[1]):
    for module in modules:
        if os.fork() == 0:
            importlib.import_module(module)
            print(json.dumps([module, sorted(sys.modules)]), flush=True)
            os._exit(0)
        assert os.wait()[1] == 0, module
    import torch
"""
"""Import every module in a process of its own; torch, which takes long, once for all of the second list."""


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """Module -> all that importing it loads."""
    lists = [[module for module in ABSENT if ("torch" in ABSENT[module]) == without] for without in (True, False)]
    command = [sys.executable, "-c", IMPORTS, json.dumps(lists)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("module", ABSENT)
def test_importing_a_module_loads_no_more_than_it_needs(loaded: dict[str, list[str]], module: str) -> None:
    assert module in loaded[module]
    assert not ABSENT[module] & set(loaded[module])
