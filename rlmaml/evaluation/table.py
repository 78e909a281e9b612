"""The table that ends a run: returns after each inner step, beside published ones where they compare."""

from collections.abc import Mapping, Sequence
from typing import Any

PUBLISHED: dict[tuple[str, str, int], dict[str, tuple[float, ...]]] = {
    ("Navigation2D-v0", "finn2017", 100): {
        "MAML, published": (-40.41, -11.68, -3.33, -3.23),
        "task given (context), published": (-42.42, -13.90, -5.17, -3.18),
        "random initialisation, published": (-82.66, -57.96, -53.84, -46.81),
        "oracle, published": (-2.29,),
    },
    ("HalfCheetahDir-v0", "finn2017", 200): {
        "MAML, published": (-50.69, 293.19, 313.48, 315.65),
        "pretrained, published": (-43.03, -24.75, -12.85, 19.57),
        "random initialisation, published": (-35.73, 21.83, 62.32, 86.18),
        "oracle, published": (442.69,),
    },
    ("HalfCheetahVel-v0", "finn2017", 200): {
        "MAML, published": (-129.53, -78.57, -66.62, -60.78),
        "pretrained, published": (-158.00, -135.39, -128.47, -133.61),
        "random initialisation, published": (-254.83, -254.33, -246.79, -230.83),
        "oracle, published": (-54.47,),
    },
    ("AntVel-v0", "finn2017", 200): {
        "MAML, published": (30.58, 96.74, 100.06, 101.41),
        "pretrained, published": (-1.83, 6.11, 8.47, 9.47),
        "random initialisation, published": (-78.64, -62.81, -48.55, -35.56),
        "oracle, published": (107.89,),
    },
    ("AntDir-v0", "finn2017", 200): {
        "MAML, 40 episodes, published": (8.66, 499.15, 500.68, 499.11),
        "MAML, 20 episodes, published": (12.91, 434.36, 425.63, 411.75),
        "pretrained, published": (3.16, 1.27, 6.51, 6.86),
        "random initialisation, published": (3.11, 9.25, 15.96, 26.11),
        "oracle, published": (524.80,),
    },
}
"""Mean returns over 40 test tasks after 0, 1, 2, 3 inner steps (arXiv 1703.03400, with its published result files).

They belong to one variant of one family at one horizon, and say nothing about any other.
"""

ROOM = 10
"""Steps that are all shown."""
LONGER_STEPS = tuple(10 * 2**doubling for doubling in range(10))
"""10, 20, 40, …: which steps of a long adaptation stand in the table."""


def evaluation_table(
    summary: Mapping[str, Sequence[Any]],
    terms: Mapping[str, Sequence[float]],
    env_id: str,
    variant: str,
    horizon: int,
    *,
    comparable: bool = True,
) -> str:
    """Mean return after each step with its 95 % interval and, if there are several, its terms; this run first.

    Published returns follow, but only beside ``comparable`` ones: inner steps on tasks of the training range.
    """
    shown = shown_steps(len(summary["mean"]) - 1)
    intervals = ["" if low is None else f"± {(high - low) / 2:.2f}" for low, high in summary["ci95"]]
    rows = [
        ("steps", *[str(step) for step in shown]),
        ("this run", *[f"{summary['mean'][step]:.2f}" for step in shown]),
        ("  95 % interval over tasks", *[intervals[step] for step in shown]),
    ]
    if len(terms) > 1:
        rows += [(f"  of which {name}", *[f"{means[step]:.2f}" for step in shown]) for name, means in terms.items()]
    published = PUBLISHED.get((env_id, variant, horizon), {}) if comparable else {}
    for name, means in published.items():
        rows.append((name, *[f"{means[step]:.2f}" if step < len(means) else "" for step in shown]))
    lines = (f"{row[0]:<34}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def shown_steps(last: int) -> list[int]:
    """The steps up to ``last`` that a table has room for: all of them, or the first, the last and some between them."""
    if last < ROOM:
        return list(range(last + 1))
    return [step for step in range(last + 1) if step in (0, 1, 2, 3, 5, last) or step in LONGER_STEPS]
