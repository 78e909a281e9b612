"""A task family of the user's own that fails: the run ends with one sentence, or is what it would have been."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium
import pytest

from rlmaml.deploy.adaptable import load
from rlmaml.storage.run_directory import RunDirectory
from rlmaml_envs.navigation import Navigation2D
from rlmaml_envs.registry import FAMILIES
from tests.faults.writers import TRAINING
from tests.scripts.test_scripts import SCRIPTS, run_script

FAMILY = '''"""Navigation with a fault in one step or observation, counted where it is not tried out, on six copies."""

import time

import numpy as np

from rlmaml_envs.navigation import Navigation2D


class Failing(Navigation2D):
    """Fails once."""

    steps = observed = 0

    def step(self, actions, running):
        Failing.steps += len(actions) != 6
        outcome = super().step(actions, running)
        if Failing.steps {when}:
            {fault}
        return outcome

    def observe(self):
        seen = super().observe()
        Failing.observed += len(seen) != 6
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


def trained_on(where: Path, fault: str = "pass", seen: str = "pass", when: str = "== 4", *words: object) -> int:
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


IN_STEP = "its function step, at step "
IN_OBSERVE = "its function observe, at step "


@pytest.mark.parametrize(
    ("fault", "seen", "words"),
    [
        ("raise RuntimeError('the cable broke')", "pass", (IN_STEP, "RuntimeError: the cable broke", "in step\n")),
        pytest.param("raise KeyError", "pass", (IN_STEP, "KeyError"), marks=pytest.mark.slow),
        ("return None", "pass", (IN_STEP, "step gave None; it must give an Outcome")),
        ("outcome.terms.clear()", "pass", (IN_STEP, "step gave the reward terms []; it must be [")),
        ("pass", "raise ValueError('no camera')", (IN_OBSERVE, "ValueError: no camera", "in observe\n")),
        ("pass", "return seen[:, :1]", (IN_OBSERVE, "The observation must be numbers (copy, observation)")),
        ("pass", "return seen.astype(str)", (IN_OBSERVE, "got dtype <U32")),
    ],
)
def test_what_a_family_fails_with_is_one_error_that_names_it_and_the_run_is_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str, seen: str, words: tuple[str, ...]
) -> None:
    when = "== 22"  # in the second meta-iteration
    assert trained_on(tmp_path, fault, seen, when, "--checkpoint-interval", 100) == 2
    said = capsys.readouterr().err
    sentence, left, *frames = said[said.index("error: ") :].splitlines()
    assert sentence.startswith(f"error: The task family Failing-v0, of {tmp_path}/failing.py:Failing, failed in its ")
    assert all(word in said for word in words)
    assert "the episodes of 2 copies, the first of which has the task goal = (" in sentence
    assert left == f"{tmp_path}/run holds the run after 1 meta-iteration; --resume continues it."
    places = [line for line in frames if line.startswith("  File ")]
    assert bool(places) == (len(words) > 2 or "KeyError" in words)
    assert all("failing.py" in line for line in places)
    assert load(tmp_path / "run").iteration == 1
    assert not list(tmp_path.rglob("*.partial*"))
    assert trained_on(tmp_path, fault, seen, when, "--resume") == 0  # it has failed once
    assert len(RunDirectory(tmp_path / "run").read_metrics()) == 2


def test_a_family_that_fails_while_it_is_made_or_tried_out_is_named_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained_on(tmp_path, "1 / 0", "pass", "== 0") == 2
    assert (
        "failing.py:Failing, failed in its first steps: ZeroDivisionError: division by zero" in capsys.readouterr().err
    )
    assert not (tmp_path / "run").exists()


def test_a_mistake_of_ours_keeps_its_traceback_and_what_was_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(Navigation2D, "step", fail)
    with pytest.raises(ZeroDivisionError, match="ours"):
        run_script("train_nav.py", *TRAINING, "--run-dir", tmp_path / "run")


@pytest.mark.slow
def test_one_that_hangs_is_seen_to_and_two_interrupts_end_it_with_a_run_that_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAMILY.format(fault=HANGS, seen="pass", when="== 22"))
    words = ["--family", f"{tmp_path}/failing.py:Failing", *TRAINING, "--run-dir", tmp_path / "run"]
    program = (
        "import runpy, signal, sys\nfrom rlmaml.terminal import waiting\n"
        "waiting.LONG = 2\n"  # of 1.5 s
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which those in the background ignore
        f"sys.path.insert(0, {str(SCRIPTS)!r})\n"
        f"runpy.run_path({str(SCRIPTS / 'train_locomotion.py')!r}, run_name='__main__')"
    )
    seen, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 200))  # in one without columns no bar has room
    command = [sys.executable, "-c", program, *map(str, words)]
    places = os.pathsep.join(str(SCRIPTS.parent / name) for name in (".", "envs", "scripts"))
    environment = {**os.environ, "PYTHONPATH": places}
    process = subprocess.Popen(command, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    with ended(process):
        read_until(seen, "nothing new for ", meanwhile=(tmp_path / "hangs").exists)
        process.send_signal(signal.SIGINT)
        read_until(seen, "Finishing this meta-iteration; the next signal stops at once.")
        process.send_signal(signal.SIGINT)
        read_until(seen, "Interrupted after 1 meta-iteration.")
        assert process.wait(60) == 130
    os.close(seen)
    assert load(tmp_path / "run").iteration == 1
    (tmp_path / "hangs").unlink()
    assert trained_on(tmp_path, "pass", "pass", "== 22", "--resume") == 0
    assert len(RunDirectory(tmp_path / "run").read_metrics()) == 2


HANGS = """open(__file__.replace("failing.py", "hangs"), "w").close()
            while True:
                time.sleep(0.1)"""


DEAF = """import ctypes
            open(__file__.replace("failing.py", "hangs"), "w").close()
            mutex, system = ctypes.create_string_buffer(64), ctypes.CDLL(None)
            system.pthread_mutex_lock(mutex), system.pthread_mutex_lock(mutex)"""
"""Waits for ever outside of Python, whatever signal comes."""


@pytest.mark.slow
def test_one_that_hangs_outside_of_python_can_be_killed_alone_and_the_run_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAMILY.format(fault=DEAF, seen="pass", when="== 22"))
    words = ["--family", f"{tmp_path}/failing.py:Failing", *TRAINING, "--run-dir", tmp_path / "run"]
    words += ["--checkpoint-interval", 1]
    places = os.pathsep.join(str(SCRIPTS.parent / name) for name in (".", "envs", "scripts"))
    command = [sys.executable, SCRIPTS / "train_locomotion.py", *words]
    process = subprocess.Popen(
        [*map(str, command)], stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": places}
    )
    with ended(process):
        end = time.monotonic() + 300
        while not (tmp_path / "hangs").exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(1)
        assert process.poll() is None
        process.kill()
        assert process.wait(60) == -signal.SIGKILL
    assert load(tmp_path / "run").iteration == 1
    assert trained_on(tmp_path, "pass", "pass", "== 22", "--resume", "--checkpoint-interval", 1) == 0
    assert len(RunDirectory(tmp_path / "run").read_metrics()) == 2
    assert not list((tmp_path / "run").glob("*.partial"))


@contextlib.contextmanager
def ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """A process that is over after the block, also where a test fails in it."""
    try:
        yield
    finally:
        process.kill()
        process.wait(60)


def read_until(terminal: int, words: str, meanwhile: Callable[[], bool] = lambda: True) -> None:
    """Read what a terminal shows, until it has shown these words while something was the case."""
    shown, found, end = "", False, time.monotonic() + 300
    while not found and time.monotonic() < end:
        if select.select([terminal], [], [], 1)[0]:
            holds = meanwhile()
            try:
                new = os.read(terminal, 10_000).decode(errors="replace")
            except OSError:  # nobody writes any more
                break
            found, shown = words in shown[-len(words) :] + new and holds, shown + new
    assert found, shown


def test_a_slow_environment_is_stopped_in_time_and_gone_on_with(tmp_path: Path) -> None:
    assert trained_on(tmp_path, "time.sleep(0.05)", "pass", "> 0", "--stop-after", 0.005) == 75
    assert len(RunDirectory(tmp_path / "run").read_metrics()) == 1
    assert trained_on(tmp_path, "time.sleep(0.05)", "pass", "> 0", "--resume") == 0
    assert len(RunDirectory(tmp_path / "run").read_metrics()) == 2
