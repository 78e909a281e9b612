from pathlib import Path
from typing import Any

import pytest

from rlmaml.base.errors import UserError
from rlmaml.results.summary import summarise_seeds
from rlmaml.settings.whole import Settings, as_method, configure
from rlmaml.storage.run_directory import RunDirectory, write_json
from tests.rlmaml.storage.stored import evaluation, metrics

SETTINGS = configure(inner_steps=2, hidden=(8,))


def finished_run(
    run_dir: Path, seed: int, mean: list[float], settings: Settings = SETTINGS, failed: float = 0.0
) -> Path:
    directory = RunDirectory(run_dir)
    directory.make()
    write_json(directory.evaluation, evaluation(settings.changed(seed=seed), mean, failed))
    directory.metrics.write_text(metrics(2))
    return run_dir


def test_the_mean_and_its_interval_over_seeds_are_students_t(tmp_path: Path) -> None:
    runs = [finished_run(tmp_path / str(seed), seed, [-10.0 - seed, -2.0]) for seed in (0, 1, 2)]
    title, _, *table = summarise_seeds(runs).splitlines()
    assert title == "Mean return on 40 held-out tasks, 40 episodes each, of sampled actions:"
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table]
    assert rows[2] == ["0", "-10.00", "-2.00", "4"]
    assert rows[5] == ["mean of 3 seeds", "**-11.00**", "**-2.00**", "4"]
    # the standard deviation of 10, 11, 12 is 1, and 95 % of Student's t with 2 degrees of freedom lie within 4.303
    assert rows[6] == ["95 % interval over seeds", f"± {4.3027 / 3**0.5:.2f}", "± 0.00", ""]


def test_failed_simulations_count_as_the_worst_return_and_are_told(tmp_path: Path) -> None:
    table = summarise_seeds([finished_run(tmp_path / "0", 0, [-1.0], failed=0.125)])
    assert "-1.00" in table
    assert table.endswith("Up to 12.5 % of a stage's simulations failed; they count as the worst return seen.")
    assert "failed" not in summarise_seeds([finished_run(tmp_path / "1", 0, [-1.0])])


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_seeds_have_no_interval(tmp_path: Path, seeds: int) -> None:
    table = summarise_seeds([finished_run(tmp_path / str(seed), seed, [-1.0]) for seed in range(seeds)])
    assert "interval" not in table


@pytest.mark.parametrize(
    "changes",
    [{"max_kl": 0.02}, {"hidden": (9,)}, {"inner_steps": 1}, {"iterations": 7}, {"evaluation_tasks": 3}],
    ids=str,
)
def test_runs_of_different_settings_are_not_averaged(tmp_path: Path, changes: dict[str, Any]) -> None:
    runs = [
        finished_run(tmp_path / str(seed), seed, [-1.0], SETTINGS.changed(**changes) if seed else SETTINGS)
        for seed in (0, 1)
    ]
    with pytest.raises(UserError, match="differ in more than their seed"):
        summarise_seeds(runs)


def test_settings_that_differ_are_named_with_their_values_and_the_runs_that_have_them(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [{}, {"max_kl": 0.02}, {"hidden": (9, 7)}]
    runs = [
        finished_run(tmp_path / str(seed), seed, [-1.0], SETTINGS.changed(**change))
        for seed, change in enumerate(changes)
    ]
    with pytest.raises(UserError) as refused:
        summarise_seeds(runs)
    zero, one, two = runs
    assert f"--max-kl is 0.01 in {zero}, {two}, and 0.02 in {one}; " in str(refused.value)
    assert f"--hidden is 8 in {zero}, {one}, and 9 7 in {two}. " in str(refused.value)
    assert "--seed" not in str(refused.value)


def test_runs_of_different_methods_are_not_averaged(tmp_path: Path) -> None:
    others = as_method(SETTINGS, "fomaml", "gaussian").changed(max_kl=0.02)
    runs = [finished_run(tmp_path / "0", 0, [-1.0]), finished_run(tmp_path / "1", 1, [-1.0], others)]
    with pytest.raises(UserError, match=r"differ in more than their seed: --algorithm is [^;]*$"):
        summarise_seeds(runs)


@pytest.mark.parametrize("changes", [{"threads": 1}, {"checkpoint_interval": 3}, {"figure_interval": 0}], ids=str)
def test_what_moves_no_result_makes_no_difference(tmp_path: Path, changes: dict[str, Any]) -> None:
    runs = [
        finished_run(tmp_path / str(seed), seed, [-1.0], SETTINGS.changed(**changes) if seed else SETTINGS)
        for seed in (0, 1)
    ]
    assert "2 seeds" in summarise_seeds(runs)


def test_a_run_that_is_not_finished_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no evaluation in"):
        summarise_seeds([tmp_path])


def test_seconds_that_are_not_known_are_not_added_up(tmp_path: Path) -> None:
    run_dir = finished_run(tmp_path / "0", 0, [-1.0])
    RunDirectory(run_dir).metrics.write_text('{"iteration": 0}\n')
    with pytest.raises(UserError, match="line 1 has no seconds/iteration"):
        summarise_seeds([run_dir])


def test_the_same_run_named_twice_is_not_two_seeds(tmp_path: Path) -> None:
    run_dir = finished_run(tmp_path / "0", 0, [-1.0])
    with pytest.raises(UserError, match="is named twice; give each run once"):
        summarise_seeds([run_dir, tmp_path / "0" / ".." / "0"])
    copied = finished_run(tmp_path / "copied", 0, [-1.0])
    with pytest.raises(UserError, match=r"0 and .*copied are the same run, of seed 0"):
        summarise_seeds([run_dir, copied])
