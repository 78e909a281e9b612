"""How long a meta-iteration takes, part by part, and how long an evaluation."""

import dataclasses
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from tqdm import tqdm

from rlmaml.base.provenance import provenance
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.base.threads import check_threads, keep_freed_memory
from rlmaml.core.types import Rollout
from rlmaml.evaluation.evaluate import evaluate
from rlmaml.sampling.rollout import TaskEnvironment
from rlmaml.settings.config import TrainConfig
from rlmaml.training.initial import initial_theta, make_policy
from rlmaml.training.run import MakeEnv
from rlmaml.training.train import IterationReport, meta_train

PARTS = ("rollout", "environment", "advantages", "adapt", "gradient", "curvature", "line_search")
WARM_UP = 2


Replay: TypeAlias = Callable[[Any, Rollout], float]
"""``replay(env, sampled)``: seconds that the bare physics takes for a rollout's steps, from the states to which the
environment was just reset."""

Measure: TypeAlias = Callable[[], float]
"""Measures a rate: control steps per second."""


def benchmark(
    config: TrainConfig, make_env: MakeEnv, repeats: int, replay: Replay | None = None, pool: Measure | None = None
) -> dict[str, Any]:
    """Time ``repeats`` consecutive meta-iterations of a fresh run, after two that do not count.

    Every number is a median over the repeats, in seconds per meta-iteration, unless it says otherwise.
    ``environment`` is the part of ``rollout`` spent inside the environment. Environment steps per second are the
    valid steps of all rollouts, divided by the time of the rollouts with all that belongs to them.

    Args:
        config: settings of the run.
        make_env: makes the environment.
        repeats: meta-iterations that count.
        replay: lets the physics alone take each of their steps once more, directly after it; see
            :func:`beside_physics`.
        pool: another simulator, measured after each of them; see :func:`beside_pool`.
    """
    keep_freed_memory()
    check_threads(config)
    env = make_env(config.num_tasks * config.num_episodes)
    policy = make_policy(config, env)
    theta = initial_theta(config, policy)
    config = dataclasses.replace(config, iterations=WARM_UP + repeats)
    steps = tqdm(meta_train(env, policy, theta, config), total=config.iterations, desc="benchmark", unit="iteration")
    reports: list[IterationReport] = []
    physics, rates = [], []
    peak = 0.0
    for done, (_, report) in enumerate(steps, 1):
        if done <= WARM_UP:
            continue
        peak = peak or peak_memory_mb()
        reports.append(report)
        if replay is not None:
            streams = RandomStreams(config.seed, iteration=report.iteration)
            physics.append(replayed(env, report.rollouts, streams, replay))
        if pool is not None:
            rates.append(pool())
    beside = (beside_physics(reports, physics) if physics else {}) | (beside_pool(reports, rates) if rates else {})
    return summarise(reports, config) | {"peak_memory_mb": peak} | ({"simulators": beside} if beside else {})


def summarise(reports: Sequence[IterationReport], config: TrainConfig) -> dict[str, Any]:
    """The benchmark's figures from the reports of its meta-iterations."""
    totals = [report.seconds["iteration"] for report in reports]
    steps = [_valid_steps(report.rollouts) for report in reports]
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


def replayed(env: TaskEnvironment, rollouts: Sequence[Rollout], streams: RandomStreams, replay: Replay) -> float:
    """Seconds that the bare physics takes for the steps of all these rollouts.

    Args:
        env: the environment, with the tasks of the rollouts.
        rollouts: the k-th was sampled after k inner steps.
        streams: the random streams with which they were sampled.
        replay: times one of them.
    """
    seconds = 0.0
    for step, sampled in enumerate(rollouts):
        env.reset(seed=streams.initial_state_seeds(step, *sampled.valid.shape[:2]))
        seconds += replay(env, sampled)
    return seconds


def beside_physics(reports: Sequence[IterationReport], physics: Sequence[float]) -> dict[str, float]:
    """The environment inside a rollout beside the physics that it runs on: medians over the meta-iterations.

    Args:
        reports: meta-iterations.
        physics: seconds in which the bare physics took the same steps, directly after each of them.
    """
    steps = [_valid_steps(report.rollouts) for report in reports]
    own = [report.seconds["environment"] for report in reports]
    total = [report.seconds["iteration"] for report in reports]
    return {
        "environment_steps_per_second": _median_ratio(steps, own),
        "physics_steps_per_second": _median_ratio(steps, physics),
        "environment_over_physics": _median_ratio(physics, own),
        "iteration_over_physics": _median_ratio(total, physics),
    }


def beside_pool(reports: Sequence[IterationReport], rates: Sequence[float]) -> dict[str, float]:
    """The environment inside a rollout beside another simulator: medians over the meta-iterations.

    Args:
        reports: meta-iterations.
        rates: control steps per second of the other simulator, measured directly after each of them.
    """
    own = [_valid_steps(report.rollouts) / report.seconds["environment"] for report in reports]
    return {"envpool_steps_per_second": statistics.median(rates), "environment_over_envpool": _median_ratio(own, rates)}


def benchmark_evaluation(
    config: TrainConfig, make_env: MakeEnv, repeats: int, replay: Replay | None = None
) -> dict[str, float]:
    """Time ``repeats`` evaluations of a fresh theta, on as many tasks and episodes as a meta-iteration has.

    Returns:
        ``evaluation_seconds``, a median, and, with ``replay``, ``evaluation_over_physics``.
    """
    keep_freed_memory()
    env = make_env(config.num_tasks * config.num_episodes)
    policy = make_policy(config, env)
    theta = initial_theta(config, policy)
    seconds, physics = [], []
    for seed in range(repeats):
        start = time.perf_counter()
        done = evaluate(
            env, policy, theta, config, num_tasks=config.num_tasks, steps=config.evaluation_steps, seed=seed
        )
        seconds.append(time.perf_counter() - start)
        if replay is not None:
            physics.append(replayed(env, done.rollouts, RandomStreams(seed, Phase.EVALUATION), replay))
    figures = {"evaluation_seconds": statistics.median(seconds)}
    return figures | ({"evaluation_over_physics": _median_ratio(seconds, physics)} if physics else {})


def _median_ratio(numerators: Sequence[int] | Sequence[float], denominators: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def _valid_steps(rollouts: Sequence[Rollout]) -> int:
    return sum(int(sampled.valid.sum()) for sampled in rollouts)


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
