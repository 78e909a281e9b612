"""How long a meta-iteration takes, part by part."""

import dataclasses
import resource
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from rlmaml.config import TrainConfig
from rlmaml.initial import initial_theta, make_policy
from rlmaml.provenance import provenance
from rlmaml.run import MakeEnv
from rlmaml.threads import check_threads, keep_freed_memory
from rlmaml.train import IterationReport, meta_train

PARTS = ("rollout", "environment", "advantages", "adapt", "gradient", "curvature", "line_search")
WARM_UP = 2


def benchmark(config: TrainConfig, make_env: MakeEnv, repeats: int) -> dict[str, Any]:
    """Time ``repeats`` consecutive meta-iterations of a fresh run, after two that do not count.

    Every number is a median over the repeats, in seconds per meta-iteration, unless it says otherwise.
    ``environment`` is the part of ``rollout`` spent inside the environment. Environment steps per second are the
    valid steps of all rollouts, divided by the time of the rollouts with all that belongs to them.
    """
    keep_freed_memory()
    check_threads(config)
    env = make_env(config.num_tasks * config.num_episodes)
    policy = make_policy(config, env)
    theta = initial_theta(config, policy)
    config = dataclasses.replace(config, iterations=WARM_UP + repeats)
    steps = tqdm(meta_train(env, policy, theta, config), total=config.iterations, desc="benchmark", unit="iteration")
    return summarise([report for _, report in steps][WARM_UP:], config)


def summarise(reports: Sequence[IterationReport], config: TrainConfig) -> dict[str, Any]:
    """The benchmark's figures from the reports of its meta-iterations."""
    totals = [report.seconds["iteration"] for report in reports]
    steps = [sum(int(sampled.valid.sum()) for sampled in report.rollouts) for report in reports]
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


def beside_physics(figures: dict[str, Any], physics_rate: float, pool_rate: float | None = None) -> dict[str, float]:
    """How the environment inside a rollout compares with physics alone, and with another simulator.

    Args:
        figures: those of :func:`benchmark`.
        physics_rate: control steps per second of physics alone, with as many copies and threads.
        pool_rate: control steps per second of the other simulator; None for no comparison.
    """
    config = figures["config"]
    rate = figures["env_steps"] / figures["parts"]["environment"]
    steps = config["num_tasks"] * config["num_episodes"] * config["horizon"] * (config["inner_steps"] + 1)
    ratios = {
        "environment_steps_per_second": rate,
        "physics_steps_per_second": physics_rate,
        "environment_over_physics": rate / physics_rate,
        "iteration_over_physics": figures["seconds_per_iteration"]["median"] * physics_rate / steps,
    }
    if pool_rate is None:
        return ratios
    return ratios | {"envpool_steps_per_second": pool_rate, "environment_over_envpool": rate / pool_rate}


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
