"""The terms of a meta-objective and of its trust region, for every task: surrogate loss, divergence, and its metric.

A ``batch`` holds the actions, advantages, log-probabilities and valid steps of episodes, or of whole trials.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.core.distributions import Distribution
from rlmaml.core.losses import clipped, likelihood_ratio, mean_over_steps
from rlmaml.core.natural_gradient import gauss_newton_product


def surrogate_losses(new: Distribution, old: Distribution, batch: Any) -> Float[Tensor, " task"]:
    """``−mean_steps(π_new/π_old · A)`` of every task (arXiv 1502.05477, equation 14)."""
    log_ratio = new.log_prob(batch.actions) - old.log_prob(batch.actions)
    losses: Tensor = torch.func.vmap(likelihood_ratio)(log_ratio, batch.advantages, batch.valid)
    return losses


def clipped_losses(new: Distribution, old: Distribution, batch: Any, clip: float) -> Float[Tensor, " task"]:
    """PPO's loss of every task; see :func:`rlmaml.core.losses.clipped`."""
    log_ratio = new.log_prob(batch.actions) - old.log_prob(batch.actions)
    losses: Tensor = torch.func.vmap(functools.partial(clipped, clip=clip))(log_ratio, batch.advantages, batch.valid)
    return losses


def divergences(old: Distribution, new: Distribution, batch: Any) -> Float[Tensor, " task"]:
    """``mean_steps KL(π_old ‖ π_new)`` of every task, in nats; exactly 0 where both are the same."""
    means: Tensor = torch.func.vmap(mean_over_steps)(old.kl(new), batch.valid)  # type: ignore[arg-type]
    return means


def entropies(policy: Distribution, batch: Any) -> Float[Tensor, " task"]:
    """``mean_steps H(π)`` of every task, in nats."""
    means: Tensor = torch.func.vmap(mean_over_steps)(policy.entropy(), batch.valid)
    return means


def replay_gap(replayed: Distribution, batch: Any) -> Float[Tensor, " task"]:
    """Largest ``|log π_replayed − log π_sampled|`` over the valid steps of every task, in nats."""
    difference = (replayed.log_prob(batch.actions) - batch.log_probs).abs()
    return torch.where(batch.valid, difference, 0.0).flatten(1).amax(1)


def fisher_products(
    policies: Sequence[Distribution], step_weights: Sequence[Tensor], points: Sequence[Tensor]
) -> Callable[[Sequence[Tensor]], Sequence[Tensor]]:
    """Products with ``JᵀMJ``, the Hessian of ``Σ_k Σ_steps w_k KL(π_k ‖ π_k')`` where both policies are the same.

    J is the Jacobian of what the policies say with respect to ``points``, M their Fisher information. The KL and its
    gradient are 0 there, so that the Gauss-Newton matrix is its exact Hessian.

    Args:
        policies: distributions with the graph behind them, one per stage.
        step_weights: ``[task, episode, time]`` or ``[task, example]``, the weight of every one of each stage; 0 on
            padding.
        points: leaves of the graph, with a task axis: every task's product is its own.
    """
    fixed = [type(policy)(*(field.detach() for field in policy)) for policy in policies]

    def metric(tangents: Sequence[Tensor]) -> list[Tensor]:
        remaining = iter(tangents)
        images: list[Tensor] = []
        for policy, weight in zip(fixed, step_weights, strict=True):
            tangent = type(policy)(*(next(remaining) for _ in policy))
            image = policy.fisher_product(tangent)  # type: ignore[arg-type]
            images += [field * weight.unsqueeze(-1) for field in image]
        return images

    return gauss_newton_product([field for policy in policies for field in policy], points, metric)
