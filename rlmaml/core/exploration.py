"""Credit of what is sampled before an inner step for the return after it (E-MAML, arXiv 1803.01118).

The adapted policy depends on theta through the gradient step and through the episodes that the step was computed from.
A surrogate of the later stages alone leaves the second way out:

    ∇ E[R_j] = E[∇R_j(φ(θ, τ_k)) + (R_j − b) Σ_{τ_k} ∇ log π_k(a|s)],   the sum being over all episodes τ_k, k < j.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.core.distributions import Distribution
from rlmaml.core.task_sums import TaskMean
from rlmaml.core.types import Batch

LEAST_SCALE = 1e-6
"""Deviation of a task's advantages, in units of reward, up to which they count as equal."""


def mean_returns(batch: Batch) -> Float[Tensor, " task"]:
    """Mean undiscounted return of every task's sound episodes; 0 where there is none."""
    sound = batch.valid.any(-1)
    return (batch.rewards * batch.valid).sum(-1).sum(-1) / sound.sum(-1).clamp(min=1)


def standardised_returns(batch: Batch, mean: TaskMean) -> Float[Tensor, " task"]:
    """``(R − b) / (T σ)`` of every task, in the units of its surrogate.

    The surrogate is a mean over steps of advantages that were divided by σ: its gradient is that of ``R / (T σ)``, T
    being the mean length of an episode. b is the mean return of all other tasks, on which the task's own episodes have
    no influence. Where all advantages of a task are the same its surrogate is 0, and so is this.
    """
    returns = mean_returns(batch)
    count = mean.num_usable
    others = (count * mean.of(returns) - returns) / (count - 1) if count > 1 else torch.zeros_like(returns)
    steps = batch.valid.sum((1, 2)).clamp(min=1)
    scale = (batch.advantage_scale * batch.valid).sum((1, 2)) / steps
    length = steps / batch.valid.any(-1).sum(-1).clamp(min=1)
    return torch.where(scale > LEAST_SCALE, (returns - others) / (length * scale.clamp(min=LEAST_SCALE)), 0.0)


def credits_of(stages: Sequence[Batch], weights: Sequence[float], mean: TaskMean) -> list[Float[Tensor, " task"]]:
    """What the episodes of each stage but the last are to be credited with: later returns, weighted."""
    returns = [weight * standardised_returns(batch, mean) for batch, weight in zip(stages, weights, strict=True)]
    return [torch.stack(returns[k + 1 :]).sum(0) for k in range(len(stages) - 1)]


def credit_losses(
    new: Sequence[Distribution],
    old: Sequence[Distribution],
    stages: Sequence[Batch],
    credits_: Sequence[Float[Tensor, " task"]],
) -> Float[Tensor, " task"]:
    """``−Σ_k c_k Σ_{τ_k} (log π_k − log π_old,k)`` of every task, over the stages before an inner step."""
    losses = torch.zeros_like(credits_[0])
    for after, before, batch, credit in zip(new, old, stages, credits_, strict=False):
        log_ratio = after.log_prob(batch.actions) - before.log_prob(batch.actions)
        losses = losses - credit * torch.where(batch.valid, log_ratio, 0.0).sum(-1).sum(-1)
    return losses
