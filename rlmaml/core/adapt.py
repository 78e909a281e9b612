"""Adaptation: the one place where the task axis meets a loss, and where a gradient passes through an update."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.core.losses import Loss
from rlmaml.core.parameters import learned_step_sizes, policy_parameters
from rlmaml.core.types import Batch, Params
from rlmaml.policies.policy import Policy


def task_losses(policy: Policy, params: Params, batch: Batch, loss: Loss) -> Float[Tensor, " task"]:
    """``loss`` of every task on its own episodes, at its own parameters."""
    log_probs = policy(params, batch.observations).log_prob(batch.actions)
    losses: Tensor = torch.func.vmap(loss)(log_probs - batch.log_probs, batch.advantages, batch.valid)
    return losses


def adapt(
    policy: Policy,
    params: Params,
    batch: Batch,
    *,
    loss: Loss,
    step_size: float | Mapping[str, Tensor],
    create_graph: bool = False,
) -> Params:
    """One inner step for every task: ``φ_i = θ_i − α ∇L_i(θ_i)`` (arXiv 1703.03400, equation 1).

    One backward pass serves all tasks, because task i's loss depends on row i of the parameters alone.

    Args:
        policy: the policy.
        params: task parameters, with a leading task axis.
        batch: episodes sampled with exactly these parameters.
        loss: one of :data:`rlmaml.core.losses.INNER_LOSSES`.
        step_size: α; a mapping gives each entry of the parameters its own, broadcast against it.
        create_graph: whether derivatives pass through ∇L (second order). Without it they pass through the identity
            alone (first-order MAML) where ``params`` record gradients.
    """
    points = params if create_graph else {name: p.detach().requires_grad_() for name, p in params.items()}
    with torch.enable_grad():
        total = task_losses(policy, points, batch, loss).sum()
        gradients = torch.autograd.grad(total, list(points.values()), create_graph=create_graph)
    sizes = step_size if isinstance(step_size, Mapping) else dict.fromkeys(params, step_size)
    return {name: p - sizes[name] * g for (name, p), g in zip(params.items(), gradients, strict=True)}


def adapt_in_steps(
    policy: Policy,
    params: Params,
    batches: Sequence[Batch],
    *,
    loss: Loss,
    step_sizes: Sequence[float],
    create_graph: bool = False,
) -> list[Params]:
    """Parameters before and after each inner step, step k on ``batches[k]``.

    Args:
        policy: the policy.
        params: theta repeated along the task axis, with learned step sizes or without.
        batches: one per step, sampled with the parameters before that step.
        loss: one of :data:`rlmaml.core.losses.INNER_LOSSES`.
        step_sizes: size of each step, where none are learned.
        create_graph: as in :func:`adapt`.

    Returns:
        One more than there are batches: the policy's parameters before the first step, …, after the last.
    """
    stages = [policy_parameters(params)]
    for step, batch in enumerate(batches):
        size = learned_step_sizes(params, step) or step_sizes[step]
        stages.append(adapt(policy, stages[-1], batch, loss=loss, step_size=size, create_graph=create_graph))
    return stages
