"""How well a model predicts a robot after adapting to it: errors in the units of the observation, and a figure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from rlmaml.base.intervals import finite_or_none, half_interval
from rlmaml.evaluation.figures import ordinary_figures, whole_ticks
from rlmaml.evaluation.table import ZERO_SHOT

COLORS = ("#d1495b", "#00798c", "#9aa4b2")
"""Of models in their order."""
DEEPER = ("#f3c1c7", "#e27f8b", "#a11d33")
"""Of a model in its stages."""
MOST_NUMBERS = 24
"""Of an observation that have bars of their own in a figure."""


class Observed(NamedTuple):
    """What the numbers of an observation are."""

    names: tuple[str, ...]
    units: tuple[str, ...]

    @property
    def labels(self) -> list[str]:
        """Names with their units."""
        return [f"{name} [{unit}]" if unit else name for name, unit in zip(self.names, self.units, strict=True)]


def root_mean_squares(errors: Float[Tensor, "task stage obs"]) -> dict[str, list[Any]]:
    """``√(mean over tasks)`` of mean squared errors, after every step and of every number, ``[stage][obs]``.

    The 95 % intervals are those of the means, by Student's t over tasks, under the root; null where tasks are
    too few for one.
    """
    squared = errors.double().numpy()
    mean, half = squared.mean(0), half_interval(squared)
    low, high = np.sqrt((mean - half).clip(min=0.0)), np.sqrt(mean + half)
    return {
        "mean": [finite_or_none(row) for row in np.sqrt(mean)],
        "ci95": [
            [list(pair) for pair in zip(finite_or_none(lowest), finite_or_none(highest), strict=True)]
            for lowest, highest in zip(low, high, strict=True)
        ],
    }


def observation_table(observed: Observed, columns: Mapping[str, Sequence[float | None]]) -> str:
    """Root mean squared errors of every number of an observation, in its unit.

    Args:
        observed: what the numbers are.
        columns: title -> the error of each number.
    """
    labels = observed.labels
    width, wide = max(map(len, labels)) + 2, max(14, 2 + max(map(len, columns)))
    lines = [" " * width + "".join(f"{title:>{wide}}" for title in columns)]
    for label, row in zip(labels, zip(*columns.values(), strict=True), strict=True):
        cells = ("–" if value is None else f"{value:.4g}" for value in row)
        lines.append(f"{label:<{width}}" + "".join(f"{cell:>{wide}}" for cell in cells))
    return "\n".join(lines)


@ordinary_figures()
def prediction_figure(
    rows: Mapping[str, Mapping[str, Sequence[Any]]],
    observed: Observed,
    columns: Mapping[str, Sequence[float | None]],
) -> Figure:
    """Errors after every step, by model, with 95 % intervals; and beside it those of each number of the observation.

    Args:
        rows: summaries by name, as :meth:`rlmaml.evaluation.query_scores.QueryScores.summary` makes them.
        observed: what the numbers of an observation are.
        columns: as for :func:`observation_table`; the first is what the others are divided by.
    """
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.4))
    for (name, row), color in zip(rows.items(), COLORS, strict=False):
        steps = range(len(row["mean"]))
        left.plot(steps, row["mean"], color=color, marker="o", markersize=3, label=name)
        bounds = np.array(row["ci95"], float)
        left.fill_between(steps, bounds[:, 0], bounds[:, 1], color=color, alpha=0.2, linewidth=0)
    left.set_yscale("log")
    left.set_xlabel(f"inner steps (0: {ZERO_SHOT})")
    whole_ticks(left)
    left.set_ylabel("mean squared error, normalised")
    left.legend(frameon=False)

    (first, before), *others = columns.items()
    shown = slice(MOST_NUMBERS)
    base = np.array(before, float)[shown]
    places = np.arange(len(base))
    for index, (name, values) in enumerate(others):
        ratio = np.divide(np.array(values, float)[shown], base, out=np.ones_like(base), where=base > 0)
        height = 0.8 / len(others)
        right.barh(places + height * index, ratio, height, color=DEEPER[index % len(DEEPER)], label=name)
    right.axvline(1.0, color="black", linewidth=0.8)
    right.set_yticks(places, observed.labels[shown], fontsize=7)
    right.invert_yaxis()
    right.set_xlabel(f"root mean squared error, of {first} = 1")
    right.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(others))
    return figure
