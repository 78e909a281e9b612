"""A policy with fewer numbers, of any kind: theta holds factors and what is left, the kind reads the whole matrices."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.core.kronecker import FisherBlocks
from rlmaml.core.policy import Act, Policy, TaughtPolicy
from rlmaml.core.types import Carry, Memory, Outputs, Params
from rlmaml.policies.matrices import Kept, factorised, filled, kept_entries, left_of, matrix_shapes, whole_matrices
from rlmaml.policies.sizes import Sizes


class ReducedPolicy:
    """A policy whose matrices are products of two factors, or pruned; see :mod:`rlmaml.policies.matrices`.

    Filters of images are matrices of more axes: they may be pruned, and have no factors.

    Args:
        policy: of some kind, as it is without.
        settings: of the kind, with rank and what is kept.
        sizes: of observations and actions.

    Raises:
        UserError: what is left of pruned matrices is that of another policy, or a teacher tells it what it reads.
    """

    def __init__(self, policy: Policy, settings: Any, sizes: Sizes) -> None:
        if isinstance(policy, TaughtPolicy):
            raise UserError(
                "A policy whose student learns from a teacher cannot be pruned or factored: which weights learn from "
                "which is said by their names. Leave --rank and --kept."
            )
        self.policy, self.settings, self.sizes = policy, settings, sizes
        fresh = policy.init(0)
        self.names = tuple(fresh)
        whole = {name: tuple(tensor.shape) for name, tensor in fresh.items() if tensor.dim() >= 2}
        shapes = matrix_shapes(whole, settings.rank)
        self.kept: Mapping[str, Kept] = kept_entries(settings.kept, shapes)
        parts = {name: [own for own in shapes if own == name or own.rpartition(".")[0] == name] for name in whole}
        self.head = tuple(own for name in policy.head for own in parts.get(name, [name]))
        self.context, self.exploration = policy.context, policy.exploration

    def init(self, seed: int) -> Params:
        """Fresh theta: factors are those of fresh matrices, and what is pruned is left out of them."""
        return left_of(factorised(self.policy.init(seed), self.settings.rank), self.kept)

    def whole(self, params: Params) -> Params:
        """The parameters that the kind reads."""
        return whole_matrices(filled(params, self.kept), self.names)

    def start(self, params: Params, shape: tuple[int, ...]) -> Carry:
        """As the kind."""
        return self.policy.start(self.whole(params), shape)

    def act(self, params: Params) -> Act:
        """As the kind."""
        return self.policy.act(self.whole(params))

    def unroll(self, params: Params, batch: Any, memory: Memory | None = None) -> tuple[Outputs, Memory | None]:
        """As the kind."""
        return self.policy.unroll(self.whole(params), batch, memory)

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """As the kind."""
        return self.policy.draw_noise(generator, shape)

    def fisher_blocks(self, params: Params, batch: Any, step_weights: Tensor) -> FisherBlocks | None:  # noqa: ARG002
        """None: the Fisher information of factored or pruned matrices is no product of two factors."""
        return None

    def numbers(self, params: Params) -> dict[str, float]:
        """As the kind."""
        return self.policy.numbers(self.whole(params))

    def describe(self) -> dict[str, Any]:
        """As the kind, with the rank of factored matrices, and how much was pruned of which."""
        return self.policy.describe() | described_reduction(self.settings.rank, self.kept)

    def deterministic(self, params: Params) -> torch.nn.Module:
        """As the kind: exported files hold whole matrices."""
        return self.policy.deterministic(self.whole(params))


def described_reduction(rank: int, kept: Mapping[str, Kept]) -> dict[str, Any]:
    """The rank of factored matrices, and how many entries are left of which; nothing for a whole policy."""
    described: dict[str, Any] = {"rank": rank} if rank else {}
    if kept:
        described["entries_left"] = {name: [len(own.entries), math.prod(own.shape)] for name, own in kept.items()}
    return described
