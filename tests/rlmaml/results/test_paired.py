import numpy as np
import pytest
from scipy.stats import ttest_rel

from rlmaml.base.errors import UserError
from rlmaml.results.paired import (
    Reached,
    check_one_problem,
    check_same_tasks,
    differing_settings,
    mean_over_tasks,
    paired_as_json,
    paired_difference,
    paired_table,
)
from rlmaml.settings.whole import configure

FIRST = np.array([[-50.0, -20.0], [-30.0, -8.0], [-10.0, -2.0]])
OTHER = np.array([[-49.0, -18.0, 0.0], [-27.0, -7.0, 0.0], [-8.0, 1.0, 0.0]])


def test_differences_are_task_by_task_and_so_more_certain_than_the_means() -> None:
    mean, half = paired_difference(FIRST, OTHER)
    np.testing.assert_allclose(mean, [2.0, 2.0])  # (1 + 3 + 2) / 3, (2 + 1 + 3) / 3
    np.testing.assert_allclose(half, 4.302653 / np.sqrt(3), rtol=1e-6)  # deviation 1, Student's t of 2 degrees
    assert (half < 0.2 * mean_over_tasks(FIRST).half).all()
    low, high = ttest_rel(OTHER[:, 0], FIRST[:, 0]).confidence_interval(0.95)
    assert (mean - half)[0] == pytest.approx(low)
    assert (mean + half)[0] == pytest.approx(high)


def test_settings_that_differ_are_named_as_options_with_every_value_and_none_of_the_machines() -> None:
    runs = [configure(seed=0, threads=1), configure(seed=1, threads=2, max_kl=0.02)]
    assert differing_settings(runs) == {"--seed": [0, 1], "--max-kl": [0.01, 0.02]}

    of_two_methods = differing_settings([configure(), configure("reptile", horizon=3)])
    assert of_two_methods["--horizon"] == [None, 3]
    assert of_two_methods["--max-kl"] == [0.01, "–"]
    assert of_two_methods["--outer-step-size"][0] == "–"


def test_the_table_has_each_run_its_difference_and_the_settings() -> None:
    runs = [Reached("one", configure(seed=0), FIRST), Reached("two", configure(seed=1), OTHER)]
    lines = paired_table(runs).splitlines()
    assert lines[0] == "| run | zero-shot | after 1 | after 2 |"
    assert lines[4] == "| two less one | 2.00 ± 2.48 | 2.00 ± 2.48 |  |"
    assert "| --seed | 0 | 1 |" in lines
    same = paired_table([runs[0], runs[0]._replace(name="again")])
    assert "differ in no setting" in same


def test_the_file_has_what_the_table_shows_and_every_task() -> None:
    runs = [Reached("one", configure(seed=0), FIRST), Reached("two", configure(seed=1), OTHER)]
    plain = paired_as_json(runs)
    assert [run["name"] for run in plain["runs"]] == ["one", "two"]
    assert plain["runs"][1]["per_task"] == OTHER.tolist()
    assert plain["runs"][0]["mean"] == [-30.0, -10.0]
    (difference,) = plain["less_the_first"]
    assert difference["name"] == "two"
    assert difference["mean"] == [2.0, 2.0]
    assert difference["half_ci95"] == pytest.approx([4.302653 / np.sqrt(3)] * 2)
    assert plain["differing_settings"] == {"--seed": [0, 1]}
    undefined = paired_as_json([runs[0]._replace(per_task=np.full((3, 1), np.nan)), runs[1]])
    assert undefined["runs"][0]["per_task"] == [[None]] * 3
    assert undefined["less_the_first"][0]["mean"] == [None]


def test_of_too_few_tasks_there_are_no_intervals_and_the_note_says_how_many_it_takes() -> None:
    runs = [Reached(name, configure(), FIRST[:2]) for name in ("one", "two")]
    lines = paired_table(runs).splitlines()
    assert lines[2] == "| one | -40.00 | -14.00 |"
    assert "± takes 3 tasks or more; differences are task by task." in lines


def test_runs_of_different_problems_are_refused_each_with_its_own() -> None:
    same = {"runs/a": configure(), "runs/b": configure(seed=1)}
    check_one_problem(same)
    words = (
        r"different families or variants: runs/a is on Navigation2D-v0, finn2017; runs/b is on Navigation2D-v0, "
        r"finn2017; c is on Navigation2D-v0, dynamics\. Give those of one"
    )
    with pytest.raises(UserError, match=words):
        check_one_problem(same | {"c": configure(variant="dynamics")})


def test_runs_on_different_tasks_are_refused() -> None:
    check_same_tasks([{"goal": np.zeros(2)}, {"goal": np.zeros(2)}])
    with pytest.raises(UserError, match="different tasks: goal differs"):
        check_same_tasks([{"goal": np.zeros(2)}, {"goal": np.ones(2)}])
