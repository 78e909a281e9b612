"""Every script that takes a policy takes a run, a checkpoint and an adapted policy, of our families and of others."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from rlmaml.deploy.adaptable import load
from rlmaml.storage.run_directory import RunDirectory
from tests.rlmaml.training.conftest import plain_figures
from tests.scripts.test_own_families import forget, write_family
from tests.scripts.test_scripts import TINY, run_script

__all__ = ["plain_figures"]

SIZES = ("--tasks", 2, "--episodes", 2, "--steps", 1)
COMMANDS: dict[str, tuple[object, ...]] = {
    "evaluate.py": SIZES,
    "adapt.py": ("--episodes-per-step", 2, "--output", "new.safetensors"),
    "render.py": ("--episodes-per-step", 2, "--output", "film.gif"),
    "report.py": (*SIZES, "--output", "page.html"),
    "export.py": ("--output", "exported"),
    "compare.py": SIZES,
}
KINDS = ("run", "checkpoint", "adapted")
FAMILIES = ("ours", "own")
FAST = {("evaluate.py", "checkpoint", "own"), ("adapt.py", "adapted", "own"), ("compare.py", "adapted", "ours")}
"""One script for each family and kind, or so; the others take longer together than a fast suite should."""


class Trained(NamedTuple):
    """Policies of one family, and the words that allow it."""

    policies: dict[str, Path]
    words: tuple[object, ...]
    env_id: str


@pytest.fixture(scope="module", autouse=True)
def _as_before() -> Iterator[None]:
    path = [*sys.path]
    yield
    sys.path[:] = path
    forget()
    sys.modules.pop("fastest_cart", None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """Runs too short to be good, of both families, each with a policy that adapted once."""
    folder = tmp_path_factory.mktemp("policies")
    own = ("--family", write_family(folder / "robots"))
    found = {}
    for family, script, words, env_id in (
        ("ours", "train_nav.py", (), "Navigation2D-v0"),
        ("own", "train_locomotion.py", own, "LimitedCarts-v0"),
    ):
        directory = RunDirectory(folder / family)
        assert run_script(script, *words, *TINY, "--iterations", 1, "--run-dir", directory.path) == 0
        recorded, new = folder / f"{family}.npz", ("--output", folder / f"{family}.safetensors")
        few = ("--episodes-per-step", 2, "--record", recorded)
        assert run_script("adapt.py", directory.path, *few, *new, *words) == 0
        assert run_script("adapt.py", directory.path, "--episodes", recorded, *words) == 0  # a step is taken for sure
        policies = {"run": directory.path, "checkpoint": directory.checkpoint, "adapted": directory.adapted}
        found[family] = Trained(policies, words, env_id)
    return found


@pytest.mark.parametrize(
    ("script", "kind", "family"),
    [
        pytest.param(*case, marks=[] if case in FAST else [pytest.mark.slow])
        for case in ((script, kind, family) for script in COMMANDS for kind in KINDS for family in FAMILIES)
    ],
)
def test_every_script_takes_every_kind_of_policy_and_says_which_actions_earned_its_returns(
    tmp_path: Path,
    trained: dict[str, Trained],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    kind: str,
    family: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    policies, words, env_id = trained[family]
    there = {path: path.read_bytes() for path in RunDirectory(policies["run"]).path.glob("*.safetensors")}
    beside = [policies["run" if kind == "adapted" else "adapted"]] if script == "compare.py" else []
    forget()
    capsys.readouterr()
    assert run_script(script, policies[kind], *beside, *COMMANDS[script], *words) == 0
    said = capsys.readouterr().out
    if script == "adapt.py":
        new, before = load(tmp_path / "new.safetensors"), load(policies[kind])
        assert (new.settings.run.env_id, before.steps_taken) == (env_id, int(kind == "adapted"))
        assert new.adaptation["task"] in said
    if script == "compare.py":
        name = policies["run"].name
        names = [f"{name}/adapted", name] if kind == "adapted" else [name, f"{name}/adapted"]
        assert f"| {names[1]} less {names[0]} |" in said
        assert f"{name}/adapted had taken 1 step before, on a task that is not known." in said
    if script == "export.py":
        assert (tmp_path / "exported" / "policy.onnx").exists()
    else:
        page = tmp_path / "page.html"
        assert " actions" in (page.read_text() if page.exists() else said)
    assert {path: path.read_bytes() for path in there} == there, "nothing that was there is changed"
