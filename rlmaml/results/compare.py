"""The experiment of the papers: a meta-trained policy against a pretrained one, a random one and an oracle.

``maml`` is the run as configured. ``pretrained`` is one policy trained over all tasks without adaptation, then
fine-tuned by as many inner steps. ``random`` is fine-tuned from initialisation. ``oracle`` is trained like
``pretrained``, but sees the task and need not adapt (arXiv 1703.03400, section 5.3). All see the same number of
environment steps in training, except the random one, and the same held-out tasks. The inner step sizes of the
fine-tuned policies are those, out of several, with which they end highest on validation tasks.
"""

import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from rlmaml.base.errors import NonFiniteError, UserError
from rlmaml.base.files import write_atomically
from rlmaml.base.intervals import finite_or_none, half_interval
from rlmaml.evaluation.figures import DrawEpisodes
from rlmaml.settings.whole import Settings, check_resumable, differences, from_plain
from rlmaml.storage.checkpoint import Checkpoint, load_checkpoint
from rlmaml.storage.run_directory import ComparisonDirectory, RunDirectory, write_json
from rlmaml.training.run import EVALUATION_SEED, MakeEnv, configured_evaluation, run_settings, train

FINE_TUNING = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
"""Factors on the configured inner step sizes that are tried for policies that were not meta-trained for these."""
VALIDATION_SEED = 20_000
IN_RANGE, BEYOND_RANGE = "in the training range", "beyond the training range"
METHODS = {
    "maml": "meta-trained, then adapted",
    "pretrained": "trained over all tasks, then fine-tuned",
    "random": "fine-tuned from initialisation",
    "oracle": "told the task, not adapted",
}
"""Method -> what it is, in words."""
COLOURS = {"maml": "#d1495b", "pretrained": "#00798c", "random": "#9aa4b2", "oracle": "#2e8b57"}

Floats: TypeAlias = npt.NDArray[np.float64]


def method_settings(settings: Settings, method: str, seed: int) -> Settings:
    """Settings under which a method is trained for the comparison.

    An iteration without inner steps samples ``inner_steps + 1`` times fewer episodes, so there are as many times more.
    The random policy and the oracle start from nothing, whatever ``start_from`` says: the oracle's network is another.
    """
    settings = settings.changed(seed=seed)
    if method == "maml":
        return settings
    alone = settings.without_inner_steps()
    if method in ("random", "oracle"):
        alone = alone.changed(start_from="")
    if method == "random":
        return alone.changed(iterations=0)
    longer = alone.changed(iterations=settings.run.iterations * (settings.inner.inner_steps + 1))
    return longer.changed(observe_task=True, evaluation_steps=0) if method == "oracle" else longer


def evaluated_run(
    settings: Settings, make_env: MakeEnv, directory: RunDirectory, draw: DrawEpisodes, *, beyond: bool
) -> dict[str, Any]:
    """A run's evaluation as JSON: the one in its directory if it is of these settings, or else a new one.

    What is missing of the training is done first.

    Raises:
        UserError: the directory holds a run of other settings, or see :func:`rlmaml.training.run.train`.
    """
    tuned = settings.inner.inner_steps == 0 < settings.run.evaluation_steps
    tuning = list(FINE_TUNING) if tuned else None
    path = directory.beyond if beyond else directory.fine_tuned if tuned else directory.evaluation
    if path.exists():
        report: dict[str, Any] = json.loads(path.read_text())
        made = report["config"]
        stored = from_plain(made["settings"])
        if tuned:
            stored = stored.changed(inner_step_sizes=settings.inner.inner_step_sizes)
        check_resumable(stored, settings)
        alike = (made.get("fine_tuning"), made.get("trust_region"), made.get("beyond", False)) == (tuning, None, beyond)
        if alike and not differences(stored, settings, counted=True):
            return report
    if not beyond:
        train(settings, make_env, directory.path, resume=True, draw=draw)
    if beyond or tuned:
        trained = load_checkpoint(directory.checkpoint)._replace(settings=settings)
        if tuned and beyond:
            chosen = from_plain(json.loads(directory.fine_tuned.read_text())["config"]["settings"])
            trained = trained._replace(settings=settings.changed(inner_step_sizes=chosen.inner.inner_step_sizes))
        elif tuned:
            trained = fine_tuned(trained, make_env)
        evaluation = configured_evaluation(trained, make_env, EVALUATION_SEED, beyond=beyond)
        write_json(
            path,
            evaluation.as_json(run_settings(trained.settings) | {"beyond": beyond, "fine_tuning": tuning}),
        )
    done: dict[str, Any] = json.loads(path.read_text())
    return done


def fine_tuned(trained: Checkpoint, make_env: MakeEnv) -> Checkpoint:
    """The policy with the inner step sizes with which it ends highest on validation tasks.

    A policy that was not meta-trained has no reason to be improved by steps of the configured size: it explores
    little in the end, and steps that suit MAML would destroy it. Fairness asks for the best of ``FINE_TUNING``.
    """
    settings = trained.settings
    sizes = settings.inner.inner_step_sizes
    candidates = [
        trained._replace(settings=settings.changed(inner_step_sizes=tuple(factor * size for size in sizes)))
        for factor in FINE_TUNING
    ]
    return max(candidates, key=lambda one: _final_return(one, make_env))


def _final_return(checkpoint: Checkpoint, make_env: MakeEnv) -> float:
    """Mean return on the validation tasks after the last inner step; of steps that diverge, the worst there is."""
    try:
        final = configured_evaluation(checkpoint, make_env, VALIDATION_SEED).returns_with_failed[:, -1].mean()
    except NonFiniteError:
        return -math.inf
    return float(final) if final.isfinite() else -math.inf


class MethodReturns(NamedTuple):
    """What one method reached: ``per_task[seed, task, stage]``, with one stage for the oracle."""

    per_task: Floats

    @property
    def mean(self) -> Floats:
        """Mean return after each inner step, over tasks and seeds."""
        return np.asarray(self.per_task.mean((0, 1)))

    @property
    def over_seeds(self) -> Floats:
        """Half the 95 % interval over seeds, of each stage; NaN for a single seed."""
        return half_interval(self.per_task.mean(1))

    @property
    def over_tasks(self) -> Floats:
        """Half the 95 % interval over tasks, of each stage, for the mean over seeds; NaN for a single task."""
        return half_interval(self.per_task.mean(0))


class Comparison(NamedTuple):
    """A finished comparison: settings of ``maml``, seeds, and what each method reached on each set of tasks."""

    settings: Settings
    seeds: tuple[int, ...]
    results: Mapping[str, Mapping[str, MethodReturns]]


def compare(
    settings: Settings,
    seeds: Sequence[int],
    make_env: Callable[[Settings], MakeEnv],
    directory: ComparisonDirectory,
    draw: DrawEpisodes,
    *,
    beyond: bool,
    overwrite: bool = False,
    tell: Callable[[str], object] = print,
) -> Comparison:
    """Train and evaluate what is missing, and write table's and figure's data and the figure into the directory.

    Args:
        settings: of ``maml``.
        seeds: of the trainings.
        make_env: makes what makes the environments of some settings.
        directory: of the runs and of the comparison.
        draw: draws episodes of one task.
        beyond: also compare beyond the training range.
        overwrite: replace a comparison of other settings that is there.
        tell: what is done with a line about what is going on.

    Raises:
        UserError: the directory holds a comparison of other settings, or see :func:`rlmaml.training.run.train`.
    """
    if not overwrite:
        check_same(read_comparison(directory), settings, seeds)
    places = [IN_RANGE, BEYOND_RANGE] if beyond else [IN_RANGE]
    reports: dict[str, dict[str, list[dict[str, Any]]]] = {place: {m: [] for m in METHODS} for place in places}
    for seed in seeds:
        for method in METHODS:
            run = directory.run(method, seed)
            tell(f"{method}, seed {seed}: {run.path}")
            own = method_settings(settings, method, seed)
            for place in places:
                report = evaluated_run(own, make_env(own), run, draw, beyond=place == BEYOND_RANGE)
                reports[place][method].append(report)
            if own.inner.inner_steps == 0 < own.run.evaluation_steps:
                tell(f"fine-tuned with step sizes {report['config']['settings']['inner']['inner_step_sizes']}")
    results = {place: {m: gather(runs) for m, runs in methods.items()} for place, methods in reports.items()}
    comparison = Comparison(settings.changed(seed=seeds[0]), tuple(seeds), results)
    picture = io.BytesIO()
    comparison_figure(results).savefig(picture, dpi=150)
    write_atomically(directory.figure, picture.getvalue())
    write_json(directory.results, as_plain(comparison))
    return comparison


def read_comparison(directory: ComparisonDirectory) -> Comparison | None:
    """The comparison in a directory, or None where there is none.

    Raises:
        UserError: it cannot be read.
    """
    path = directory.results
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text())
        results = {
            place: {
                method: MethodReturns(np.array(data["per_task"], np.float64))
                for method, data in part["methods"].items()
            }
            for place, part in stored["results"].items()
        }
        settings = from_plain(stored["config"]["settings"])
        return Comparison(settings, tuple(stored["config"]["seeds"]), results)
    except (KeyError, OSError, TypeError, ValueError, UserError) as error:
        raise UserError(f"{path} is not of this version. Repeat compare.py with --overwrite; runs are kept.") from error


def check_same(stored: Comparison | None, settings: Settings, seeds: Sequence[int]) -> None:
    """Refuse to replace a comparison by one of other settings.

    Raises:
        UserError: names every setting that differs, with both values.
    """
    if stored is None:
        return
    same_seed = settings.changed(seed=stored.settings.run.seed)
    differing = differences(stored.settings, same_seed, counted=True)
    if stored.seeds != tuple(seeds):
        differing.append(f"--seeds was {stored.seeds} and is now {tuple(seeds)}")
    if differing:
        raise UserError(
            f"The comparison there has other settings: {'; '.join(differing)}. Choose another --output; --overwrite "
            "replaces it where only the evaluation or the seeds differ."
        )


def comparison_around(run_dirs: Iterable[Path], settings: Settings) -> Comparison | None:
    """The comparison of the same problem in the directory that holds the runs, or None where there is none.

    Raises:
        UserError: there are several, or one cannot be read.
    """
    folders = {run_dir.resolve().parent for run_dir in run_dirs}
    stored = [comparison for comparison in map(read_comparison, map(ComparisonDirectory, folders)) if comparison]
    found = [comparison for comparison in stored if problem(comparison.settings) == problem(settings)]
    if len(found) > 1:
        raise UserError("The runs are of several comparisons; report on one at a time.")
    return found[0] if found else None


def gather(reports: Iterable[Mapping[str, Any]]) -> MethodReturns:
    """The returns of several seeds, from their evaluations as JSON."""
    return MethodReturns(np.array([report["per_task"] for report in reports], np.float64))


def fraction_recovered(results: Mapping[str, MethodReturns], method: str) -> float:
    """``(method after 1 step − random before) / (oracle − random before)``: of what knowing the task is worth."""
    start, best, reached = results["random"].mean[0], results["oracle"].mean[0], results[method].mean
    return float((reached[min(1, len(reached) - 1)] - start) / (best - start))


def comparison_table(results: Mapping[str, MethodReturns]) -> str:
    """Markdown: mean return of each method after each inner step, with intervals over seeds and over tasks."""
    stages = max(len(returns.mean) for returns in results.values())
    seeds, tasks, _ = next(iter(results.values())).per_task.shape
    lines = [
        "| method | " + " | ".join(f"after {k}" for k in range(stages)) + " |",
        "| --- |" + " ---: |" * stages,
    ]
    for method, returns in results.items():
        triples = zip(returns.mean, returns.over_seeds, returns.over_tasks, strict=True)
        cells = [f"{mean:.2f} ({_plus_minus(seed)}, {_plus_minus(task)})" for mean, seed, task in triples]
        lines.append(f"| {method} | " + " | ".join(cells + [""] * (stages - len(cells))) + " |")
    lines.append(f"\nIn brackets: 95 % intervals over {seeds} seeds, and over {tasks} tasks.")
    return "\n".join(lines)


def comparison_figure(results: Mapping[str, Mapping[str, MethodReturns]]) -> Figure:
    """Return over inner steps, a panel for each set of tasks: bars are intervals over seeds, bands over tasks."""
    figure = Figure(figsize=(5.4 * len(results), 4.2), layout="constrained")
    for axes, (place, methods) in zip(figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True):
        stages = max(len(returns.mean) for returns in methods.values())
        for method, returns in methods.items():
            mean, bars, band = (
                over_stages(values, stages) for values in (returns.mean, returns.over_seeds, returns.over_tasks)
            )
            steps, colour = np.arange(stages), COLOURS[method]
            axes.fill_between(steps, mean - band, mean + band, color=colour, alpha=0.12, linewidth=0)
            style = "--" if method == "oracle" else "o-"
            axes.errorbar(steps, mean, np.nan_to_num(bars), fmt=style, color=colour, capsize=3, label=method)
        axes.set(title=place, xlabel="inner steps", ylabel="mean return", xticks=range(stages))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return figure


def as_plain(comparison: Comparison) -> dict[str, Any]:
    """Everything in the table and the figure, and how it was made, as plain data."""
    written = run_settings(comparison.settings) | {"seeds": list(comparison.seeds)}
    results = {
        place: {
            "methods": {
                method: {
                    "mean": finite_or_none(returns.mean),
                    "ci95_over_seeds": finite_or_none(returns.over_seeds),
                    "ci95_over_tasks": finite_or_none(returns.over_tasks),
                    "per_task": [[finite_or_none(task) for task in seed] for seed in returns.per_task],
                }
                for method, returns in methods.items()
            },
            "fraction_recovered": {method: fraction_recovered(methods, method) for method in methods},
        }
        for place, methods in comparison.results.items()
    }
    return {"config": written, "results": results}


def problem(settings: Settings) -> tuple[str, str, int | None]:
    """What makes runs comparable: family, variant and horizon."""
    return settings.run.env_id, settings.run.variant, settings.run.horizon


def over_stages(values: Floats, stages: int) -> Floats:
    """One value per stage: a single one, as of an oracle, serves all of them."""
    return np.broadcast_to(values, (stages,)) if len(values) == 1 else values


def _plus_minus(half: float) -> str:
    return "–" if np.isnan(half) else f"± {half:.2f}"
