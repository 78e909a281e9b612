"""Finished runs of one problem on the same tasks: what each reached, and by how much they differ, task by task."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from rlmaml.base.errors import UserError
from rlmaml.base.intervals import finite_or_none, half_interval
from rlmaml.core.types import Tasks
from rlmaml.evaluation.table import step_titles
from rlmaml.settings.checks import option
from rlmaml.settings.whole import Settings
from rlmaml.terminal.words import in_short, interval_words, markdown_table

Floats: TypeAlias = npt.NDArray[np.float64]


class Reached(NamedTuple):
    """What one run reached: returns or scores, ``per_task[task, stage]``, of tasks that all runs share."""

    name: str
    settings: Settings
    per_task: Floats


class Mean(NamedTuple):
    """Of each stage, with half the 95 % interval over tasks; NaN for too few tasks."""

    mean: Floats
    half: Floats


def mean_over_tasks(per_task: Floats) -> Mean:
    """Over tasks, of (task, stage)."""
    return Mean(np.asarray(per_task.mean(0)), half_interval(per_task))


def paired_difference(first: Floats, other: Floats) -> Mean:
    """``other - first`` task by task, for the stages that both have.

    What makes tasks differ is in both, so the interval is narrower than those of the two means.
    """
    stages = min(first.shape[1], other.shape[1])
    return mean_over_tasks(other[:, :stages] - first[:, :stages])


def check_one_problem(runs: Mapping[str, Settings]) -> None:
    """Refuse runs, by what a user calls them, that are of different families or variants.

    Raises:
        UserError: names each with its own.
    """
    problems = {name: f"{own.run.env_id}, {own.run.variant}" for name, own in runs.items()}
    if len(set(problems.values())) > 1:
        told = "; ".join(f"{name} is on {own}" for name, own in problems.items())
        raise UserError(f"The runs are of different families or variants: {told}. Give those of one.")


def check_same_tasks(tasks: Sequence[Tasks]) -> None:
    """Refuse runs that were evaluated on different tasks.

    Raises:
        UserError: names the parameter.
    """
    for other in tasks[1:]:
        for name, values in tasks[0].items():
            if not np.array_equal(values, other.get(name, np.nan)):
                raise UserError(f"The runs are evaluated on different tasks: {name} differs. Give them the same.")


NO_OPTION = "–"
"""In place of a value."""


def differing_settings(settings: Sequence[Settings]) -> dict[str, list[Any]]:
    """Options in which runs differ -> the value of each, :data:`NO_OPTION` of what its method does not have.

    Where and how fast they were computed is left out.
    """
    free = settings[0].marked("free_on_resume") - settings[0].marked("counts")
    flat = [one.flat() for one in settings]
    names = dict.fromkeys(name for one in flat for name in one if name not in free)
    values = {option(name): [one.get(name, NO_OPTION) for one in flat] for name in names}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}


def paired_rows(runs: Sequence[Reached]) -> list[tuple[str, Mean]]:
    """Every run, and every run but the first less the first."""
    first, *others = runs
    means = [(run.name, mean_over_tasks(run.per_task)) for run in runs]
    return means + [
        (f"{run.name} less {first.name}", paired_difference(first.per_task, run.per_task)) for run in others
    ]


def paired_as_json(runs: Sequence[Reached]) -> dict[str, Any]:
    """What :func:`paired_table` shows, and what was reached on every task, as plain data; null for what is not finite.

    Runs are in their order, for their names may be alike.
    """
    return {
        "runs": [
            {"name": run.name, "per_task": [finite_or_none(row) for row in run.per_task], **_plain(mean)}
            for run, (_, mean) in zip(runs, paired_rows(runs), strict=False)
        ],
        "less_the_first": [
            {"name": run.name} | _plain(mean)
            for run, (_, mean) in zip(runs[1:], paired_rows(runs)[len(runs) :], strict=True)
        ],
        "differing_settings": differing_settings([run.settings for run in runs]),
    }


def _plain(mean: Mean) -> dict[str, Any]:
    """Means, and half their intervals."""
    return {"mean": finite_or_none(mean.mean), "half_ci95": finite_or_none(mean.half)}


def paired_table(runs: Sequence[Reached], *, zero_shot: bool = True) -> str:
    """Markdown: returns and paired differences after each inner step, and the settings in which the runs differ.

    Args:
        runs: the others are compared with the first.
        zero_shot: see :func:`rlmaml.evaluation.table.step_titles`.
    """
    stages = max(run.per_task.shape[1] for run in runs)
    lines = rows_table(runs, step_titles(range(stages), zero_shot=zero_shot), range(stages), digits=2)
    return "\n".join([*lines, *settings_lines(differing_settings([run.settings for run in runs]), runs)])


def rows_table(runs: Sequence[Reached], titles: Sequence[str], shown: Sequence[int], digits: int) -> list[str]:
    """Markdown: the means of every run and the paired differences, at the stages that are shown, and what ± is."""
    rows = []
    for name, row in paired_rows(runs):
        cells = cells_of(row, digits)
        rows.append([name, *(cells[k] for k in shown if k < len(cells))])
    return [
        *markdown_table(["run", *titles], rows),
        f"\n{interval_words(len(runs[0].per_task), 'task')}; differences are task by task.\n",
    ]


def settings_lines(differing: Mapping[str, Sequence[Any]], runs: Sequence[Reached]) -> list[str]:
    """Markdown: a row for each setting in which runs differ."""
    if not differing:
        return ["The runs differ in no setting."]
    rows = ([name, *map(in_short, values)] for name, values in differing.items())
    return markdown_table(["setting", *(run.name for run in runs)], rows, alignment="---")


def cells_of(row: Mean, digits: int = 2) -> list[str]:
    """Means with their intervals in words; a dash for what is not finite."""
    pairs = zip(row.mean, row.half, strict=True)
    return [
        "–" if np.isnan(mean) else f"{mean:.{digits}f}" + ("" if np.isnan(half) else f" ± {half:.{digits}f}")
        for mean, half in pairs
    ]
