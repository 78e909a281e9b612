"""Learned inner step sizes: how they are kept as rates, what size a rate stands for, and how it moves a step.

A rate has a leading step axis, behind the task axis where there is one; the last step's serves all further steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Rates(Protocol):
    """A way to learn the sizes of steps ``φ − α ∇L(φ)``."""

    def start(self, sizes: Sequence[float], values: Float[Tensor, "*shape"]) -> Float[Tensor, "step ..."]:
        """Rates of one entry of the weights that stand for these sizes of every step."""

    def size(self, rate: Float[Tensor, "task ..."], values: Float[Tensor, "task *shape"]) -> Tensor:
        """α of one step and entry, shaped to broadcast against the entry."""

    def move(self, gradient: Float[Tensor, "task *shape"], size: Tensor) -> Float[Tensor, "task *shape"]:
        """Derivative of the weights after a step with respect to its rate: ``−∇L dα``."""

    def gathered(self, values: Float[Tensor, "task *shape"]) -> Float[Tensor, "task ..."]:
        """Values of an entry, added over the weights that share a rate."""


@dataclass(frozen=True)
class PerEntry:
    """One positive size for every entry (a layer's weights, its biases) and step, as its logarithm (1810.09502)."""

    def start(self, sizes: Sequence[float], values: Float[Tensor, "*shape"]) -> Float[Tensor, " step"]:
        """Logarithms."""
        return torch.tensor([math.log(size) for size in sizes]).to(values, copy=True)

    def size(self, rate: Float[Tensor, " task"], values: Float[Tensor, "task *shape"]) -> Tensor:
        """Of every task."""
        return broadcastable(rate.exp(), values)

    def move(self, gradient: Float[Tensor, "task *shape"], size: Tensor) -> Float[Tensor, "task *shape"]:
        """``−α ∇L``, the step itself."""
        return -size * gradient

    def gathered(self, values: Float[Tensor, "task *shape"]) -> Float[Tensor, " task"]:
        """Over the whole entry."""
        return values.flatten(1).sum(1)


@dataclass(frozen=True)
class PerParameter:
    """A size of its own for every single weight and step, whose sign is learned as well (Meta-SGD, 1707.09835)."""

    def start(self, sizes: Sequence[float], values: Float[Tensor, "*shape"]) -> Float[Tensor, "step *shape"]:
        """The sizes themselves."""
        return torch.stack([torch.full_like(values, size) for size in sizes])

    def size(self, rate: Float[Tensor, "task *shape"], values: Float[Tensor, "task *shape"]) -> Tensor:  # noqa: ARG002
        """The rate itself."""
        return rate

    def move(self, gradient: Float[Tensor, "task *shape"], size: Tensor) -> Float[Tensor, "task *shape"]:  # noqa: ARG002
        """``−∇L``."""
        return -gradient

    def gathered(self, values: Float[Tensor, "task *shape"]) -> Float[Tensor, "task *shape"]:
        """None shares its rate."""
        return values


def of_step(rate: Float[Tensor, "task step ..."], k: int) -> Float[Tensor, "task ..."]:
    """The rate of step k, or of the last one beyond the steps that were trained; a view."""
    return rate.select(1, min(k, rate.shape[1] - 1))


def broadcastable(per_task: Float[Tensor, "task ..."], values: Float[Tensor, "task *shape"]) -> Tensor:
    """Numbers per task, shaped to broadcast against values with a leading task axis."""
    return per_task.view(*per_task.shape, *[1] * (values.dim() - per_task.dim()))
