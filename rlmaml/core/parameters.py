"""Parameter dictionaries: as vectors, with a task axis, and with the step sizes that are learned along with them."""

import math
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.core.types import Params

LOG_STEP_SIZE = "log_step_size."
"""Prefix of the entries of theta that hold learned inner step sizes, one logarithm per inner step."""


def flatten(tensors: Iterable[Tensor]) -> Float[Tensor, " parameter"]:
    """All entries, one after another, as one vector."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def unflatten(vector: Float[Tensor, " parameter"], like: Params) -> Params:
    """Inverse of :func:`flatten` for parameters named and shaped as in ``like``."""
    pieces = torch.split(vector, [tensor.numel() for tensor in like.values()])
    return {name: piece.view_as(like[name]) for (name, piece) in zip(like, pieces, strict=True)}


def with_task_axis(theta: Params, num_tasks: int) -> Params:
    """Theta repeated along a new leading task axis, as fresh leaves that record gradients.

    The gradient of these leaves is the gradient of every task, kept apart; :func:`sum_over_tasks` adds it up.
    """
    return {
        name: tensor.detach().expand(num_tasks, *tensor.shape).clone().requires_grad_()
        for name, tensor in theta.items()
    }


def sum_over_tasks(per_task: Sequence[Tensor]) -> Float[Tensor, " parameter"]:
    """Per-task gradients added over the task axis, as one vector.

    Tasks are added in order, so the sum does not depend on the number of threads.
    """
    return flatten(tensor.sum(0) for tensor in per_task)


def detach(params: Params) -> Params:
    """The same values, cut from the graph that made them."""
    return {name: tensor.detach() for name, tensor in params.items()}


def with_step_sizes(theta: Params, step_sizes: Sequence[float]) -> Params:
    """Theta with learnable step sizes: one per entry of the policy's parameters and inner step (arXiv 1810.09502).

    Logarithms are learned, so that a size stays positive.
    """
    logs = torch.tensor([math.log(size) for size in step_sizes])
    return {**theta, **{LOG_STEP_SIZE + name: logs.to(tensor) for name, tensor in theta.items()}}


def policy_parameters(params: Params) -> Params:
    """The entries that the policy reads: all but the learned step sizes."""
    return {name: tensor for name, tensor in params.items() if not name.startswith(LOG_STEP_SIZE)}


def learned_step_sizes(params: Params, step: int) -> Params:
    """Step sizes of one inner step by the policy's names, shaped to broadcast; empty where none are learned.

    Beyond the steps that were learned, the last one's sizes are used again.
    """
    sizes = {}
    for name, logs in params.items():
        if name.startswith(LOG_STEP_SIZE):
            target = name.removeprefix(LOG_STEP_SIZE)
            size = logs[..., min(step, logs.shape[-1] - 1)].exp()
            sizes[target] = size.view(*size.shape, *[1] * (params[target].dim() - size.dim()))
    return sizes
