"""Kills at random moments: the finished run equals the uninterrupted one bit for bit, and nothing is left but a run."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rlmaml.base.files import is_left_over
from rlmaml.deploy.adaptable import load
from rlmaml.storage.run_directory import RunDirectory
from tests.faults.trainings import metrics_of, server, started
from tests.rlmaml.training.test_run import assert_same_run

SCRIPTS = Path(__file__).parents[2] / "scripts"
OPTIONS: tuple[object, ...] = ("--tasks", 2, "--episodes", 2, "--horizon", 5, "--hidden", 8, "--iterations", 40)
OPTIONS += ("--checkpoint-interval", 1, "--evaluation-tasks", 2, "--evaluation-episodes", 2, "--evaluation-steps", 1)
OPTIONS += ("--figure-interval", 0, "--video-interval", 0, "--threads", 1, "--rollout-threads", 1)
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
A_RUN = {
    *("checkpoint.safetensors", "earlier_checkpoints", "metrics.jsonl", "run.json", "evaluation.json"),
    "adaptation.png",
}

KILLS = 40
"""Of trainings that are killed once; those that are killed again and again add ten."""
FEW = 1
"""Of them that take place whenever tests do."""
LAST_FILE_EVENT = 75
"""A training does more than this to its files."""


def assert_usable_if_begun(run_dir: Path) -> None:
    """From its first checkpoint on, which is its first file, a run can be used at any time.

    There is nothing else but what was being written, under a name that says so.
    """
    if not run_dir.exists():
        return
    events = {path.name for path in RunDirectory(run_dir).events()}
    others = {path.name for path in run_dir.iterdir()} - A_RUN - events
    assert all(any(is_left_over(name, of) for of in A_RUN) for name in others)
    assert len(others) <= 1
    if any(path for path in run_dir.glob("*") if not path.name.endswith(".partial")):
        assert load(run_dir).iteration >= 0


def assert_nothing_but_the_run(run_dir: Path, whole: Path) -> None:
    """The same run bit for bit, under the same names, and in TensorBoard without duplicates and gaps."""
    assert_same_run(run_dir, whole)
    for each in (run_dir, whole):
        assert {path.name for path in set(each.iterdir()).difference(RunDirectory(each).events())} == A_RUN
    earlier, expected = RunDirectory(run_dir).earlier_checkpoints(), RunDirectory(whole).earlier_checkpoints()
    assert [path.read_bytes() for path in earlier] == [path.read_bytes() for path in expected]
    points = EventAccumulator(str(run_dir)).Reload().Scalars("return/after_0_steps")
    assert [point.step for point in points] == list(range(metrics_of(whole)))


@pytest.fixture(scope="module")
def forks() -> ForkServerContext:
    return server()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, forks: ForkServerContext) -> tuple[Path, float]:
    """An uninterrupted run, and how many seconds it takes where everything has been imported."""
    importing = forks.Process(target=time.sleep, args=(0,))
    importing.start()
    importing.join(300)
    run_dir, start = tmp_path_factory.mktemp("runs") / "whole", time.monotonic()
    process = started(forks, run_dir)
    process.join(300)
    assert process.exitcode == 0
    return run_dir, time.monotonic() - start


def killed_at_a_moment(moments: random.Random, forks: ForkServerContext, run_dir: Path, duration: float) -> int | None:
    process = started(forks, run_dir)
    process.join(moments.uniform(0, duration))
    process.kill()
    process.join(60)
    return process.exitcode


def killed_at_a_file(moments: random.Random, forks: ForkServerContext, run_dir: Path, duration: float) -> int | None:
    process = started(forks, run_dir, moments.randrange(LAST_FILE_EVENT))
    process.join(300)
    return process.exitcode


@pytest.mark.parametrize(
    "number", [pytest.param(number, marks=pytest.mark.slow if number >= FEW else ()) for number in range(KILLS)]
)
def test_a_run_that_is_killed_at_a_random_moment_is_usable_and_ends_as_the_uninterrupted_one(
    tmp_path: Path, forks: ForkServerContext, whole: tuple[Path, float], number: int
) -> None:
    moments = random.Random(number)
    killed = (killed_at_a_file, killed_at_a_moment)[number % 2]
    for attempt in range(20):  # one that had ended before its moment is none
        run_dir = tmp_path / f"run{attempt}"
        if killed(moments, forks, run_dir, whole[1]) == -signal.SIGKILL:
            break
    else:
        pytest.fail("no training was killed")
    assert_usable_if_begun(run_dir)
    process = started(forks, run_dir)
    process.join(300)
    assert process.exitcode == 0
    assert_nothing_but_the_run(run_dir, whole[0])


def test_of_a_run_that_is_killed_before_its_first_checkpoint_nothing_is_left(
    tmp_path: Path, forks: ForkServerContext, whole: tuple[Path, float]
) -> None:
    run_dir, begun = tmp_path / "run", 0
    while not list(run_dir.glob("*.partial")) and begun < 10:
        process = started(forks, run_dir, last_file_event=begun)
        process.join(300)
        assert process.exitcode == -signal.SIGKILL
        begun += 1
    assert len(list(run_dir.iterdir())) == 1
    process = started(forks, run_dir)
    process.join(300)
    assert_nothing_but_the_run(run_dir, whole[0])


def start(run_dir: Path, *options: object, together: bool = False) -> "subprocess.Popen[bytes]":
    """A script, in one process or as two ranks."""
    command = [sys.executable, *(TORCHRUN if together else ()), SCRIPTS / "train_nav.py", *OPTIONS]
    command += ["--run-dir", run_dir, *options]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def descendants(pid: int) -> list[int]:
    """Processes that a process has started, and those that they have."""
    with contextlib.suppress(OSError):
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [one for child in children for one in (child, *descendants(child))]
    return []


def end_alone(process: "subprocess.Popen[bytes]", moments: random.Random) -> None:
    process.send_signal(signal.SIGKILL)


def end_as_ranks(process: "subprocess.Popen[bytes]", moments: random.Random) -> None:
    """Kill both ranks and torchrun, as the end of their machine does, or one of the ranks."""
    ranks = [pid for pid in descendants(process.pid) if b"train_nav.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    all_of_them = [process.pid, *ranks]
    for pid in moments.choice((all_of_them, ranks[:1], ranks[-1:])):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(("together", "kills", "end"), [(False, 4, end_alone), (True, 6, end_as_ranks)])
def test_a_run_that_is_killed_again_and_again_equals_the_uninterrupted_one(
    tmp_path: Path, together: bool, kills: int, end: Callable[["subprocess.Popen[bytes]", random.Random], None]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    said = start(whole).communicate(timeout=300)
    assert RunDirectory(whole).evaluation.exists(), said
    moments = random.Random(0)
    for _ in range(kills):
        process = start(killed, "--resume", together=together)
        before, deadline = metrics_of(killed), time.monotonic() + 120
        while process.poll() is None and metrics_of(killed) <= before and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3))
        assert process.poll() is None
        end(process, moments)
        _, error = process.communicate(timeout=300)
        assert process.returncode != 0
        assert together or b"Traceback" not in error
        assert load(killed).iteration >= 0  # it can be used as it is
    process = start(killed, "--resume", together=together)
    said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert together or b"Traceback" not in said[1]
    assert_nothing_but_the_run(killed, whole)


@pytest.mark.slow
def test_the_second_of_two_processes_in_one_directory_is_refused(tmp_path: Path) -> None:
    first = start(tmp_path / "run", "--iterations", 100_000)
    try:
        deadline = time.monotonic() + 120
        while not metrics_of(tmp_path / "run") and time.monotonic() < deadline:
            time.sleep(0.05)
        for options in (("--resume",), ("--overwrite",), ("--seed", 1)):
            second = start(tmp_path / "run", *options)
            _, error = second.communicate(timeout=300)
            assert second.returncode == 2
            assert b"error: Another process is training in" in error
    finally:
        first.send_signal(signal.SIGHUP)
        _, error = first.communicate(timeout=300)
    assert first.returncode == 75
    assert b"Stopped by SIGHUP" in error
