import pytest

from rlmaml.base.lost_updates import LostUpdates, TooManyLostError, check_patience


def test_lost_updates_are_counted_in_all_and_without_a_break() -> None:
    counts = [LostUpdates()]
    for lost in (True, True, False, True):
        counts.append(counts[-1].after(lost=lost))
    assert counts == [(0, 0), (1, 1), (2, 2), (2, 0), (3, 1)]


def test_as_many_in_a_row_as_patience_says_are_too_many() -> None:
    check_patience(LostUpdates(9, 2), 3, "")
    with pytest.raises(TooManyLostError, match=r"^3 meta-updates in a row were lost \(--patience\). Because."):
        check_patience(LostUpdates(9, 3), 3, "Because.")
    with pytest.raises(TooManyLostError, match=r"^a meta-update was lost"):
        check_patience(LostUpdates(1, 1), 1, "Because.")
