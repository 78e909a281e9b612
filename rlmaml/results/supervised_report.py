"""A report of runs on supervised tasks as a single HTML page, by the scores that their trainings left."""

import html
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib import rc_context

from rlmaml.evaluation.figures import ordinary_figures, whole_ticks
from rlmaml.evaluation.table import ZERO_SHOT, step_titles
from rlmaml.results.compression import read_table, small_page
from rlmaml.results.page_parts import (
    COLOURS,
    PAGE,
    STYLE,
    as_picture,
    as_svg,
    as_table,
    differences_table,
    differing_table,
    folded_configuration,
    page_axes,
    place_legend,
)
from rlmaml.results.paired import cells_of, mean_over_tasks
from rlmaml.results.scored import (
    DIGITS,
    ScoredRun,
    reached_by,
    score_title,
    scored_stages,
    shared_scores,
)
from rlmaml.settings.checks import option
from rlmaml.settings.supervised import OF_EPISODES
from rlmaml.terminal.words import interval_words

QUERY_LOSS = "update/query_loss"
"""Of a meta-iteration, after the last inner step; methods without a loss on query sets have none."""


@ordinary_figures()
def supervised_page(runs: Sequence[ScoredRun]) -> str:
    """The page. It loads nothing from elsewhere.

    Args:
        runs: one or more runs on the same tasks, as :func:`rlmaml.results.scored.read_scored` reads them.

    Raises:
        UserError: the record of a run is damaged.
    """
    held_out = runs[0].stored.held_out
    title = f"{held_out.family}, {held_out.variant}"
    with rc_context(STYLE):
        parts = [f"<h1>{html.escape(title)}</h1>"]
        parts += [_scores(runs, score) for score in shared_scores(runs)]
        parts += [_differences(runs), _query_losses(runs)]
        for run in runs:
            parts += [f"<h2>{html.escape(run.name)}</h2>", _figure(run), _adaptation(run)]
            if run.directory.compression.exists():
                parts.append(small_page(*read_table(run.directory.compression)))
            parts.append(folded_configuration(run.stored.config))
    return PAGE.format(title=html.escape(f"rlmaml: {title}"), body="\n".join(parts))


def _scores(runs: Sequence[ScoredRun], score: str) -> str:
    """Means over tasks with their intervals after every step: a figure, and a table."""
    shown = scored_stages(runs)
    figure, axes = page_axes()
    rows = []
    for run, colour in zip(reached_by(runs, score), COLOURS * len(runs), strict=False):
        row = mean_over_tasks(run.per_task)
        style: dict[str, Any] = {"fmt": "o-", "capsize": 3, "markersize": 4, "color": colour, "label": run.name}
        axes.errorbar(range(len(row.mean)), row.mean, np.nan_to_num(row.half), **style)
        rows.append((run.name, [cell for k, cell in enumerate(cells_of(row, DIGITS)) if k in shown]))
    axes.set(xlabel=f"inner steps (0: {ZERO_SHOT})", ylabel=score)
    whole_ticks(axes)
    place_legend(figure, axes)
    note = f"{score_title(runs, score)}; {interval_words(runs[0].stored.num_tasks, 'task')}."
    return f"<p class=note>{html.escape(note)}</p>{as_svg(figure)}{as_table(['', *step_titles(shown)], rows)}"


def _differences(runs: Sequence[ScoredRun]) -> str:
    """Every run less the first, task by task, and the settings in which they differ; nothing for a single run."""
    if len(runs) < 2:
        return ""
    shown, parts = scored_stages(runs), []
    for score in shared_scores(runs):
        reached = reached_by(runs, score)
        parts += [differences_table(reached, [score, *step_titles(shown)], shown, DIGITS), "<br>"]
    return (
        "<h2>Differences</h2><p class=note>Task by task; below, the settings in which the runs differ.</p>"
        f"{''.join(parts)}{differing_table(reached)}"
    )


def _query_losses(runs: Sequence[ScoredRun]) -> str:
    """The loss on the query sets of the training, over meta-iterations; nothing where no run has one."""
    figure, axes = page_axes()
    drawn = False
    for run, colour in zip(runs, COLOURS * len(runs), strict=False):
        lines = run.directory.read_metrics()
        curve = [np.nan if line[QUERY_LOSS] is None else line[QUERY_LOSS] for line in lines if QUERY_LOSS in line]
        if curve:
            drawn = True
            marker = "." if len(curve) == 1 else ""
            axes.plot(curve, marker=marker, color=colour, linewidth=1.2, label=run.name)
    if not drawn:
        return ""
    axes.set(xlabel="meta-iteration", ylabel="loss on the query sets in training")
    whole_ticks(axes)
    place_legend(figure, axes)
    return f"<h2>Learning curves</h2>{as_svg(figure)}"


def _figure(run: ScoredRun) -> str:
    """What the training drew at its end; nothing where it drew nothing."""
    path = run.directory.figure
    return as_picture(path.read_bytes(), "Before and after adaptation") if path.exists() else ""


def _adaptation(run: ScoredRun) -> str:
    """With which settings the run adapts."""
    settings = run.stored.settings
    values = {"algorithm": settings.algorithm, **asdict(settings.inner)}
    rows = [(option(name), [str(value)]) for name, value in values.items() if name not in OF_EPISODES]
    return f"<h3>How it adapts</h3>{as_table(['setting', 'value'], rows)}"
