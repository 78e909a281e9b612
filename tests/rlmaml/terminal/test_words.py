from rlmaml.terminal.words import counted


def test_one_thing_is_singular_and_all_else_plural() -> None:
    assert [counted(number, "seed") for number in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]
