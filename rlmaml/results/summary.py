"""The same experiment under several seeds, in one row."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlmaml.base.errors import UserError
from rlmaml.base.intervals import half_interval
from rlmaml.base.plain_data import DamagedError
from rlmaml.evaluation.table import step_titles
from rlmaml.results.paired import differing_settings
from rlmaml.settings.checks import option
from rlmaml.settings.whole import CHOICES, from_plain
from rlmaml.storage.run_directory import RunDirectory, check_different
from rlmaml.terminal.words import counted, in_short


def summarise_seeds(run_dirs: Sequence[Path]) -> str:
    """Markdown rows: each run's mean return after every inner step, and their mean with a 95 % interval over seeds.

    Returns are those of sampled actions, of the evaluations that ended the trainings.

    A failed simulation counts as the worst return seen; how many failed is said where any did.

    Raises:
        UserError: a directory holds no finished run or is named twice, the runs differ in more than the seed, or two
            have the same one.
    """
    check_different(run_dirs)
    directories = [RunDirectory(run_dir) for run_dir in run_dirs]
    reports = [directory.read_evaluation() for directory in directories]
    settings = [from_plain(report["config"]["settings"]) for report in reports]
    differing = differing_settings(settings)
    differing.pop(option("seed"), None)
    if differing:
        chosen = {name: differing[name] for name in map(option, CHOICES) if name in differing}
        told = "; ".join(_differing_words(name, values, run_dirs) for name, values in (chosen or differing).items())
        raise UserError(f"The runs differ in more than their seed: {told}. Summarise runs of one configuration.")
    by_seed: dict[int, Path] = {}
    for one, run_dir in zip(settings, run_dirs, strict=True):
        other = by_seed.setdefault(one.run.seed, run_dir)
        if other != run_dir:
            raise UserError(
                f"{other} and {run_dir} are the same run, of seed {one.run.seed}; summarise runs of different seeds."
            )
    means = np.array([report["returns"]["mean_with_failed"] for report in reports], np.float64)
    steps = means.shape[1]
    run = settings[0].run
    tasks, episodes = counted(run.evaluation_tasks, "held-out task"), counted(run.evaluation_episodes, "episode")
    rows = [
        f"Mean return on {tasks}, {episodes} each, of sampled actions:\n",
        "| seed | " + " | ".join(step_titles(range(steps))) + " | training, s |",
        "| --- |" + " ---: |" * (steps + 1),
    ]
    seconds = [training_seconds(directory) for directory in directories]
    for one, values, duration in zip(settings, means, seconds, strict=True):
        cells = " | ".join(_number(value) for value in values)
        rows.append(f"| {one.run.seed} | {cells} | {duration:.0f} |")
    cells = " | ".join(f"**{_number(value)}**" for value in means.mean(0))
    rows.append(f"| mean of {counted(len(means), 'seed')} | {cells} | {statistics.mean(seconds):.0f} |")
    half = half_interval(means)
    if not np.isnan(half).all():
        rows.append("| 95 % interval over seeds | " + " | ".join(f"± {_number(value)}" for value in half) + " | |")
    if failed := failed_in_words(reports):
        rows.append(f"\n{failed.capitalize()}; they count as the worst return seen.")
    return "\n".join(rows)


def failed_in_words(reports: Iterable[Mapping[str, Any]]) -> str:
    """How many simulations failed in some evaluations, given as JSON; empty where none did."""
    worst = max(max(report["returns"]["share_unstable"]) for report in reports)
    return f"up to {100 * worst:.1f} % of a stage's simulations failed" if worst else ""


def training_seconds(directory: RunDirectory) -> float:
    """Seconds that the meta-iterations of a run took.

    Raises:
        UserError: they are not known.
    """
    total = 0.0
    for number, line in enumerate(directory.read_metrics(), start=1):
        seconds = line.get("seconds/iteration")
        if seconds is None:
            raise DamagedError(directory.metrics, f"line {number} has no seconds/iteration")
        total += seconds
    return total


def _differing_words(name: str, values: Sequence[object], run_dirs: Sequence[Path]) -> str:
    """An option in which runs differ, in a sentence: every value, once, with the runs that have it."""
    having: dict[str, list[str]] = {}
    for value, run_dir in zip(values, run_dirs, strict=True):
        having.setdefault(in_short(value), []).append(str(run_dir))
    return f"{name} is " + ", and ".join(f"{value} in {', '.join(runs)}" for value, runs in having.items())


def _number(value: float) -> str:
    """A number, or a dash where all simulations failed."""
    return "–" if np.isnan(value) else f"{value:.2f}"
