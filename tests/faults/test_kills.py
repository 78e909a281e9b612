"""Kills at random moments: the finished run equals the uninterrupted one bit for bit, and nothing is left but a run."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlmaml.deploy.adaptable import load
from rlmaml.storage.run_directory import RunDirectory
from tests.rlmaml.training.test_run import assert_same_run

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parents[2] / "scripts"
OPTIONS: tuple[object, ...] = (
    "--tasks",
    2,
    "--episodes",
    3,
    "--horizon",
    5,
    "--hidden",
    8,
    "--iterations",
    60,
    "--checkpoint-interval",
    1,
)
OPTIONS += ("--evaluation-tasks", 2, "--evaluation-episodes", 2, "--evaluation-steps", 1, "--figure-interval", 0)
OPTIONS += ("--video-interval", 0, "--threads", 1, "--rollout-threads", 1)
KILLS = 8
A_RUN = {
    *("checkpoint.safetensors", "earlier_checkpoints", "metrics.jsonl", "run.json", "evaluation.json"),
    *("adaptation.png", "tensorboard"),
}


def start(run_dir: Path, *options: object) -> "subprocess.Popen[bytes]":
    command = [sys.executable, SCRIPTS / "train_nav.py", *OPTIONS, "--run-dir", run_dir, *options]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def metrics_of(run_dir: Path) -> int:
    """Meta-iterations that the run's lines tell of."""
    path = RunDirectory(run_dir).metrics
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_run_that_is_killed_again_and_again_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    said = start(whole).communicate(timeout=300)
    assert RunDirectory(whole).evaluation.exists(), said
    moments = random.Random(0)
    for _ in range(KILLS):
        process = start(killed, "--resume")
        before, deadline = metrics_of(killed), time.monotonic() + 120
        while process.poll() is None and metrics_of(killed) <= before and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        _, error = process.communicate(timeout=60)
        assert b"Traceback" not in error
        assert load(killed).iteration >= 0  # it can be used as it is
    _, error = start(killed, "--resume").communicate(timeout=300)
    assert b"Traceback" not in error
    assert_same_run(killed, whole)
    assert {path.name for path in killed.iterdir()} == {path.name for path in whole.iterdir()} == A_RUN


def test_the_second_of_two_processes_in_one_directory_is_refused(tmp_path: Path) -> None:
    first = start(tmp_path / "run", "--iterations", 100_000)
    try:
        deadline = time.monotonic() + 120
        while not metrics_of(tmp_path / "run") and time.monotonic() < deadline:
            time.sleep(0.05)
        for options in (("--resume",), ("--overwrite",), ("--seed", 1)):
            second = start(tmp_path / "run", *options)
            _, error = second.communicate(timeout=120)
            assert second.returncode == 2
            assert b"error: Another process is training in" in error
    finally:
        first.send_signal(signal.SIGHUP)
        _, error = first.communicate(timeout=120)
    assert first.returncode == 75
    assert b"Stopped by SIGHUP" in error
