"""How long a meta-iteration takes, part by part, and how long an evaluation."""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from rlmaml.base.errors import UserError
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.base.threads import warn_of_idle_threads
from rlmaml.core.types import Rollout
from rlmaml.evaluation.evaluate import evaluate
from rlmaml.sampling.rollout import TaskEnvironment
from rlmaml.settings.checks import option
from rlmaml.settings.whole import Settings, as_method, configure
from rlmaml.terminal.bars import ProgressBar
from rlmaml.training.begin import begin, make_method
from rlmaml.training.run import MakeEnv, check_devices, run_settings
from rlmaml.training.train import IterationReport, Learned, meta_train

WARM_UP = 2


Replay: TypeAlias = Callable[[Any, Rollout], float]
"""``replay(env, sampled)``: seconds that the bare physics takes for a rollout's steps, from the states to which the
environment was just reset."""

Measure: TypeAlias = Callable[[], float]
"""Measures a rate: control steps per second."""


def benchmark(
    settings: Settings, make_env: MakeEnv, repeats: int, replay: Replay | None = None, pool: Measure | None = None
) -> dict[str, Any]:
    """Time ``repeats`` consecutive meta-iterations of a fresh run, after two that do not count.

    Every number is a median over the repeats, in seconds per meta-iteration, unless it says otherwise.
    ``environment`` is the part of ``rollout`` spent inside the environment. Environment steps per second are the
    valid steps of all rollouts, divided by the time of the rollouts with all that belongs to them.

    Args:
        settings: of the run.
        make_env: makes the environment.
        repeats: meta-iterations that count.
        replay: lets the physics alone take each of their steps once more, directly after it; see
            :func:`beside_physics`.
        pool: another simulator, measured after each of them; see :func:`beside_pool`.
    """
    settings, run = settings.changed(iterations=WARM_UP + repeats), settings.run
    env, iterations = fresh_run(settings, make_env)
    steps = ProgressBar(iterations, total=WARM_UP + repeats, desc="benchmark", unit="iteration")
    reports: list[IterationReport] = []
    physics, rates = [], []
    peak = 0.0
    for done, (_, report) in enumerate(steps, 1):
        if done <= WARM_UP:
            continue
        peak = peak or peak_memory_mb()
        reports.append(report)
        if replay is not None:
            streams = RandomStreams(run.seed, iteration=report.iteration)
            physics.append(replayed(env, report.rollouts, streams, replay))
        if pool is not None:
            rates.append(pool())
    beside = (beside_physics(reports, physics) if physics else {}) | (beside_pool(reports, rates) if rates else {})
    return summarise(reports, settings) | {"peak_memory_mb": peak} | ({"simulators": beside} if beside else {})


def fresh_run(settings: Settings, make_env: MakeEnv) -> tuple[Any, Iterator[tuple[Learned, IterationReport]]]:
    """An environment, and the meta-iterations of a run in it, taken one by one."""
    run = settings.run
    check_devices(run)
    warn_of_idle_threads(threads=run.threads, rollout_threads=run.rollout_threads)
    env = make_env(run.num_tasks * run.num_episodes)
    method = make_method(settings, env)
    return env, meta_train(env, method, begin(settings, method), settings)


def of_method(settings: Settings, method: str) -> Settings:
    """The settings for another method, past its schedules, which make its first meta-iterations others.

    Raises:
        UserError: the method has another value than these settings have, where that is no default.
    """
    own = as_method(settings, method)
    defaults, now, then = configure().flat(), settings.flat(), own.flat()
    given = [name for name, value in defaults.items() if name != "algorithm" and now[name] != value]
    lost = [name for name in given if name not in then or then[name] != now[name]]
    if lost:
        changed = ", ".join(f"{option(name)} {now[name]!r}" for name in lost)
        raise UserError(f"{method} cannot be timed with {changed}: it has none, or one of its own.")
    return own.changed(**{name: 0 for name in ("first_order_until", "anneal_stage_weights") if own.has(name)})


def in_turn(methods: Mapping[str, Settings], make_env: Callable[[Settings], MakeEnv], repeats: int) -> dict[str, Any]:
    """Time meta-iterations of several methods, one of each after one of the other: the machine's drift strikes all.

    Args:
        methods: their settings; the first is what the others are measured by.
        make_env: makes what makes the environments of some settings.
        repeats: meta-iterations of each that count, after two that do not.

    Returns:
        For each of the ``"methods"`` the median, least and largest seconds, and the median of its ratios to the first;
        and how they were made.
    """
    running = {}
    for name, settings in methods.items():
        own = settings.changed(iterations=WARM_UP + repeats)
        _, running[name] = fresh_run(own, make_env(own))
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for done in ProgressBar(range(WARM_UP + repeats), desc="benchmark", unit="iteration"):
        for name, iterations in running.items():
            _, report = next(iterations)
            if done >= WARM_UP:
                seconds[name].append(report.seconds["iteration"])
    first = next(iter(seconds.values()))
    figures = {name: spread(own) | {"ratio": _median_ratio(own, first)} for name, own in seconds.items()}
    return {"methods": figures, "repeats": repeats, **run_settings(next(iter(methods.values())))}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarise(reports: Sequence[IterationReport], settings: Settings) -> dict[str, Any]:
    """The benchmark's figures from the reports of its meta-iterations."""
    totals = [report.seconds["iteration"] for report in reports]
    steps = [_valid_steps(report.rollouts) for report in reports]
    return {
        "seconds_per_iteration": spread(totals),
        "parts": {part: statistics.median(report.seconds[part] for report in reports) for part in parts(reports)},
        "env_steps": statistics.median(steps),
        "env_steps_per_second": statistics.median(
            count / report.seconds["rollout"] for count, report in zip(steps, reports, strict=True)
        ),
        "peak_memory_mb": peak_memory_mb(),
        "threads": settings.run.threads,
        "rollout_threads": settings.run.rollout_threads,
        "repeats": len(reports),
        **run_settings(settings),
    }


def parts(reports: Sequence[IterationReport]) -> list[str]:
    """Names of the parts that every meta-iteration has."""
    return [
        name for name in reports[0].seconds if name != "iteration" and all(name in report.seconds for report in reports)
    ]


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
        env.reset(seed=streams.initial_state_seeds(step, range(len(sampled.valid)), sampled.valid.shape[1]))
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
    settings: Settings, make_env: MakeEnv, repeats: int, replay: Replay | None = None
) -> dict[str, float]:
    """Time ``repeats`` evaluations of a fresh theta, on as many tasks and episodes as a meta-iteration has.

    Returns:
        ``evaluation_seconds``, a median, and, with ``replay``, ``evaluation_over_physics``.
    """
    run = settings.run
    env = make_env(run.num_tasks * run.num_episodes)
    method = make_method(settings, env)
    meta = begin(settings, method).meta
    seconds, physics = [], []
    for seed in range(repeats):
        start = time.perf_counter()
        done = evaluate(
            env,
            method.policy,
            method.rule,
            meta,
            settings,
            num_tasks=run.num_tasks,
            steps=run.evaluation_steps,
            seed=seed,
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
