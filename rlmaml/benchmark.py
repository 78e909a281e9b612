"""How long a meta-iteration takes, part by part, and how long an evaluation."""

import dataclasses
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from tqdm import tqdm

from rlmaml.config import TrainConfig
from rlmaml.evaluate import evaluate
from rlmaml.initial import initial_theta, make_policy
from rlmaml.provenance import provenance
from rlmaml.run import MakeEnv
from rlmaml.threads import check_threads, keep_freed_memory
from rlmaml.train import IterationReport, meta_train

PARTS = ("rollout", "environment", "advantages", "adapt", "gradient", "curvature", "line_search")
WARM_UP = 2


Measure: TypeAlias = Callable[[], float]
"""Measures a rate: control steps per second."""


def benchmark(
    config: TrainConfig, make_env: MakeEnv, repeats: int, rates: Mapping[str, Measure] = MappingProxyType({})
) -> dict[str, Any]:
    """Time ``repeats`` consecutive meta-iterations of a fresh run, after two that do not count.

    Every number is a median over the repeats, in seconds per meta-iteration, unless it says otherwise.
    ``environment`` is the part of ``rollout`` spent inside the environment. Environment steps per second are the
    valid steps of all rollouts, divided by the time of the rollouts with all that belongs to them.

    Args:
        config: settings of the run.
        make_env: makes the environment.
        repeats: meta-iterations that count.
        rates: other simulators by name, measured after each of these, so that a machine whose speed drifts serves all
            alike; see :func:`beside_others`.
    """
    keep_freed_memory()
    check_threads(config)
    env = make_env(config.num_tasks * config.num_episodes)
    policy = make_policy(config, env)
    theta = initial_theta(config, policy)
    config = dataclasses.replace(config, iterations=WARM_UP + repeats)
    steps = tqdm(meta_train(env, policy, theta, config), total=config.iterations, desc="benchmark", unit="iteration")
    reports: list[IterationReport] = []
    measured: list[dict[str, float]] = []
    peak = 0.0
    for done, (_, report) in enumerate(steps, 1):
        peak = peak if measured else peak_memory_mb()
        if done > WARM_UP:
            reports.append(report)
            measured.append({name: measure() for name, measure in rates.items()})
    figures = summarise(reports, config) | {"peak_memory_mb": peak}
    return figures | ({"simulators": beside_others(reports, measured, config)} if rates else {})


def summarise(reports: Sequence[IterationReport], config: TrainConfig) -> dict[str, Any]:
    """The benchmark's figures from the reports of its meta-iterations."""
    totals = [report.seconds["iteration"] for report in reports]
    steps = [_valid_steps(report) for report in reports]
    return {
        "seconds_per_iteration": {
            "median": statistics.median(totals),
            "min": min(totals),
            "max": max(totals),
        },
        "parts": {part: statistics.median(report.seconds.get(part, 0.0) for report in reports) for part in PARTS},
        "env_steps": statistics.median(steps),
        "env_steps_per_second": statistics.median(
            count / report.seconds["rollout"] for count, report in zip(steps, reports, strict=True)
        ),
        "peak_memory_mb": peak_memory_mb(),
        "threads": config.threads,
        "rollout_threads": config.rollout_threads,
        "repeats": len(reports),
        "config": dataclasses.asdict(config),
        **provenance(),
    }


def beside_others(
    reports: Sequence[IterationReport], measured: Sequence[Mapping[str, float]], config: TrainConfig
) -> dict[str, float]:
    """How the environment inside a rollout compares with other simulators: medians over pairs measured in turn.

    Args:
        reports: meta-iterations.
        measured: control steps per second of each other simulator, with as many copies and threads, measured after
            each of them. The one named ``physics`` is what the environment itself runs on.
        config: settings of the run.
    """
    own = [_valid_steps(report) / report.seconds["environment"] for report in reports]
    figures = {"environment_steps_per_second": statistics.median(own)}
    for name in measured[0]:
        others = [rates[name] for rates in measured]
        figures[f"{name}_steps_per_second"] = statistics.median(others)
        figures[f"environment_over_{name}"] = statistics.median(a / b for a, b in zip(own, others, strict=True))
    if "physics" in measured[0]:
        steps = config.num_tasks * config.num_episodes * config.horizon * (config.inner_steps + 1)
        seconds = [report.seconds["iteration"] for report in reports]
        figures["iteration_over_physics"] = over_physics(seconds, [rates["physics"] for rates in measured], steps)
    return figures


def over_physics(seconds: Sequence[float], rates: Sequence[float], steps: int) -> float:
    """How many times as long as its bare physics something took: the median over pairs measured in turn.

    Args:
        seconds: how long it took, each time.
        rates: control steps per second of the bare physics, measured after each time.
        steps: control steps in it.
    """
    return statistics.median(took * rate / steps for took, rate in zip(seconds, rates, strict=True))


def benchmark_evaluation(
    config: TrainConfig, make_env: MakeEnv, repeats: int, rates: Mapping[str, Measure] = MappingProxyType({})
) -> dict[str, float]:
    """Time ``repeats`` evaluations of a fresh theta, on as many tasks and episodes as a meta-iteration has.

    Returns:
        ``evaluation_seconds``, a median, and, where ``rates`` has ``physics``, ``evaluation_over_physics``.
    """
    keep_freed_memory()
    env = make_env(config.num_tasks * config.num_episodes)
    policy = make_policy(config, env)
    theta = initial_theta(config, policy)
    seconds, physics = [], []
    for seed in range(repeats):
        start = time.perf_counter()
        evaluate(env, policy, theta, config, num_tasks=config.num_tasks, steps=config.evaluation_steps, seed=seed)
        seconds.append(time.perf_counter() - start)
        if "physics" in rates:
            physics.append(rates["physics"]())
    figures = {"evaluation_seconds": statistics.median(seconds)}
    if not physics:
        return figures
    steps = env.num_envs * config.horizon * (config.evaluation_steps + 1)
    return figures | {"evaluation_over_physics": over_physics(seconds, physics, steps)}


def _valid_steps(report: IterationReport) -> int:
    return sum(int(sampled.valid.sum()) for sampled in report.rollouts)


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
