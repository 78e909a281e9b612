from rlmaml.terminal.words import counted, did_you_mean, in_short, interval_words, lost_or_gained, markdown_table


def test_one_thing_is_singular_and_all_else_plural() -> None:
    assert [counted(number, "seed") for number in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]


def test_a_loss_below_0_is_a_gain() -> None:
    words = [lost_or_gained(loss, 0.02) for loss in (0.08, -0.08, 0.0, -0.001)]
    assert words == ["lose 0.08 ± 0.02", "gain 0.08 ± 0.02", "lose 0.00 ± 0.02", "lose 0.00 ± 0.02"]


def test_what_may_have_been_meant_is_asked_where_something_is_near_alone() -> None:
    known = ["--tasks", "--task", "--iterations"]
    assert did_you_mean("--taks", known) == " Did you mean --tasks or --task?"
    assert did_you_mean("--iteration", known) == " Did you mean --iterations?"
    assert did_you_mean("--hidden", known) == did_you_mean("--task", []) == ""


def test_a_long_value_is_cut_and_says_so() -> None:
    assert in_short(2.5) == "2.5"
    assert in_short("x" * 80) == "x" * 80
    assert in_short("x" * 81) == "x" * 79 + "…"


def test_several_values_are_written_as_an_option_takes_them() -> None:
    assert [in_short(value) for value in ((1, 2.5), [0.1], ())] == ["1 2.5", "0.1", "none"]
    assert len(in_short((1,) * 50)) == 80


def test_what_plus_minus_is_says_of_how_many_and_of_too_few_how_many_it_takes() -> None:
    assert interval_words(3, "task") == "± is half the 95 % interval over 3 tasks"
    assert [interval_words(number, "seed") for number in (1, 2)] == ["± takes 3 seeds or more"] * 2


def test_a_markdown_table_aligns_numbers_and_fills_rows_that_are_too_short() -> None:
    assert markdown_table(["run", "a", "b"], [["one", "1", "2"], ["two", "3"]]) == [
        "| run | a | b |",
        "| --- | ---: | ---: |",
        "| one | 1 | 2 |",
        "| two | 3 |  |",
    ]
    assert markdown_table(["setting", "one"], [], alignment="---") == ["| setting | one |", "| --- | --- |"]
