"""Command lines of any words: every script ends with one sentence or does what it was asked, nothing half."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmaml.training.run import train
from tests.faults.fuzzing import COMMANDS, fuzzed, in_time, share
from tests.faults.trainings import SETTINGS, make_env
from tests.faults.writers import SMALL, SUPERVISED, TRAINING
from tests.scripts.test_scripts import SCRIPTS, run_script

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

ALONE: dict[str, tuple[object, ...]] = {
    "train_nav.py": (*TRAINING, "--iterations", 0, "--video-interval", 0),
    "train_sinusoid.py": (*SUPERVISED, "--iterations", 0),
    "benchmark.py": (*SMALL, "--horizon", 5, "--repeats", 1),
}
"""Scripts that need no run -> words that keep them small; the last of a word that is given twice counts."""
OF_A_RUN: dict[str, tuple[object, ...]] = {
    "adapt.py": ("--episodes-per-step", 2, "--steps", 1, "--search-episodes", 2),
    "evaluate.py": (*SMALL, "--steps", 1),
    "export.py": (),
    "report.py": (*SMALL, "--steps", 1),
    "summarise.py": (),
    "solvers.py": ("--draws", 1),
}
"""Scripts that read a run."""
NAMES = (
    *("seed", "tasks", "episodes", "horizon", "hidden", "algorithm", "policy", "variant", "family", "config", "resume"),
    *("overwrite", "hold-out", "run-dir", "task", "json", "output", "record", "actions", "beyond", "steps", "floor"),
    *("trust-region", "search", "max-kl", "discount", "time-limit", "inner-step-sizes", "device", "rollout-device"),
    *("env-id", "inner-steps", "learn-step-sizes", "first-order", "initial-std", "normalised", "online", "no-resume"),
    *("stop-after", "checkpoint-interval", "beside", "threads"),
)
VALUES = (
    st.sampled_from(["", "0", "1", "2", "-1", "1e999", "nan", "inf", "0.5", "True", "none", "cuda:9", "reptile", "gru"])
    | st.sampled_from(["wind", ".", "no/such/place", "a.py:B", "os:path", "goal=0.1,0.2", "random"])
    | st.text(st.characters(exclude_characters="\0/~", exclude_categories=["Cs"]), max_size=6).filter(
        lambda t: t != ".."
    )
)
"""None names a place outside of the working directory."""
WORDS = st.lists(
    st.tuples(st.sampled_from(NAMES).map(lambda name: f"--{name}"), VALUES)
    | st.tuples(st.sampled_from(NAMES).map(lambda name: f"--{name}"))
    | st.tuples(VALUES)
    | st.tuples(st.sampled_from(NAMES), VALUES).map(lambda pair: (f"--{pair[0]}={pair[1]}",)),
    max_size=3,
).map(lambda parts: [word for part in parts for word in part])
SCRIPT = st.sampled_from([*ALONE, *OF_A_RUN])
LEGAL = (0, 2, 75)
PLACES = os.pathsep.join(str(SCRIPTS.parent / name) for name in (".", "envs", "scripts"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": PLACES, "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    train(SETTINGS.changed(iterations=1), make_env, run_dir, progress=False)
    return run_dir


def command_line(script: str, words: list[str], trained: Path, here: Path) -> list[str]:
    """A script's words, in an empty directory but for a run."""
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    if script in ALONE:
        return [*words, *map(str, ALONE[script])]
    shutil.copytree(trained, here / "run")
    return ["run", *words, *map(str, OF_A_RUN[script])]


@fuzzed(share("command lines"))
@given(script=SCRIPT, words=WORDS)
def test_any_words_end_a_script_with_a_sentence_or_a_result(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    trained: Path,
    script: str,
    words: list[str],
) -> None:
    here = tmp_path / "here"
    line = command_line(script, words, trained, here)
    monkeypatch.chdir(here)
    try:
        with in_time():
            code = run_script(script, *line)
    finally:
        monkeypatch.chdir(tmp_path)
    assert code in LEGAL, capsys.readouterr().err
    assert not list(here.rglob("*.partial*"))


@fuzzed(COMMANDS)
@given(script=SCRIPT, words=WORDS)
def test_any_words_end_a_process_with_a_sentence_or_a_result(
    tmp_path: Path, trained: Path, script: str, words: list[str]
) -> None:
    here = tmp_path / "here"
    line = command_line(script, words, trained, here)
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *line],
        cwd=here,
        env=ENVIRONMENT,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in LEGAL, done.stderr
    assert b"Traceback" not in done.stderr
    assert not list(here.rglob("*.partial*"))
