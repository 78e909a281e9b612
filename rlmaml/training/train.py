"""The meta-training loop."""

from collections.abc import Iterator
from typing import NamedTuple

from rlmaml.algorithms.maml_trpo import UpdateReport, update
from rlmaml.base.random_streams import RandomStreams
from rlmaml.base.stopwatch import Stopwatch
from rlmaml.base.threads import torch_threads
from rlmaml.core.types import Params, Rollout, Tasks
from rlmaml.policies.policy import Policy
from rlmaml.sampling.episodes import as_lists, stage_by_stage, to_batch
from rlmaml.sampling.rollout import TaskEnvironment
from rlmaml.settings.config import TrainConfig


class IterationReport(NamedTuple):
    """What a meta-iteration saw and did; ``rollouts[k]`` was sampled after k inner steps."""

    iteration: int
    tasks: Tasks
    rollouts: list[Rollout]
    update: UpdateReport
    seconds: dict[str, float]
    reward_terms: tuple[str, ...]


def meta_iteration(
    env: TaskEnvironment, policy: Policy, theta: Params, config: TrainConfig, iteration: int
) -> tuple[Params, IterationReport]:
    """Sample tasks, adapt to each of them on fresh episodes, and update theta.

    Theta, the configuration and the iteration number determine everything that happens.

    Args:
        env: environment with ``config.num_tasks × config.num_episodes`` copies.
        policy: the policy.
        theta: meta-parameters.
        config: settings of the run.
        iteration: counted from 0.

    Raises:
        NonFiniteError: an observation, a reward, the baseline or the loss is NaN or infinite.
    """
    clock, streams = Stopwatch(), RandomStreams(config.seed, iteration=iteration)
    with clock.part("iteration"):
        tasks = env.sample_tasks(config.num_tasks, streams.task_seeds(config.num_tasks))
        env.set_tasks(tasks)
        stages = stage_by_stage(
            env,
            policy,
            theta,
            config,
            streams,
            clock,
            num_tasks=config.num_tasks,
            steps=config.inner_steps,
        )
        rollouts, pre = as_lists(stages)
        with torch_threads(config.threads):
            with clock.part("advantages"):
                post = to_batch(rollouts[-1], config)
            theta, report = update(policy, theta, pre, post, config, clock)
    return theta, IterationReport(iteration, tasks, rollouts, report, dict(clock.seconds), env.reward_terms)


def meta_train(
    env: TaskEnvironment, policy: Policy, theta: Params, config: TrainConfig, start: int = 0
) -> Iterator[tuple[Params, IterationReport]]:
    """Theta and a report after each meta-iteration from ``start`` to ``config.iterations``."""
    for iteration in range(start, config.iterations):
        theta, report = meta_iteration(env, policy, theta, config, iteration)
        yield theta, report
