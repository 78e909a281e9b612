"""Finished runs on supervised tasks, by the scores that their trainings left: what each reached, and the differences.

A run directory does not hold the tasks, so that nothing is scored anew.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rlmaml.base.errors import UserError
from rlmaml.evaluation.table import shown_steps, step_titles
from rlmaml.results.page_parts import as_label
from rlmaml.results.paired import Reached, differing_settings, paired_as_json, rows_table, settings_lines
from rlmaml.storage.run_directory import RunDirectory, check_different, is_of_run, policy_file
from rlmaml.storage.scores_file import BETTER, StoredScores

DIGITS = 4
"""Of scores after the point."""


class ScoredRun(NamedTuple):
    """A run, and the scores that its training left."""

    name: str
    directory: RunDirectory
    stored: StoredScores


def read_scored(run_dirs: Sequence[Path]) -> list[ScoredRun]:
    """Runs on the same supervised tasks.

    Raises:
        UserError: one is no finished run on supervised tasks, is another policy than the run's own, or is named twice;
            or they were scored on different tasks.
    """
    check_different(run_dirs)
    runs = []
    for run_dir in run_dirs:
        if not is_of_run(run_dir):
            raise UserError(
                f"{run_dir} is a policy on supervised tasks, of which the run alone has scores. Give its directory."
            )
        directory = RunDirectory(policy_file(run_dir).parent)
        runs.append(ScoredRun(as_label(directory.path.resolve().name), directory, directory.read_scores()))
    names = [run.name for run in runs]
    if len(set(names)) < len(names):  # as of models that are kept within the runs they stand beside
        runs = [run._replace(name=as_label("/".join(run.directory.path.resolve().parts[-2:]))) for run in runs]
    check_same_held_out(runs)
    return runs


def check_same_held_out(runs: Sequence[ScoredRun]) -> None:
    """Refuse runs that were scored on different tasks, or by different scores.

    Raises:
        UserError: names both runs, and the tasks or the scores of each.
    """
    first, *others = runs
    for other in others:
        tasks = [(run.stored.held_out, run.stored.num_tasks) for run in (first, other)]
        if tasks[0] != tasks[1]:
            told = "; ".join(
                f"{run.name} on {held_out.words(num_tasks)}"
                for run, (held_out, num_tasks) in zip((first, other), tasks, strict=True)
            )
            raise UserError(
                f"The runs are scored on different tasks: {told}. Train them with the same tasks of the test."
            )
        if next(iter(first.stored.per_task)) != next(iter(other.stored.per_task)):
            raise UserError(
                f"The runs have different scores: {first.name} {', '.join(first.stored.per_task)}; {other.name} "
                f"{', '.join(other.stored.per_task)}."
            )


def shared_scores(runs: Sequence[ScoredRun]) -> list[str]:
    """Scores that all runs have, in the order of the first."""
    return [name for name in runs[0].stored.per_task if all(name in run.stored.per_task for run in runs)]


def reached_by(runs: Sequence[ScoredRun], score: str) -> list[Reached]:
    """What runs reached by one score."""
    return [Reached(run.name, run.stored.settings, run.stored.per_task[score]) for run in runs]


def score_title(runs: Sequence[ScoredRun], score: str) -> str:
    """What a table of scores is of, and which ones are better, where that is known."""
    better = f"; {BETTER[score]} is better" if score in BETTER else ""
    return f"{score} on {runs[0].stored.held_out.words(runs[0].stored.num_tasks)}{better}"


def scored_stages(runs: Sequence[ScoredRun]) -> list[int]:
    """The numbers of steps that a table of these runs has room for."""
    return shown_steps(max(next(iter(run.stored.per_task.values())).shape[1] for run in runs) - 1)


def scored_as_json(runs: Sequence[ScoredRun]) -> dict[str, Any]:
    """What :func:`scored_table` shows, by score, and the scores of every task, as plain data."""
    return {score: paired_as_json(reached_by(runs, score)) for score in shared_scores(runs)}


def scored_table(runs: Sequence[ScoredRun]) -> str:
    """Markdown: every score and its paired differences after some steps, and the settings in which the runs differ."""
    shown = scored_stages(runs)
    lines: list[str] = []
    for score in shared_scores(runs):
        reached = reached_by(runs, score)
        lines += [f"{score_title(runs, score)}:\n", *rows_table(reached, step_titles(shown), shown, DIGITS)]
    return "\n".join([*lines, *settings_lines(differing_settings([run.settings for run in reached]), reached)])
