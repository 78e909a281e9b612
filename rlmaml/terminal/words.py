"""Words of messages, and how they stand in tables."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from rlmaml.base.intervals import FEWEST


def counted(number: int, noun: str) -> str:
    """A number of things: ``counted(1, "episode")`` is "1 episode", ``counted(2, "episode")`` "2 episodes"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def lost_or_gained(loss: float, half: float) -> str:
    """What something costs, as a verb and a number: ``lost_or_gained(-0.08, 0.02)`` is "gain 0.08 ± 0.02".

    Args:
        loss: of a return, say; a gain where it is negative.
        half: half its 95 % interval.
    """
    return f"{'gain' if round(loss, 2) < 0 else 'lose'} {abs(loss):.2f} ± {half:.2f}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question, to follow a message, that names the known words which somebody may have mistyped; "" for none."""
    near = get_close_matches(word, list(known), n=2, cutoff=0.75)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def interval_words(number: int, noun: str) -> str:
    """What ± is of means over so many things; or how many it takes (:data:`rlmaml.base.intervals.FEWEST`)."""
    if number < FEWEST:
        return f"± takes {counted(FEWEST, noun)} or more"
    return f"± is half the 95 % interval over {counted(number, noun)}"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], alignment: str = "---:") -> list[str]:
    """Lines of a Markdown table; cells that a row lacks at its end are empty.

    Args:
        head: titles of the columns.
        rows: their cells.
        alignment: of all columns but the first; numbers are aligned on the right.
    """
    lines = ["| " + " | ".join(head) + " |", "| --- |" + f" {alignment} |" * (len(head) - 1)]
    filled = ([*row, *[""] * (len(head) - len(row))] for row in rows)
    return lines + ["| " + " | ".join(row) + " |" for row in filled]


def in_short(value: object, most: int = 80) -> str:
    """A value as text for a table's cell; what is longer than ``most`` characters is cut, and ends in an ellipsis.

    Several values are written as an option takes them: ``(0.5, 0.1)`` is "0.5 0.1", and ``()`` "none".
    """
    text = (" ".join(map(str, value)) or "none") if isinstance(value, tuple | list) else str(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"
