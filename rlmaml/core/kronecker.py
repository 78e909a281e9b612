"""A Kronecker-factored approximation of the metric, whose inverse is cheap: a preconditioner (arXiv 1503.05671).

For a layer with inputs a, and 1 for the bias, the Fisher information of its weights is about ``E[a aᵀ] ⊗ E[g gᵀ]``,
where g are roots of the Fisher information of the actions, pulled back to the layer's outputs. Inner steps are taken
for the identity here, but for learned rates, which move the parameters along what the step does.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.core.parameters import flatten, unflatten
from rlmaml.core.task_sums import TaskMean
from rlmaml.core.types import Meta, Params


class LayerFactors(NamedTuple):
    """The two factors of one layer, for every task or added over tasks."""

    weight: str
    """Name of its weights ``[out, in]``."""
    bias: str
    inputs: Float[Tensor, "*task in in"]
    """``Σ w a aᵀ`` over steps of weight w; the last entry of a is the 1 of the bias."""
    outputs: Float[Tensor, "*task out out"]
    """``Σ w g gᵀ``."""


class FisherBlocks(NamedTuple):
    """The approximation of a policy's own Fisher information."""

    layers: Sequence[LayerFactors]
    diagonal: Params
    """Of the weights that are in no layer."""


def added(blocks: Sequence[FisherBlocks], mean: TaskMean) -> FisherBlocks:
    """The blocks of several stages, added over stages and over the tasks of all processes."""
    first = blocks[0]
    layers = [
        LayerFactors(
            layer.weight,
            layer.bias,
            inputs=_total([stage.layers[index].inputs for stage in blocks], mean),
            outputs=_total([stage.layers[index].outputs for stage in blocks], mean),
        )
        for index, layer in enumerate(first.layers)
    ]
    diagonal = {name: _total([stage.diagonal[name] for stage in blocks], mean) for name in first.diagonal}
    return FisherBlocks(layers, diagonal)


def _total(stages: Sequence[Tensor], mean: TaskMean) -> Tensor:
    per_task = sum(stages[1:], start=stages[0])
    return mean.total([per_task]).view(per_task.shape[1:])


def rate_curvature(
    blocks: FisherBlocks, moves: Sequence[Params], later: Sequence[float], rates: Params, mean: TaskMean
) -> Params:
    """Diagonal of the metric for learned rates: ``mean_i dφᵀ F dφ``, for what a change of each moves in the parameters.

    A rate that many weights share moves all of them; one of a single weight moves that one.

    Args:
        blocks: F, added over tasks.
        moves: derivative of the task parameters with respect to the rates of each inner step, by entry.
        later: weight of all stages after each inner step.
        rates: the rates by entry, ``[step]`` or ``[step, *shape]``.
        mean: over the tasks.
    """
    curvature = {}
    for name, rate in rates.items():
        own = [later[k] * _of_moves(blocks, name, each[name], rate, mean) for k, each in enumerate(moves[: len(rate)])]
        curvature[name] = torch.stack(own).to(rate)
    return curvature


def _of_moves(
    blocks: FisherBlocks, name: str, move: Float[Tensor, "task *shape"], rate: Float[Tensor, "step ..."], mean: TaskMean
) -> Float[Tensor, "..."]:
    """The mean of ``dφᵀ F dφ`` over the tasks, for every rate of one step and entry."""
    if rate.dim() == 1:
        return mean.of(_quadratic(blocks, name, move))
    counted = torch.where(mean.usable.view(-1, *[1] * (move.dim() - 1)), move, 0.0)
    squares = mean.total([counted.square()]).view(move.shape[1:]) / mean.num_usable
    return _diagonal(blocks, name) * squares


def _diagonal(blocks: FisherBlocks, name: str) -> Float[Tensor, "*shape"]:
    """Diagonal of F for one entry."""
    for layer in blocks.layers:
        if name == layer.weight:
            return torch.outer(layer.outputs.diagonal(), layer.inputs.diagonal()[:-1])
        if name == layer.bias:
            return layer.outputs.diagonal() * layer.inputs[-1, -1]
    return blocks.diagonal[name]


def _quadratic(blocks: FisherBlocks, name: str, move: Float[Tensor, "task *shape"]) -> Float[Tensor, " task"]:
    """``dφᵀ F dφ`` of a move of one entry, for every task."""
    for layer in blocks.layers:
        if name == layer.weight:
            turned = layer.outputs @ move @ layer.inputs[:-1, :-1]
            return (turned * move).flatten(1).sum(1)
        if name == layer.bias:
            return layer.inputs[-1, -1] * ((move @ layer.outputs) * move).sum(1)
    return (blocks.diagonal[name] * move.square()).flatten(1).sum(1)


def kronecker_inverse(
    blocks: FisherBlocks, rates: Params, like: Meta, damping: float
) -> Callable[[Float[Tensor, " parameter"]], Float[Tensor, " parameter"]]:
    """Products with the inverse of the damped approximation.

    Each layer's is ``(A + π√λ I) ⊗ (G + √λ/π I)``, where π balances the factors' mean eigenvalues (arXiv 1503.05671,
    section 6.3); the others' is ``diagonal + λ``.

    Args:
        blocks: added over tasks.
        rates: diagonal for the learned rates, by entry.
        like: meta-parameters, which a vector is shaped as.
        damping: λ, above 0.
    """
    inverses = [_inverse_pair(layer, damping) for layer in blocks.layers]
    size = sum(tensor.numel() for tensor in like.params.values())

    def apply(vector: Tensor) -> Tensor:
        parts, solved = unflatten(vector[:size], like.params), {}
        for layer, (inputs, outputs) in zip(blocks.layers, inverses, strict=True):
            joint = torch.cat([parts[layer.weight], parts[layer.bias].unsqueeze(1)], 1).double()
            both = (outputs @ joint @ inputs).to(vector)
            solved[layer.weight], solved[layer.bias] = both[:, :-1], both[:, -1]
        for name, diagonal in blocks.diagonal.items():
            solved[name] = parts[name] / (diagonal + damping)
        own_rates = unflatten(vector[size:], like.rates) if like.rates else {}
        steps = [own_rates[name] / (rates[name] + damping) for name in like.rates]
        return flatten([*(solved[name] for name in like.params), *steps])

    return apply


def _inverse_pair(layer: LayerFactors, damping: float) -> tuple[Tensor, Tensor]:
    inputs, outputs = layer.inputs.double(), layer.outputs.double()
    sizes = [float(factor.trace()) / len(factor) for factor in (inputs, outputs)]
    balance = (sizes[0] / sizes[1]) ** 0.5 if min(sizes) > 0 else 1.0
    root = damping**0.5
    return _inverse(inputs, balance * root), _inverse(outputs, root / balance)


def _inverse(factor: Tensor, damping: float) -> Tensor:
    identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    inverse: Tensor = torch.linalg.inv(factor + damping * identity)
    return inverse
