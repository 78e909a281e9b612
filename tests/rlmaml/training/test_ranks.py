import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from rlmaml.storage.checkpoint import load_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.training.run import train
from tests.rlmaml.training import two_ranks
from tests.rlmaml.training.test_run import assert_same_run, lines

ROOT = Path(__file__).parents[3]
TIMEOUT = 300
"""Seconds after which two processes wait for each other."""


class Ended(NamedTuple):
    """What became of the trainings of two processes."""

    runs: Path
    first: list[str]
    """In the process that leads."""
    second: list[str]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    runs = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.rlmaml.training.two_ranks", str(runs)],
            env=os.environ | meeting | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=TIMEOUT) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
    return Ended(runs, *([json.loads(line) for line in text.splitlines()] for text, _ in outputs))


@pytest.mark.parametrize("name", two_ranks.RUNS)
def test_two_processes_leave_the_run_of_one_bit_for_bit(tmp_path: Path, ended: Ended, name: str) -> None:
    train(two_ranks.RUNS[name], two_ranks.make_env, tmp_path)
    assert_same_run(ended.runs / name, tmp_path)
    assert len(lines(tmp_path)) == 3


def test_two_processes_resume_their_run_bit_for_bit(ended: Ended) -> None:
    assert_same_run(ended.runs / "in two parts", ended.runs / "maml-trpo")


def test_a_task_whose_simulations_all_fail_leaves_the_update_of_two_processes_as_that_of_one(
    tmp_path: Path, ended: Ended
) -> None:
    train(two_ranks.SETTINGS, two_ranks.unsound(0, 9), tmp_path)
    assert_same_run(ended.runs / "unsound", tmp_path)
    assert [line["update/tasks_left_out"] for line in lines(tmp_path)] == [1.0] * 3


def test_the_process_that_leads_evaluates_and_it_alone_writes(ended: Ended) -> None:
    # the other one may not write to any file, or its trainings would end with an error
    assert ended.first[:5] == ["evaluation"] * 5
    assert ended.second[:5] == ["no evaluation"] * 5


def test_where_the_run_cannot_be_opened_both_end(ended: Ended) -> None:
    assert "already holds a run" in ended.first[5]
    assert ended.second[5].startswith("RankError: The process that leads this run could not open it")


@pytest.mark.parametrize(("line", "failed"), [(6, 1), (7, 0)])
def test_where_one_process_fails_both_end_and_the_last_checkpoint_is_intact(
    ended: Ended, line: int, failed: int
) -> None:
    said = (ended.first[line], ended.second[line])
    assert "The reward in a rollout became NaN" in said[failed]
    assert "Another process of this run failed" in said[1 - failed]
    assert said[0].startswith("UserError: Stopped in meta-iteration 1: ")
    run_dir = ended.runs / ("the second fails" if failed else "the first fails")
    assert load_checkpoint(RunDirectory(run_dir).checkpoint).iteration == 1
    assert lines(run_dir) == lines(ended.runs / "maml-trpo")[:1]


def test_more_processes_than_tasks_are_refused(ended: Ended) -> None:
    for last in (ended.first[8], ended.second[8]):
        assert last.startswith("UserError: There are 2 processes, but 1 tasks (--tasks)")
    assert not (ended.runs / "too few tasks").exists()
    assert len(ended.first) == len(ended.second) == 9
