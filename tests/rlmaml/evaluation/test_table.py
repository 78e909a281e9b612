import math
from typing import Any

from rlmaml.evaluation.table import evaluation_table, shown_steps, step_titles

SUMMARY: dict[str, list[Any]] = {"mean": [-40.0, -9.5], "std": [3.0, 2.0], "ci95": [[-41.0, -39.0], [-10.25, -8.75]]}

TERMS = {"distance_cost": [-40.0, -9.5]}


def test_the_table_shows_means_and_half_widths_beside_the_published_returns() -> None:
    lines = evaluation_table(SUMMARY, TERMS, {"MAML, published": (-40.41, -11.68, -3.33, -3.23)}).splitlines()
    assert lines[0].split() == ["steps", "zero-shot", "1"]
    assert lines[1].split() == ["this", "run", "-40.00", "-9.50"]
    assert lines[2].split()[-4:] == ["±", "1.00", "±", "0.75"]
    assert lines[3].split() == ["MAML,", "published", "-40.41", "-11.68"]
    assert len(lines) == 4


def test_where_nothing_published_compares_this_run_stands_alone() -> None:
    assert len(evaluation_table(SUMMARY, TERMS, {}).splitlines()) == 3


def test_published_returns_after_fewer_steps_leave_the_others_empty() -> None:
    lines = evaluation_table(SUMMARY, TERMS, {"an oracle": (-5.0,)}).splitlines()
    assert lines[3].split() == ["an", "oracle", "-5.00"]
    assert lines[3].index("-5.00") + len("-5.00") == lines[1].index("-40.00") + len("-40.00")


def test_of_a_long_adaptation_some_steps_are_shown() -> None:
    assert shown_steps(4) == [0, 1, 2, 3, 4]
    assert shown_steps(9) == list(range(10))
    assert shown_steps(10) == [0, 1, 2, 3, 5, 10]
    assert shown_steps(90) == [0, 1, 2, 3, 5, 10, 20, 40, 80, 90]
    means = [float(step) for step in range(91)]
    summary: dict[str, list[Any]] = {"mean": means, "ci95": [[mean - 1, mean + 1] for mean in means]}
    published = {"published": (30.58, 96.74, 100.06, 101.41)}
    lines = evaluation_table(summary, {"a": means, "b": means}, published).splitlines()
    assert lines[0].split()[1:] == ["zero-shot", "1", "2", "3", "5", "10", "20", "40", "80", "90"]
    assert lines[1].split()[-3:] == lines[3].split()[-3:] == ["40.00", "80.00", "90.00"]
    assert lines[5].split()[-4:] == ["30.58", "96.74", "100.06", "101.41"]


def test_too_few_tasks_have_no_row_of_intervals() -> None:
    table = evaluation_table({"mean": [-1.0], "std": [None], "ci95": [[None, None]]}, {}, {})
    assert [line.split()[0] for line in table.splitlines()] == ["steps", "this"]


def test_the_table_says_what_its_columns_count() -> None:
    head = evaluation_table(SUMMARY, TERMS, {}, unit="episodes lived").splitlines()[0]
    assert head.split() == ["episodes", "lived", "zero-shot", "1"]


def test_the_first_column_may_be_a_teachers() -> None:
    head = evaluation_table(SUMMARY, TERMS, {}, first="teacher").splitlines()[0]
    assert head.split() == ["steps", "teacher", "1"]


def test_several_terms_are_shown_below_the_return() -> None:
    terms = {"forward_reward": [-39.0, -8.0], "control_cost": [-1.0, -1.5]}
    lines = evaluation_table(SUMMARY, terms, {}).splitlines()
    assert lines[3].split() == ["of", "which", "forward_reward", "-39.00", "-8.00"]
    assert lines[4].split() == ["of", "which", "control_cost", "-1.00", "-1.50"]


def test_failed_simulations_are_shown_with_the_mean_that_counts_them_as_the_worst() -> None:
    failing = SUMMARY | {"share_unstable": [0.0, 0.125], "mean_with_failed": [-40.0, -17.25]}
    lines = evaluation_table(failing, TERMS, {}).splitlines()
    assert lines[3].split() == ["simulations", "that", "failed", "0.0", "%", "12.5", "%"]
    assert lines[4].split() == ["these", "at", "the", "worst", "return", "-40.00", "-17.25"]
    sound = SUMMARY | {"share_unstable": [0.0, 0.0], "mean_with_failed": [-40.0, -9.5]}
    assert evaluation_table(sound, TERMS, {}) == evaluation_table(SUMMARY, TERMS, {})


def test_what_failed_simulations_leave_undefined_is_a_dash() -> None:
    undefined: dict[str, list[Any]] = {
        "mean": [-40.0, None],
        "ci95": [[-41.0, -39.0], [None, None]],
        "share_unstable": [0.0, 1.0],
        "mean_with_failed": [-40.0, -40.0],
    }
    lines = evaluation_table(undefined, {"a": [-20.0, math.nan], "b": [-20.0, math.nan]}, {}).splitlines()
    assert lines[1].split() == ["this", "run", "-40.00", "–"]
    assert lines[2].split()[-2:] == ["±", "1.00"]
    assert lines[5].split() == ["of", "which", "a", "-20.00", "–"]


def test_column_0_is_zero_shot_but_of_a_policy_that_had_adapted_before() -> None:
    assert step_titles([0, 1, 10]) == ["zero-shot", "after 1", "after 10"]
    assert step_titles([0, 1], "", zero_shot=False) == ["0", "1"]
    assert evaluation_table(SUMMARY, TERMS, {}, zero_shot=False).split()[:3] == ["steps", "0", "1"]
