"""Parameter dictionaries: as vectors, with a task axis, and apart from the graph that made them."""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.core.types import Meta, Params


def flatten(tensors: Iterable[Tensor]) -> Float[Tensor, " parameter"]:
    """All entries, one after another, as one vector."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def unflatten(vector: Float[Tensor, " parameter"], like: Params) -> Params:
    """Inverse of :func:`flatten` for parameters named and shaped as in ``like``."""
    pieces = torch.split(vector, [tensor.numel() for tensor in like.values()])
    return {name: piece.view_as(like[name]) for (name, piece) in zip(like, pieces, strict=True)}


def entries(meta: Meta) -> list[Tensor]:
    """All tensors of meta-parameters, weights before rates: their order as one vector."""
    return [*meta.params.values(), *meta.rates.values()]


def meta_vector(meta: Meta) -> Float[Tensor, " parameter"]:
    """Meta-parameters as one vector."""
    return flatten(entries(meta))


def as_meta(vector: Float[Tensor, " parameter"], like: Meta) -> Meta:
    """Inverse of :func:`meta_vector` for meta-parameters named and shaped as in ``like``."""
    size = sum(tensor.numel() for tensor in like.params.values())
    return Meta(unflatten(vector[:size], like.params), unflatten(vector[size:], like.rates))


def named(meta: Meta) -> Params:
    """All tensors of meta-parameters by names of their own, in the order of :func:`entries`."""
    parts = zip(("params", "rates"), meta, strict=True)
    return {f"{part}/{name}": tensor for part, tensors in parts for name, tensor in tensors.items()}


def with_task_axis(params: Mapping[str, Tensor], num_tasks: int) -> Params:
    """Parameters repeated along a new leading task axis, as fresh leaves that record gradients.

    The gradient of these leaves is the gradient of every task, kept apart.
    """
    return {
        name: tensor.detach().expand(num_tasks, *tensor.shape).clone().requires_grad_()
        for name, tensor in params.items()
    }


def repeated(meta: Meta, num_tasks: int) -> Meta:
    """Meta-parameters along a new leading task axis; see :func:`with_task_axis`."""
    return Meta(with_task_axis(meta.params, num_tasks), with_task_axis(meta.rates, num_tasks))


def for_every_task(meta: Meta, num_tasks: int) -> Meta:
    """Meta-parameters along a new leading task axis, where no gradient is asked for."""
    return Meta(*(detached(part) for part in repeated(meta, num_tasks)))


def detached(params: Params) -> Params:
    """The same values, cut from the graph that made them."""
    return {name: tensor.detach() for name, tensor in params.items()}
