"""The table that ends a run: returns after each inner step, beside published ones where they compare."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

ZERO_SHOT = "zero-shot"
"""What column 0 of a table is named: nothing of the task was seen."""
ROOM = 10
"""Steps that are all shown."""
LONGER_STEPS = tuple(10 * 2**doubling for doubling in range(10))
"""10, 20, 40, …: which steps of a long adaptation stand in the table."""


def evaluation_table(
    summary: Mapping[str, Sequence[Any]],
    terms: Mapping[str, Sequence[float]],
    published: Mapping[str, Sequence[float]],
    *,
    zero_shot: bool = True,
    unit: str = "steps",
    first: str = "",
) -> str:
    """Mean return after each step with its 95 % interval and, if there are several, its terms; this run first.

    Where simulations failed, their share follows, and the mean with each failed episode at the worst return seen.

    Args:
        summary: as :meth:`rlmaml.evaluation.evaluate.Evaluation.summary` makes it.
        terms: each reward term's share of the mean return, per step; NaN where all simulations failed.
        published: returns after each step that compare, by name.
        zero_shot: see :func:`step_titles`.
        unit: what the steps are, such as episodes lived (:func:`rlmaml.settings.stages.stage_unit`).
        first: another title of column 0, such as that of a teacher.
    """
    shown = shown_steps(len(summary["mean"]) - 1)
    intervals = ["" if low is None else f"± {(high - low) / 2:.2f}" for low, high in summary["ci95"]]
    titles = step_titles(shown, "", zero_shot=zero_shot)
    rows = [
        (unit, first or titles[0], *titles[1:]),
        ("this run", *[_number(summary["mean"][step]) for step in shown]),
    ]
    if any(intervals):
        rows.append(("  95 % interval over tasks", *[intervals[step] for step in shown]))
    failed = summary.get("share_unstable", [])
    if any(failed):
        rows += [
            ("  simulations that failed", *[f"{100 * failed[step]:.1f} %" for step in shown]),
            ("  these at the worst return", *[_number(summary["mean_with_failed"][step]) for step in shown]),
        ]
    if len(terms) > 1:
        rows += [(f"  of which {name}", *[_number(means[step]) for step in shown]) for name, means in terms.items()]
    for name, means in published.items():
        rows.append((name, *[_number(means[step]) if step < len(means) else "" for step in shown]))
    lines = (f"{row[0]:<34}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def step_titles(shown: Sequence[int], after: str = "after ", *, zero_shot: bool = True) -> list[str]:
    """Titles of the columns after some steps.

    Args:
        shown: numbers of steps.
        after: what is written before each.
        zero_shot: whether nothing of the task was seen before the first step; not of a policy that had adapted before.
    """
    return [ZERO_SHOT if zero_shot and step == 0 else f"{after}{step}" for step in shown]


def shown_steps(last: int) -> list[int]:
    """The steps up to ``last`` that a table has room for: all of them, or the first, the last and some between them."""
    if last < ROOM:
        return list(range(last + 1))
    return [step for step in range(last + 1) if step in (0, 1, 2, 3, 5, last) or step in LONGER_STEPS]


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.2f}"
