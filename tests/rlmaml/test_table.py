from typing import Any

from rlmaml.table import evaluation_table

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
    assert "published" not in evaluation_table(SUMMARY, TERMS, "Navigation2D-v0", "finn2017", 100, beyond=True)


def test_a_single_task_has_no_interval() -> None:
    table = evaluation_table({"mean": [-1.0], "std": [None], "ci95": [[None, None]]}, {}, "Other-v0", "x", 100)
    assert "±" not in table


def test_several_terms_are_shown_below_the_return() -> None:
    terms = {"forward_reward": [-39.0, -8.0], "control_cost": [-1.0, -1.5]}
    lines = evaluation_table(SUMMARY, terms, "Other-v0", "x", 100).splitlines()
    assert lines[3].split() == ["of", "which", "forward_reward", "-39.00", "-8.00"]
    assert lines[4].split() == ["of", "which", "control_cost", "-1.00", "-1.50"]
