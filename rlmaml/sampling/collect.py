"""From task parameters to a stage's data: what the loop asks of its environment."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from rlmaml.base.random_streams import RandomStreams
from rlmaml.base.regions import region
from rlmaml.base.threads import torch_threads
from rlmaml.core.advantages import with_advantages
from rlmaml.core.devices import move
from rlmaml.core.policy import Policy
from rlmaml.core.types import Adaptation, Batch, Rollout, Stage
from rlmaml.policies.sizes import Part, numbers_in_vectors, parts_in
from rlmaml.sampling.rollout import TaskEnvironment, rollout
from rlmaml.settings.advantages import AdvantageSettings

Collect: TypeAlias = Callable[[Adaptation, int], Stage]
"""``collect(adaptation, k)``: the data of stage k under its task parameters and memory, on the CPU."""


def episodes_of(
    env: TaskEnvironment,
    policy: Policy,
    advantages: AdvantageSettings,
    streams: RandomStreams,
    tasks: Sequence[int],
    device: str,
    *,
    most_likely: bool = False,
) -> Collect:
    """Collects fresh episodes on the environment's current tasks, for reinforcement learning.

    Args:
        env: environment with a multiple of ``len(tasks)`` copies, whose tasks are set.
        policy: the policy.
        advantages: how rewards become advantages.
        streams: random streams of the iteration.
        tasks: indices of the tasks.
        device: where the policy acts, beside the physics.
        most_likely: act with the most likely actions instead of sampled ones.
    """
    parts = parts_in(env)

    def collect(adaptation: Adaptation, k: int) -> Stage:
        params, memory = move((adaptation.params, adaptation.memory), device)
        with torch_threads(1):  # threads that wait by spinning would slow the physics
            sampled = rollout(
                env, policy, params, tasks=tasks, streams=streams, k=k, most_likely=most_likely, memory=memory
            )
        with region("advantages"):
            return Stage(to_batch(sampled, advantages, parts), sampled)

    return collect


def to_batch(sampled: Rollout, settings: AdvantageSettings, parts: Sequence[Part] = ()) -> Batch:
    """What the losses read of a rollout; see :func:`rlmaml.core.advantages.with_advantages`.

    Args:
        sampled: the rollout.
        settings: of the advantages.
        parts: of an observation, where it has several: the linear baseline reads those that are vectors.
    """
    return with_advantages(
        sampled,
        discount=settings.discount,
        gae_lambda=settings.gae_lambda,
        bootstrap=settings.bootstraps,
        scale=settings.advantage_scale,
        inner_reward_power=settings.inner_reward_power,
        inner_scale=settings.inner_advantage_scale,
        read=numbers_in_vectors(parts, sampled.observations.shape[-1]),
    )
