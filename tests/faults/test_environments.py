"""A task family of the user's own that fails: the run ends with one sentence, or is what it would have been."""

import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest

from rlmaml.storage.run_directory import RunDirectory
from rlmaml_envs.registry import FAMILIES
from tests.faults.writers import TRAINING
from tests.scripts.test_scripts import run_script

FAMILY = '''"""Navigation with a fault in its twelfth step or observation."""

import time

import numpy as np

from rlmaml_envs.navigation import Navigation2D


class Failing(Navigation2D):
    """Fails once."""

    steps = observed = 0

    def step(self, actions, running):
        Failing.steps += 1
        outcome = super().step(actions, running)
        if Failing.steps {when}:
            {fault}
        return outcome

    def observe(self):
        Failing.observed += 1
        seen = super().observe()
        if Failing.observed {when}:
            {seen}
        return seen
'''


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    yield
    FAMILIES.pop("Failing-v0", None)
    gymnasium.registry.pop("Failing-v0", None)


def trained_on(where: Path, fault: str = "pass", seen: str = "pass", when: str = "== 12", *words: object) -> int:
    """The exit code of a training on a family that fails."""
    (where / "failing.py").write_text(FAMILY.format(fault=fault, seen=seen, when=when))
    family = ("--family", f"{where}/failing.py:Failing")
    return run_script("train_locomotion.py", *family, *TRAINING, "--run-dir", where / "run", *words)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("pass", "seen[0] = np.nan"),
        ("pass", "seen[0, 0] = np.inf"),
        ("next(iter(outcome.terms.values()))[0] = np.nan", "pass"),
    ],
)
def test_a_number_that_is_not_finite_ends_its_episode_and_no_run(tmp_path: Path, fault: str, seen: str) -> None:
    assert trained_on(tmp_path, fault, seen) == 0
    lines = RunDirectory(tmp_path / "run").read_metrics()
    assert len(lines) == 2
    assert sum(value for line in lines for name, value in line.items() if name.startswith("unstable_episodes")) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("raise RuntimeError('the cable broke')", "pass"),
        ("raise OSError('the bus is gone')", "pass"),
        ("1 / 0", "pass"),
        ("pass", "raise ValueError('no camera')"),
        ("return None", "pass"),
        ("outcome.terms.clear()", "pass"),
        ("pass", "return seen[:, :1]"),
        ("pass", "return seen.astype(str)"),
    ],
)
def test_what_a_family_raises_reaches_whoever_wrote_it_and_the_run_can_be_gone_on_with(
    tmp_path: Path, fault: str, seen: str
) -> None:
    with pytest.raises(Exception, match=r"."):
        trained_on(tmp_path, fault, seen)
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"checkpoint.safetensors", "run.json"}
    assert not list(tmp_path.rglob("*.partial*"))
    assert trained_on(tmp_path, fault, seen, "== 12", "--resume") == 0  # it has failed once
    assert len(RunDirectory(tmp_path / "run").read_metrics()) == 2


def test_a_slow_environment_is_stopped_in_time_and_gone_on_with(tmp_path: Path) -> None:
    assert trained_on(tmp_path, "time.sleep(0.05)", "pass", "> 0", "--stop-after", 0.005) == 75
    assert len(RunDirectory(tmp_path / "run").read_metrics()) == 1
    assert trained_on(tmp_path, "time.sleep(0.05)", "pass", "> 0", "--resume") == 0
    assert len(RunDirectory(tmp_path / "run").read_metrics()) == 2
