"""Several epochs of Adam on the same trials: minibatches of whole tasks, gradients of whole blocks.

One theta serves all tasks. What a block's tasks contribute is found in one pass, and the blocks are added in order, so
that the result does not depend on how many processes there are.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlmaml.algorithms.adam import adam
from rlmaml.algorithms.meta_algorithm import Learner
from rlmaml.base.errors import NonFiniteError
from rlmaml.base.regions import region
from rlmaml.core.parameters import flatten, unflatten
from rlmaml.core.task_sums import TaskMean, shares
from rlmaml.core.types import Params

Losses: TypeAlias = Callable[[Params, Tensor], tuple[Float[Tensor, " task"], Float[Tensor, " task"]]]
"""``losses(params, tasks)``: of some of this process's tasks, each one's loss, and its divergence from before."""


class Sums(NamedTuple):
    """Of one minibatch, means over its tasks."""

    loss: float
    divergence: float
    gradient: Float[Tensor, " parameter"]


class Schedule(NamedTuple):
    """How often, in what parts and how far."""

    epochs: int
    minibatches: int
    rate: float
    """Step size of Adam."""
    largest_gradient: float
    """Norm to which a longer gradient is cut."""


class Learnt(NamedTuple):
    """What epochs lead to."""

    params: Params
    moments: Params
    sums: list[list[Sums]]
    """By epoch and minibatch."""


def adam_epochs(
    learner: Learner,
    params: Params,
    names: Sequence[str],
    moments: Params,
    losses: Losses,
    *,
    mean: TaskMean,
    blocks: Sequence[Tensor],
    schedule: Schedule,
) -> Learnt:
    """Go down the mean loss of the usable tasks.

    Args:
        learner: sums over tasks and random streams.
        params: all weights.
        names: of those that are learned.
        moments: Adam's, of these.
        losses: of some tasks.
        mean: which tasks are usable.
        blocks: this process's tasks, block by block; see :func:`own_blocks`.
        schedule: of the epochs.

    Raises:
        NonFiniteError: a loss or its gradient's norm is NaN or infinite.
    """
    found = list[list[Sums]]()
    for epoch in range(schedule.epochs):
        found.append([])
        for chosen in minibatches(learner, mean, epoch, schedule.minibatches):
            with region("gradient"):
                rows = [_of_block(params, names, losses, block[chosen[block]]) for block in blocks]
                every = mean.total([torch.stack(rows)])
                counted, loss, divergence, gradient = every[0], every[1], every[2], every[3:] / every[0]
                norm = float(gradient.norm())
                if not (every[:3].isfinite().all() and math.isfinite(norm)):
                    cause = "rewards or values of the trials are not usable"
                    raise NonFiniteError("The loss or its gradient's norm", cause)
                found[-1].append(Sums(float(loss / counted), float(divergence / counted), gradient))
            with region("outer_step"):
                cut = min(1.0, schedule.largest_gradient / (norm + 1e-12))
                learned = {name: params[name] for name in names}
                learned, moments = adam(learned, unflatten(cut * gradient, learned), moments, schedule.rate)
                params = params | learned
    return Learnt(params, moments, found)


def _of_block(params: Params, names: Sequence[str], losses: Losses, tasks: Tensor) -> Float[Tensor, " number"]:
    """Number of tasks, sum of their losses, of their divergences, and the gradient of the losses' sum."""
    leaves = {name: params[name].detach().requires_grad_() for name in names}
    if not len(tasks):
        numbers = next(iter(leaves.values())).new_zeros(3)
        return torch.cat([numbers, torch.zeros_like(flatten(leaves.values()))]).detach()
    each, divergences = losses(params | leaves, tasks)
    gradient = torch.autograd.grad(each.sum(), list(leaves.values()))
    total = each.detach().sum()
    numbers = torch.stack([torch.full_like(total, len(tasks)), total, divergences.detach().sum()])
    return torch.cat([numbers, flatten(gradient)])


def own_blocks(learner: Learner, num_own: int, blocks: int) -> list[Tensor]:
    """This process's tasks block by block, as indices among its own; see :func:`rlmaml.core.task_sums.shares`."""
    (every,) = learner.sums.gather([torch.zeros(num_own)])
    ends = torch.tensor([block.stop for block in shares(len(every), blocks)])
    block = torch.bucketize(torch.tensor([*learner.streams.tasks]), ends, right=True)
    return [torch.nonzero(block == one).flatten() for one in sorted(set(block.tolist()))]


def minibatches(learner: Learner, mean: TaskMean, epoch: int, most: int) -> list[Bool[Tensor, " task"]]:
    """Which of this process's usable tasks are in every minibatch of an epoch.

    Which tasks are together follows from random numbers of the tasks' own, so that it depends neither on how many
    processes there are nor on the order of the tasks. There are no more minibatches than usable tasks.
    """
    keys = torch.tensor(learner.streams.minibatch_keys(epoch), dtype=torch.float64)
    keys = torch.where(mean.usable.cpu(), keys, torch.inf)
    (every,) = learner.sums.gather([keys])
    count = min(most, mean.num_usable)
    minibatch = torch.searchsorted(every.sort().values, keys) * count // mean.num_usable
    return [minibatch == index for index in range(count)]


def mean_of(epoch: Sequence[Sums], what: Callable[[Sums], float]) -> float:
    """The mean over an epoch's minibatches."""
    return sum(what(sums) for sums in epoch) / len(epoch)
