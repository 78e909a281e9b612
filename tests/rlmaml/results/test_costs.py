from pathlib import Path

import pytest

from rlmaml.base.plain_data import DamagedError
from rlmaml.results.contenders import Contender
from rlmaml.results.costs import TrainingCost, cost_table, costs_as_plain, training_costs
from rlmaml.settings.whole import configure
from rlmaml.storage.run_directory import RunDirectory

OF_TWO = configure(iterations=2, num_tasks=3, num_episodes=4, horizon=5, inner_steps=1)


def contender(folder: Path, seed: int, *seconds: float) -> Contender:
    directory = RunDirectory(folder / str(seed))
    directory.path.mkdir()
    lines = [f'{{"iteration": {number}, "seconds/iteration": {took}}}\n' for number, took in enumerate(seconds)]
    directory.metrics.write_text("".join(lines))
    return Contender(OF_TWO.changed(seed=seed), directory)


def test_what_a_training_took_is_a_mean_over_seeds_and_counts_every_stage_by_hand(tmp_path: Path) -> None:
    # Two meta-iterations of 3 tasks x 4 episodes x 5 steps, before and after one step; 60 and 90 s, and 60 and 30 s.
    costs = training_costs([contender(tmp_path, 0, 60.0, 90.0), contender(tmp_path, 1, 60.0, 30.0)])
    assert costs == {"maml-trpo": TrainingCost(2, 2 * 3 * 4 * 5 * 2, 120.0)}
    assert costs_as_plain(costs)["maml-trpo"] == {"iterations": 2, "environment_steps": 240, "seconds": 120.0}
    untrained = Contender(configure("random", horizon=5), RunDirectory(tmp_path / "none"))
    table = cost_table(training_costs([untrained]) | {"rl2": TrainingCost(312, 7_987_200, 95.0)})
    assert table.splitlines()[2:] == ["| random | – | – | – |", "| rl2 | 312 | 8.0 M | 1.6 min |"]


def test_a_run_without_a_record_of_its_time_is_not_taken_for_a_quick_one(tmp_path: Path) -> None:
    lost = contender(tmp_path, 0)
    lost.directory.metrics.write_text('{"iteration": 0}\n')
    with pytest.raises(DamagedError, match="line 1 has no seconds/iteration"):
        training_costs([lost])
