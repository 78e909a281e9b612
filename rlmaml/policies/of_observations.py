"""What policies share that remember nothing and say a distribution of the actions of each observation by itself."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from rlmaml.core.distributions import Distribution
from rlmaml.core.kronecker import FisherBlocks
from rlmaml.core.policy import Act
from rlmaml.core.types import Carry, Memory, Outputs, Params
from rlmaml.policies.sizes import Sizes


class OfObservations:
    """A policy whose distribution of actions is a function of the observation alone, and no more is known of it."""

    sizes: Sizes

    def _said(self, params: Params) -> Callable[[Tensor], Distribution]:
        """What is said of observations, ``[*axes, obs]``: made once of parameters, and called at every step."""
        raise NotImplementedError

    def start(self, params: Params, shape: tuple[int, ...]) -> Carry:  # noqa: ARG002
        """Nothing is remembered."""
        return ()

    def act(self, params: Params) -> Act:
        """The policy with these parameters."""
        said = self._said(params)
        return lambda seen, carry: (said(seen.observation), carry)

    def unroll(self, params: Params, batch: Any, memory: Memory | None = None) -> tuple[Outputs, Memory | None]:
        """What the policy says at every step, or of every example: it reads ``batch.observations`` alone."""
        return Outputs(self._said(params)(batch.observations)), memory

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Standard normal noise, one number per action dimension; for a choice one that is uniform in [0, 1)."""
        if self.sizes.discrete:
            return generator.random(shape, dtype=np.float32)
        return generator.standard_normal((*shape, self.sizes.action), dtype=np.float32)

    def fisher_blocks(self, params: Params, batch: Any, step_weights: Tensor) -> FisherBlocks | None:  # noqa: ARG002
        """None: there is no approximation of this kind's."""
        return None
