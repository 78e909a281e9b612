import json
from pathlib import Path

import pytest

from rlmaml.base.errors import UserError
from rlmaml.results.summary import summarise_seeds


def finished_run(run_dir: Path, seed: int, mean: list[float], max_kl: float = 0.01) -> Path:
    run_dir.mkdir()
    config = {"config": {"seed": seed, "max_kl": max_kl}}
    (run_dir / "evaluation.json").write_text(json.dumps({"returns": {"mean": mean}, "config": config}))
    (run_dir / "metrics.jsonl").write_text('{"seconds/iteration": 1.5}\n{"seconds/iteration": 2.5}\n')
    return run_dir


def test_the_mean_and_its_interval_over_seeds_are_students_t(tmp_path: Path) -> None:
    runs = [finished_run(tmp_path / str(seed), seed, [-10.0 - seed, -2.0]) for seed in (0, 1, 2)]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in summarise_seeds(runs).splitlines()]
    assert rows[2] == ["0", "-10.00", "-2.00", "4"]
    assert rows[5] == ["mean of 3 seeds", "**-11.00**", "**-2.00**", "4"]
    # the standard deviation of 10, 11, 12 is 1, and 95 % of Student's t with 2 degrees of freedom lie within 4.303
    assert rows[6] == ["95 % interval over seeds", f"± {4.3027 / 3**0.5:.2f}", "± 0.00", ""]


def test_a_single_seed_has_no_interval(tmp_path: Path) -> None:
    assert "interval" not in summarise_seeds([finished_run(tmp_path / "0", 0, [-1.0])])


def test_runs_of_different_settings_are_not_averaged(tmp_path: Path) -> None:
    runs = [finished_run(tmp_path / "0", 0, [-1.0]), finished_run(tmp_path / "1", 1, [-1.0], max_kl=0.02)]
    with pytest.raises(UserError, match="differ in more than their seed"):
        summarise_seeds(runs)


def test_threads_make_no_difference_and_iterations_do(tmp_path: Path) -> None:
    for name, text, expected in (("threads", '"threads": 1', True), ("iterations", '"iterations": 7', False)):
        runs = [finished_run(tmp_path / f"{name}{seed}", seed, [-1.0]) for seed in (0, 1)]
        path = runs[1] / "evaluation.json"
        path.write_text(path.read_text().replace('"seed": 1', f'"seed": 1, {text}'))
        if expected:
            assert "2 seeds" in summarise_seeds(runs)
        else:
            with pytest.raises(UserError, match="differ in more"):
                summarise_seeds(runs)


def test_a_run_that_is_not_finished_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no evaluation in"):
        summarise_seeds([tmp_path])
