"""Weight matrices that are smaller than they look: products of two factors, and without the entries that were pruned.

A factored matrix ``name [out, in]`` is ``L R`` of ``name.left [out, rank]`` and ``name.right [rank, in]``, which adapt
in its place. Of a pruned one the entries that are left are one vector, ``[kept]``, and the others are not there:
whatever moves the parameters, they are exactly 0 in the network. A leading task axis is before all of these.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.core.types import Params

LEFT, RIGHT = "left", "right"


class Factors(NamedTuple):
    """A matrix ``L R``."""

    left: Float[Tensor, "*task out rank"]
    right: Float[Tensor, "*task rank in"]


Weight: TypeAlias = Tensor | Factors
"""A matrix ``[*task, out, in]``."""


class Kept(NamedTuple):
    """What is left of a pruned matrix."""

    shape: tuple[int, ...]
    entries: Int[Tensor, " kept"]
    """Of its entries, counted row by row."""


def is_factored(shape: Sequence[int], rank: int) -> bool:
    """Whether two factors of a rank have fewer entries than their product, of this shape."""
    return bool(rank) and len(shape) == 2 and rank * sum(shape) < shape[0] * shape[1]


def truncated(matrix: Float[Tensor, "out in"], rank: int) -> Factors:
    """The nearest matrix of a rank (Eckart and Young, 1936): ``W = U S Vᵀ ≈ (U_r √S_r) (√S_r V_rᵀ)``.

    The two factors are as large as each other, so that a gradient step moves them alike.
    """
    left, sizes, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    roots = sizes[:rank].sqrt()
    factors = left[:, :rank] * roots, roots.unsqueeze(1) * right[:rank]
    return Factors(*(factor.to(matrix.dtype).contiguous() for factor in factors))  # in order, as a file holds them


def factorised(params: Params, rank: int) -> Params:
    """Theta with every matrix that is smaller so as its nearest product of two factors; see :func:`is_factored`."""
    found: Params = {}
    for name, tensor in params.items():
        if is_factored(tensor.shape, rank):
            factors = truncated(tensor, rank)._asdict()
            found |= {f"{name}.{side}": factor for side, factor in factors.items()}
        else:
            found[name] = tensor
    return found


def multiplied(params: Params) -> Params:
    """Inverse of :func:`factorised`, to rounding: theta with every factored matrix as one."""
    found: Params = {}
    for name, tensor in params.items():
        matrix, _, side = name.rpartition(".")
        if matrix and side == LEFT:
            found[matrix] = tensor @ params[f"{matrix}.{RIGHT}"]
        elif not matrix or side != RIGHT:
            found[name] = tensor
    return found


def weight_of(params: Params, name: str) -> Weight:
    """A matrix by its name, whole or as its factors."""
    if name in params:
        return params[name]
    return Factors(params[f"{name}.{LEFT}"], params[f"{name}.{RIGHT}"])


def whole_matrices(params: Params, names: Sequence[str]) -> Params:
    """Parameters of these names, with every factored matrix as one; those with a task axis for every task."""
    found = {name: weight_of(params, name) for name in names}
    return {name: own if isinstance(own, Tensor) else own.left @ own.right for name, own in found.items()}


def reading(params: Params, name: str) -> str:
    """Name of the entry whose columns read the inputs: the matrix itself, or its right factor."""
    return name if name in params else f"{name}.{RIGHT}"


def matrix_shapes(shapes: Mapping[str, tuple[int, ...]], rank: int) -> dict[str, tuple[int, ...]]:
    """Matrices of a policy by name, with factors in the place of those that :func:`factorised` has as such."""
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        if is_factored(shape, rank):
            found |= {f"{name}.{LEFT}": (shape[0], rank), f"{name}.{RIGHT}": (rank, shape[1])}
        else:
            found[name] = shape
    return found


def largest_entries(matrix: Float[Tensor, "*shape"], share: float) -> Bool[Tensor, "*shape"]:
    """Which entries are left where a share of them, those nearest to 0, is pruned (arXiv 1506.02626).

    It is the share of each matrix, because sizes do not compare between layers: the first reads numbers of any unit,
    and the last begins a hundred times smaller. One entry is left at least; of equals the earlier are pruned.
    """
    pruned = min(round(share * matrix.numel()), matrix.numel() - 1)
    mask = torch.ones(matrix.numel(), dtype=torch.bool)
    mask[matrix.abs().flatten().argsort(stable=True)[:pruned]] = False
    return mask.view_as(matrix)


def pruned(params: Params, share: float) -> tuple[str, ...]:
    """What is left of every matrix of theta, as the settings of a policy keep it; see :func:`largest_entries`."""
    return tuple(as_text(name, largest_entries(own, share)) for name, own in params.items() if own.dim() >= 2)


def as_text(name: str, mask: Bool[Tensor, "*shape"]) -> str:
    """A matrix's name and shape, and which of its entries are left."""
    bits = base64.b64encode(np.packbits(mask.numpy()).tobytes()).decode()
    return f"{name}:{size_in_words(mask.shape)}:{bits}"


def size_in_words(shape: Sequence[int]) -> str:
    """The axes of a matrix."""
    return "x".join(map(str, shape))


def kept_entries(texts: Sequence[str], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Kept]:
    """What the settings of a policy say that is left, by name.

    Args:
        texts: see :func:`as_text`.
        shapes: of the policy's matrices, by name.

    Raises:
        UserError: they are those of another policy.
    """
    found = {}
    for text in texts:
        name, size, bits = text.split(":")
        shape = tuple(int(number) for number in size.split("x"))
        mask = np.unpackbits(np.frombuffer(base64.b64decode(bits), np.uint8))
        number = math.prod(shape)
        if shapes.get(name) != shape or not 0 <= len(mask) - number < 8 or not mask.any():
            listed = ", ".join(f"{own} {size_in_words(each)}" for own, each in shapes.items())
            raise UserError(
                f"--kept says what is left of {name} {size} in {len(mask)} bits; the matrices of this policy are "
                f"{listed}. Leave it out, or take it from the run.json of a run with the same layers."
            )
        found[name] = Kept(shape, torch.from_numpy(np.flatnonzero(mask[:number])))
    return found


def filled(params: Params, kept: Mapping[str, Kept]) -> Params:
    """Parameters with pruned matrices as whole ones, in which 0 stands for what is not there."""
    if not kept:
        return params
    return params | {name: _spread(params[name], own) for name, own in kept.items()}


def left_of(params: Params, kept: Mapping[str, Kept]) -> Params:
    """Inverse of :func:`filled`: of pruned matrices what is left of them, and nothing else."""
    return params | {name: params[name].flatten(-len(own.shape))[..., own.entries] for name, own in kept.items()}


def _spread(values: Float[Tensor, "*task kept"], kept: Kept) -> Float[Tensor, "..."]:
    zeros = values.new_zeros(*values.shape[:-1], math.prod(kept.shape))
    return zeros.index_copy(-1, kept.entries.to(values.device), values).view(*values.shape[:-1], *kept.shape)
