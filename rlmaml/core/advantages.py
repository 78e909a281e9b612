"""From sampled episodes to what the losses read: baseline, generalised advantages, normalisation."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlmaml.core.baseline import bootstrapped_values, fixed_horizon_values
from rlmaml.core.returns import generalised_advantages
from rlmaml.core.types import Batch, Rollout


def with_advantages(
    rollout: Rollout,
    *,
    discount: float,
    gae_lambda: float,
    bootstrap: bool,
    scale: float | None = None,
    inner_reward_power: float = 1.0,
    inner_scale: float | None = None,
    read: Sequence[int] | None = None,
) -> Batch:
    """Advantages of every valid step, each task with its own baseline, normalised per task.

    Those of an inner loss may be of rewards raised to a power, with their sign, ``sign(r) |r|^p``. A reward of minus
    the distance d to a goal has a gradient of one length wherever the goal is, so that a step on it tells the direction
    alone. Minus d², of which the text of arXiv 1703.03400 speaks, has one of length 2 d, and a step on it goes as far
    as the goal is, where the advantages of all tasks are divided by the same number. What is maximised after the steps
    are the rewards as they are.

    Args:
        rollout: sampled episodes.
        discount: γ in [0, 1].
        gae_lambda: λ of generalised advantage estimation in [0, 1].
        bootstrap: whether an episode cut by the time limit goes on with the baseline's value of its final state
            (the infinite-horizon objective), or ends there (the fixed-horizon objective of the MAML papers).
        scale: see :func:`normalise`.
        inner_reward_power: p above; 1 for the rewards as they are.
        inner_scale: as ``scale``, of the advantages of an inner loss; None for the same.
        read: which numbers of an observation the baseline reads, such as those that are no pixels; None for all.

    Raises:
        NonFiniteError: the baseline has no finite solution.
        UserError: ``bootstrap`` with a discount of 1.
    """
    valid = rollout.valid
    seen, seen_last = rollout.observations, rollout.final_observations
    if read is not None:
        seen, seen_last = seen[..., read], seen_last[..., read]

    def judged(rewards: Tensor, divided_by: float | None) -> tuple[Tensor, Tensor]:
        if bootstrap:
            goes_on = rollout.truncated & ~rollout.terminated
            values, final_values = bootstrapped_values(seen, seen_last, rewards, valid, goes_on, discount)
        else:
            values = fixed_horizon_values(seen, rewards, valid, discount)
            final_values = torch.zeros_like(values[..., 0])
        advantages = generalised_advantages(rewards, values, final_values, valid, discount, gae_lambda)
        centred, divisor = centred_and_scale(advantages, valid, divided_by)
        return (centred / divisor).to(dtype), divisor.to(dtype).expand_as(valid)

    rewards, dtype = rollout.rewards.double(), rollout.rewards.dtype
    advantages, advantage_scale = judged(rewards, scale)
    inner_advantages = advantages
    if inner_reward_power != 1 or inner_scale is not None:
        raised = rewards.sign() * rewards.abs() ** inner_reward_power
        inner_advantages, _ = judged(raised, scale if inner_scale is None else inner_scale)
    return Batch(
        observations=rollout.observations,
        actions=rollout.actions,
        rewards=rollout.rewards,
        log_probs=rollout.log_probs,
        advantages=advantages,
        valid=valid,
        advantage_scale=advantage_scale,
        inner_advantages=inner_advantages,
    )


def normalise(
    advantages: Float[Tensor, "task episode time"],
    valid: Bool[Tensor, "task episode time"],
    scale: float | None = None,
) -> Float[Tensor, "task episode time"]:
    """Mean 0 and standard deviation 1 over the valid steps of each task; 0 on padding and where all are equal.

    A task without valid steps gets 0 throughout.

    With a ``scale``, in units of reward, all advantages are divided by it instead of by their task's own deviation. A
    task whose actions hardly matter then takes a small inner step instead of one made of amplified noise.
    """
    centred, divisor = centred_and_scale(advantages, valid, scale)
    return centred / divisor


def centred_and_scale(
    advantages: Float[Tensor, "task episode time"],
    valid: Bool[Tensor, "task episode time"],
    scale: float | None = None,
) -> tuple[Float[Tensor, "task episode time"], Float[Tensor, "task 1 1"]]:
    """The advantages without their task's mean, and what they are to be divided by; see :func:`normalise`."""
    count = valid.sum((-2, -1), keepdim=True).clamp(min=1)
    mean = (advantages * valid).sum(-1, keepdim=True).sum(-2, keepdim=True) / count
    centred = (advantages - mean) * valid
    if scale is not None:
        return centred, torch.full_like(mean, scale)
    std = (centred.square().sum(-1, keepdim=True).sum(-2, keepdim=True) / count).sqrt()
    return centred, std + 1e-8
