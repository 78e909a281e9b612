"""The experiment of the papers: a meta-trained policy against a pretrained one, a random one and an oracle.

``maml`` is the run as configured. ``pretrained`` is one policy trained over all tasks without adaptation, then
fine-tuned by as many inner steps. ``random`` is fine-tuned from initialisation. ``oracle`` is trained like
``pretrained``, but sees the task and need not adapt (arXiv 1703.03400, section 5.3). All see the same number of
environment steps in training, except the random one, and the same held-out tasks. The inner step sizes of the
fine-tuned policies are those, out of several, with which they end highest on validation tasks.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from rlmaml.base.errors import NonFiniteError, UserError
from rlmaml.base.files import write_atomically
from rlmaml.base.intervals import finite_or_none, half_interval
from rlmaml.evaluation.figures import DrawEpisodes
from rlmaml.settings.config import TrainConfig, check_resumable, differences, from_json
from rlmaml.storage.checkpoint import CHECKPOINT, Checkpoint, load_checkpoint
from rlmaml.training.run import EVALUATION, EVALUATION_SEED, MakeEnv, configured_evaluation, run_settings, train

COMPARISON, BEYOND, FINE_TUNED = "comparison.json", "beyond.json", "fine_tuned.json"
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


def method_config(config: TrainConfig, method: str, seed: int) -> TrainConfig:
    """Settings under which a method is trained for the comparison.

    An iteration without inner steps samples ``inner_steps + 1`` times fewer episodes, so there are as many times more.
    The random policy and the oracle start from nothing, whatever ``start_from`` says: the oracle's network is another.
    """
    config = replace(config, seed=seed)
    if method == "maml":
        return config
    alone = config.without_inner_steps()
    if method in ("random", "oracle"):
        alone = replace(alone, start_from="")
    if method == "random":
        return replace(alone, iterations=0)
    longer = replace(alone, iterations=config.iterations * (config.inner_steps + 1))
    return replace(longer, observe_task=True, evaluation_steps=0) if method == "oracle" else longer


def evaluated_run(
    config: TrainConfig, make_env: MakeEnv, run_dir: Path, draw: DrawEpisodes, *, beyond: bool
) -> dict[str, Any]:
    """A run's evaluation as JSON: the one in its directory if it is of this configuration, or else a new one.

    What is missing of the training is done first.

    Raises:
        UserError: the directory holds a run of another configuration, or see :func:`rlmaml.training.run.train`.
    """
    tuned = config.inner_steps == 0 < config.evaluation_steps
    tuning = list(FINE_TUNING) if tuned else None
    path = run_dir / (BEYOND if beyond else FINE_TUNED if tuned else EVALUATION)
    if path.exists():
        report: dict[str, Any] = json.loads(path.read_text())
        stored = _config_of(report["config"])
        if tuned:
            stored = replace(stored, inner_step_sizes=config.inner_step_sizes)
        check_resumable(stored, config)
        made = report["config"]
        alike = (made.get("fine_tuning"), made.get("trust_region"), made.get("beyond", False)) == (tuning, None, beyond)
        if alike and not differences(stored, config, counted=True):
            return report
    if not beyond:
        train(config, make_env, run_dir, resume=True, draw=draw)
    if beyond or tuned:
        trained = load_checkpoint(run_dir / CHECKPOINT)._replace(config=config)
        if tuned and beyond:
            chosen = _config_of(json.loads((run_dir / FINE_TUNED).read_text())["config"])
            trained = trained._replace(config=replace(config, inner_step_sizes=chosen.inner_step_sizes))
        elif tuned:
            trained = fine_tuned(trained, make_env)
        evaluation = configured_evaluation(trained, make_env, EVALUATION_SEED, beyond=beyond)
        settings = run_settings(trained.config) | {"beyond": beyond, "fine_tuning": tuning}
        write_atomically(path, json.dumps(evaluation.as_json(settings), indent=2).encode())
    done: dict[str, Any] = json.loads(path.read_text())
    return done


def fine_tuned(trained: Checkpoint, make_env: MakeEnv) -> Checkpoint:
    """The policy with the inner step sizes with which it ends highest on validation tasks.

    A policy that was not meta-trained has no reason to be improved by steps of the configured size: it explores
    little in the end, and steps that suit MAML would destroy it. Fairness asks for the best of ``FINE_TUNING``.
    """
    sizes = trained.config.inner_step_sizes
    candidates = [
        trained._replace(config=replace(trained.config, inner_step_sizes=tuple(factor * size for size in sizes)))
        for factor in FINE_TUNING
    ]
    return max(candidates, key=lambda one: _final_return(one, make_env))


def _final_return(checkpoint: Checkpoint, make_env: MakeEnv) -> float:
    """Mean return on the validation tasks after the last inner step; of steps that diverge, the worst there is."""
    try:
        return float(configured_evaluation(checkpoint, make_env, VALIDATION_SEED).returns[:, -1].mean())
    except NonFiniteError:
        return -math.inf


def _config_of(settings: Mapping[str, Any]) -> TrainConfig:
    """The configuration in what :func:`rlmaml.training.run.run_settings` wrote."""
    return from_json(json.dumps(settings["config"]))


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

    config: TrainConfig
    seeds: tuple[int, ...]
    results: Mapping[str, Mapping[str, MethodReturns]]


def read_comparison(folder: Path) -> Comparison | None:
    """The comparison in a folder, or None where there is none.

    Raises:
        UserError: it cannot be read.
    """
    path = folder / COMPARISON
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text())
        results = {
            place: {method: MethodReturns(np.array(data["per_task"])) for method, data in part["methods"].items()}
            for place, part in stored["results"].items()
        }
        return Comparison(_config_of(stored["settings"]), tuple(stored["settings"]["seeds"]), results)
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not of this version. Repeat compare.py with --overwrite; runs are kept.") from error


def check_same(stored: Comparison | None, config: TrainConfig, seeds: Sequence[int]) -> None:
    """Refuse to replace a comparison by one of other settings.

    Raises:
        UserError: names every setting that differs, with both values.
    """
    if stored is None:
        return
    differing = differences(stored.config, replace(config, seed=stored.config.seed), counted=True)
    if stored.seeds != tuple(seeds):
        differing.append(f"--seeds was {stored.seeds} and is now {tuple(seeds)}")
    if differing:
        raise UserError(
            f"The comparison there has other settings: {'; '.join(differing)}. Choose another --output; --overwrite "
            "replaces it where only the evaluation or the seeds differ."
        )


def comparison_around(run_dirs: Iterable[Path], config: TrainConfig) -> Comparison | None:
    """The comparison of the same problem in the folder that holds the runs, or None where there is none.

    Raises:
        UserError: there are several, or one cannot be read.
    """
    folders = {run_dir.resolve().parent for run_dir in run_dirs}
    stored = [comparison for comparison in map(read_comparison, folders) if comparison]
    found = [comparison for comparison in stored if _problem(comparison.config) == _problem(config)]
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


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Everything in the table and the figure, and how it was made, as plain data."""
    settings = run_settings(comparison.config) | {"seeds": list(comparison.seeds)}
    results = {
        place: {
            "methods": {
                method: {
                    "mean": returns.mean.tolist(),
                    "ci95_over_seeds": finite_or_none(returns.over_seeds),
                    "ci95_over_tasks": finite_or_none(returns.over_tasks),
                    "per_task": returns.per_task.tolist(),
                }
                for method, returns in methods.items()
            },
            "fraction_recovered": {method: fraction_recovered(methods, method) for method in methods},
        }
        for place, methods in comparison.results.items()
    }
    return {"settings": settings, "results": results}


def _problem(config: TrainConfig) -> tuple[str, str, int]:
    return config.env_id, config.variant, config.horizon


def over_stages(values: Floats, stages: int) -> Floats:
    """One value per stage: a single one, as of an oracle, serves all of them."""
    return np.broadcast_to(values, (stages,)) if len(values) == 1 else values


def _plus_minus(half: float) -> str:
    return "–" if np.isnan(half) else f"± {half:.2f}"
