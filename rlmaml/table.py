"""The table that ends a run: returns after each inner step, beside published ones where they compare."""

from collections.abc import Mapping, Sequence
from typing import Any

PUBLISHED: dict[tuple[str, str, int], dict[str, tuple[float, ...]]] = {
    ("Navigation2D-v0", "finn2017", 100): {
        "MAML, published": (-40.41, -11.68, -3.33, -3.23),
        "task given (context), published": (-42.42, -13.90, -5.17, -3.18),
        "random initialisation, published": (-82.66, -57.96, -53.84, -46.81),
        "oracle, published": (-2.29,),
    }
}
"""Mean returns over 40 test tasks after 0, 1, 2, 3 inner steps (arXiv 1703.03400, with its published result files).

They belong to one variant of one family at one horizon, and say nothing about any other.
"""


def evaluation_table(summary: Mapping[str, Sequence[Any]], env_id: str, variant: str, horizon: int) -> str:
    """Mean return after each inner step with its 95 % interval, this run first."""
    steps = len(summary["mean"])
    intervals = ["" if low is None else f"± {(high - low) / 2:.2f}" for low, high in summary["ci95"]]
    rows = [
        ("inner steps", *[str(k) for k in range(steps)]),
        ("this run", *[f"{mean:.2f}" for mean in summary["mean"]]),
        ("  95 % interval over tasks", *intervals),
    ]
    for name, means in PUBLISHED.get((env_id, variant, horizon), {}).items():
        cells = [f"{mean:.2f}" for mean in means[:steps]]
        rows.append((name, *cells, *[""] * (steps - len(cells))))
    return "\n".join(f"{row[0]:<34}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows)
