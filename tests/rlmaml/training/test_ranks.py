from pathlib import Path

import pytest

from rlmaml.storage.checkpoint import load_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.training.run import train
from tests.rlmaml.training import two_ranks
from tests.rlmaml.training.test_run import assert_same_run, lines
from tests.rlmaml.two_ranks import Ranks


@pytest.mark.parametrize("name", two_ranks.RUNS)
def test_two_processes_leave_the_run_of_one_bit_for_bit(tmp_path: Path, ranks: Ranks, name: str) -> None:
    settings, make_env = two_ranks.RUNS[name]
    train(settings, make_env, tmp_path)
    assert_same_run(ranks.runs / name, tmp_path)
    assert len(lines(tmp_path)) == 3


def test_two_processes_resume_their_run_bit_for_bit(ranks: Ranks) -> None:
    assert_same_run(ranks.runs / "in two parts", ranks.runs / "maml-trpo")


def test_a_task_whose_simulations_all_fail_leaves_the_update_of_two_processes_as_that_of_one(
    tmp_path: Path, ranks: Ranks
) -> None:
    train(two_ranks.SETTINGS, two_ranks.unsound(0, 9), tmp_path)
    assert_same_run(ranks.runs / "unsound", tmp_path)
    assert [line["update/tasks_left_out"] for line in lines(tmp_path)] == [1.0] * 3


def test_the_process_that_leads_evaluates_and_it_alone_writes(ranks: Ranks) -> None:
    # the other one may not write to any file, or its trainings would end with an error
    assert ranks.said[0][:6] == ["evaluation"] * 6
    assert ranks.said[1][:6] == ["no evaluation"] * 6


def test_where_the_run_cannot_be_opened_both_end(ranks: Ranks) -> None:
    assert "already holds a run" in ranks.said[0][6]
    assert ranks.said[1][6].startswith("RankError: The process that leads this run could not open it")


@pytest.mark.parametrize(("line", "failed"), [(7, 1), (8, 0)])
def test_where_one_process_fails_both_end_and_the_last_checkpoint_is_intact(
    ranks: Ranks, line: int, failed: int
) -> None:
    said = (ranks.said[0][line], ranks.said[1][line])
    assert "The reward in a rollout became NaN" in said[failed]
    assert "It was lost in another process of this run" in said[1 - failed]
    assert said[0].startswith("UserError: Stopped in meta-iteration 1: ")
    run_dir = ranks.runs / ("the second fails" if failed else "the first fails")
    assert load_checkpoint(RunDirectory(run_dir).checkpoint).iteration == 1
    assert lines(run_dir) == lines(ranks.runs / "maml-trpo")[:1]


def test_an_update_that_one_process_loses_is_lost_in_both_and_the_run_is_that_of_one(
    tmp_path: Path, ranks: Ranks
) -> None:
    with pytest.warns(UserWarning, match="In meta-iteration 1 the meta-update was lost"):
        train(two_ranks.SETTINGS, two_ranks.poisoned(1, 1), tmp_path)
    assert_same_run(ranks.runs / "an update is lost", tmp_path)
    assert [line["updates_lost/total"] for line in lines(tmp_path)] == [0.0, 1.0, 1.0]


def test_more_processes_than_tasks_are_refused(ranks: Ranks) -> None:
    for last in (ranks.said[0][9], ranks.said[1][9]):
        assert last.startswith("UserError: There are 2 processes, but 1 task (--tasks)")
    assert not (ranks.runs / "too few tasks").exists()
    assert len(ranks.said[0]) == len(ranks.said[1]) == 12


def test_where_the_best_checkpoint_is_of_another_run_both_end(ranks: Ranks) -> None:
    assert "best.safetensors is not of the run in" in ranks.said[0][11]
    assert ranks.said[1][11].startswith("RankError: The process that leads this run could not open it")
