"""Adaptation with an environment in the loop: sample episodes, take a step, sample again."""

from collections.abc import Iterable, Iterator

from rlmaml.algorithms.maml_trpo import trust_region_step
from rlmaml.base.random_streams import RandomStreams
from rlmaml.base.stopwatch import Stopwatch
from rlmaml.base.threads import torch_threads
from rlmaml.core.adapt import adapt
from rlmaml.core.advantages import with_advantages
from rlmaml.core.losses import INNER_LOSSES
from rlmaml.core.parameters import detach, learned_step_sizes, policy_parameters, with_task_axis
from rlmaml.core.types import Batch, Params, Rollout
from rlmaml.policies.policy import Policy
from rlmaml.sampling.rollout import TaskEnvironment, rollout
from rlmaml.settings.config import TrainConfig


def stage_by_stage(
    env: TaskEnvironment,
    policy: Policy,
    theta: Params,
    config: TrainConfig,
    streams: RandomStreams,
    clock: Stopwatch,
    *,
    num_tasks: int,
    steps: int,
    trust_region: float | None = None,
) -> Iterator[tuple[Rollout, Batch | None]]:
    """Rollouts before, between and after ``steps`` steps on the environment's current tasks.

    Args:
        env: environment with a multiple of ``num_tasks`` copies.
        policy: the policy.
        theta: meta-parameters.
        config: settings of the inner steps, as trained.
        streams: random streams of the initial states and the actions.
        clock: receives ``advantages``, ``adapt`` and what a rollout counts; with a trust region also ``gradient``,
            ``curvature`` and ``line_search``, which are parts of ``adapt`` then.
        num_tasks: number of tasks.
        steps: number of steps; beyond the trained ones, the last step size is used again.
        trust_region: take trust-region steps of at most this KL instead of inner steps.

    Yields:
        ``steps + 1`` times a rollout, and the batch on which the next step is taken, None after the last step.

    Raises:
        NonFiniteError: an observation, a reward or the baseline is NaN or infinite.
    """
    repeated = detach(with_task_axis(theta, num_tasks))
    task_params = policy_parameters(repeated)
    for step in range(steps + 1):
        with torch_threads(1):  # threads that wait by spinning would slow the physics
            sampled = rollout(
                env,
                policy,
                task_params,
                num_tasks=num_tasks,
                horizon=config.horizon,
                streams=streams,
                step=step,
                clock=clock,
            )
        if step == steps:
            yield sampled, None
            return
        with torch_threads(config.threads):
            with clock.part("advantages"):
                batch = to_batch(sampled, config)
            with clock.part("adapt"):
                task_params = adaptation_step(
                    policy, repeated, task_params, batch, config, step, clock, trust_region=trust_region
                )
        yield sampled, batch


def as_lists(stages: Iterable[tuple[Rollout, Batch | None]]) -> tuple[list[Rollout], list[Batch]]:
    """All rollouts and batches of :func:`stage_by_stage`; there is one batch less."""
    rollouts, batches = zip(*stages, strict=True)
    return list(rollouts), list(batches[:-1])


def to_batch(sampled: Rollout, config: TrainConfig) -> Batch:
    """What the losses read of a rollout, as configured; see :func:`rlmaml.core.advantages.with_advantages`."""
    return with_advantages(
        sampled,
        discount=config.discount,
        gae_lambda=config.gae_lambda,
        bootstrap=config.time_limit == "bootstrap",
        scale=config.advantage_scale,
    )


def adaptation_step(
    policy: Policy,
    params: Params,
    task_params: Params,
    batch: Batch,
    config: TrainConfig,
    step: int,
    clock: Stopwatch,
    *,
    trust_region: float | None,
) -> Params:
    """Step number ``step``, counted from 0: an inner step as configured, or one within a trust region.

    Args:
        policy: the policy.
        params: holds the learned step sizes, where there are any, with a task axis.
        task_params: the policy's parameters before the step.
        batch: episodes sampled with them.
        config: settings of the step.
        step: how many steps were taken before; beyond the trained ones, the last step size is used again.
        clock: receives the parts of a trust-region step.
        trust_region: the largest KL, or None for an inner step.
    """
    if trust_region is not None:
        return trust_region_step(policy, task_params, batch, config, trust_region, clock)
    size = learned_step_sizes(params, step) or config.step_sizes(step + 1)[-1]
    return adapt(policy, task_params, batch, loss=INNER_LOSSES[config.inner_loss], step_size=size)
