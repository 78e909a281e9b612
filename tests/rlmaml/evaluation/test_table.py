from typing import Any

from rlmaml.evaluation.table import evaluation_table, shown_steps

SUMMARY: dict[str, list[Any]] = {"mean": [-40.0, -9.5], "std": [3.0, 2.0], "ci95": [[-41.0, -39.0], [-10.25, -8.75]]}

TERMS = {"distance_cost": [-40.0, -9.5]}


def test_the_table_shows_means_and_half_widths_beside_the_published_returns_of_that_variant() -> None:
    lines = evaluation_table(SUMMARY, TERMS, "Navigation2D-v0", "finn2017", 100).splitlines()
    assert lines[1].split() == ["this", "run", "-40.00", "-9.50"]
    assert lines[2].split()[-4:] == ["±", "1.00", "±", "0.75"]
    assert lines[3].split()[-2:] == ["-40.41", "-11.68"]


def test_published_returns_are_not_shown_beside_another_variant_or_horizon() -> None:
    assert "published" not in evaluation_table(SUMMARY, TERMS, "Navigation2D-v0", "finn2017", 50)
    assert "published" not in evaluation_table(SUMMARY, TERMS, "Navigation2D-v0", "dynamics", 100)
    assert "published" not in evaluation_table(SUMMARY, TERMS, "Navigation2D-v0", "finn2017", 100, comparable=False)


def test_of_a_long_adaptation_some_steps_are_shown() -> None:
    assert shown_steps(4) == [0, 1, 2, 3, 4]
    assert shown_steps(9) == list(range(10))
    assert shown_steps(10) == [0, 1, 2, 3, 5, 10]
    assert shown_steps(90) == [0, 1, 2, 3, 5, 10, 20, 40, 80, 90]
    means = [float(step) for step in range(91)]
    summary: dict[str, list[Any]] = {"mean": means, "ci95": [[mean - 1, mean + 1] for mean in means]}
    lines = evaluation_table(summary, {"a": means, "b": means}, "AntVel-v0", "finn2017", 200).splitlines()
    assert lines[0].split()[1:] == ["0", "1", "2", "3", "5", "10", "20", "40", "80", "90"]
    assert lines[1].split()[-3:] == lines[3].split()[-3:] == ["40.00", "80.00", "90.00"]
    assert lines[5].split()[-4:] == ["30.58", "96.74", "100.06", "101.41"]


def test_a_single_task_has_no_interval() -> None:
    table = evaluation_table({"mean": [-1.0], "std": [None], "ci95": [[None, None]]}, {}, "Other-v0", "x", 100)
    assert "±" not in table


def test_several_terms_are_shown_below_the_return() -> None:
    terms = {"forward_reward": [-39.0, -8.0], "control_cost": [-1.0, -1.5]}
    lines = evaluation_table(SUMMARY, terms, "Other-v0", "x", 100).splitlines()
    assert lines[3].split() == ["of", "which", "forward_reward", "-39.00", "-8.00"]
    assert lines[4].split() == ["of", "which", "control_cost", "-1.00", "-1.50"]
