"""Random actions that are smooth in time, as one tries out a robot with: they read nothing of what is seen.

    a_t = ρ a_{t−1} + √(1 − ρ²) ε_t,   a_0 = ε_0,   ε normal with a standard deviation of σ,

an autoregressive process of first order: every action has the deviation σ, and those of k steps apart the correlation
ρᵏ. The robot clips them to [-1, 1]. Noise that is drawn anew in every step averages out within a joint's inertia, and
shows little of what a robot does.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from rlmaml.base.errors import UserError
from rlmaml.core.distributions import Gaussian
from rlmaml.core.policy import Act
from rlmaml.core.types import Carry, Params, Seen

NO_PARAMETERS: Params = {"": torch.zeros(())}
"""What they depend on: nothing, on the CPU."""


@dataclass(frozen=True)
class SmoothActions:
    """Who acts by chance.

    Attributes:
        size: numbers of an action.
        correlation: ρ, of an action and the next.
        std: σ, in units of the normalised action.

    Raises:
        UserError: a number is none of its kind.
    """

    size: int
    correlation: float = 0.9
    std: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 0 <= self.correlation < 1:
            raise UserError(f"--action-correlation is {self.correlation}; it must be from 0 to below 1.")
        if not 0 < self.std < math.inf:
            raise UserError(f"--action-std is {self.std}; it must be a finite number above 0.")

    def start(self, params: Params, shape: tuple[int, ...]) -> Carry:  # noqa: ARG002
        """Nothing is remembered but the last action, which is seen."""
        return ()

    def act(self, params: Params) -> Act:  # noqa: ARG002
        """Around a part of the last action."""

        def distribution(seen: Seen, carry: Carry) -> tuple[Gaussian, Carry]:
            new = math.sqrt(1 - self.correlation**2)
            share = torch.where(seen.first_step, 1.0, new).unsqueeze(-1).expand_as(seen.last_action)
            return Gaussian(self.correlation * seen.last_action, torch.log(self.std * share)), carry

        return distribution

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Standard normal noise, one number per action dimension."""
        return generator.standard_normal((*shape, self.size), dtype=np.float32)
