"""Meta-updates that are lost: what a run answers to numbers that cannot be learned from.

One policy for every method. A meta-update is lost where a number of it is NaN or infinite, an inner step explodes, the
actions would hardly vary any more, the replayed policies are not those that sampled, or nothing was learned, because
the line search found nothing better or no simulation was sound. What was learned stays as it was before, to the bit;
the next meta-iteration goes on from there with fresh tasks and episodes. After so many in a row the training stops.
"""

from typing import NamedTuple

from rlmaml.base.errors import UserError

SEVERAL = 5
"""Meta-updates in a row that learned nothing, of which the user is told."""


class LostUpdates(NamedTuple):
    """How many meta-updates of a run were lost so far."""

    total: int = 0
    in_a_row: int = 0
    """The last ones, without a break."""

    def after(self, *, lost: bool) -> "LostUpdates":
        """With one more meta-update."""
        return LostUpdates(self.total + lost, self.in_a_row + 1 if lost else 0)


class TooManyLostError(UserError):
    """As many meta-updates in a row were lost as may be."""


def check_patience(lost: LostUpdates, patience: int, reason: str) -> None:
    """Refuse to go on after ``patience`` lost meta-updates in a row.

    Raises:
        TooManyLostError: says how many, and why the last one was.
    """
    if lost.in_a_row >= patience:
        counted = f"{lost.in_a_row} meta-updates in a row were" if lost.in_a_row > 1 else "a meta-update was"
        raise TooManyLostError(f"{counted} lost (--patience). {reason}")
