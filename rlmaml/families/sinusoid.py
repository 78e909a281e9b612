"""Sine waves (arXiv 1703.03400, section 5.1, and arXiv 1707.09835, section 4.1): the classic of few-shot regression.

    y = A sin(ω x + b),   x uniform in [−5, 5],   A uniform in [0.1, 5], b uniform in [0, π].

In ``finn2017`` ω is 1 and the phase is subtracted, as in that paper's code; in ``li2017``, the harder one, ω is uniform
in [0.8, 1.2]. Examples have no noise. Errors are mean squared errors, in squared units of y.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.base.memory import check_memory
from rlmaml.core.losses import squared_error
from rlmaml.core.types import Examples, Outputs, Tasks
from rlmaml.policies.sizes import Sizes
from rlmaml.sampling.examples import Sets

Waves = Literal["finn2017", "li2017"]
REACH = 5.0
"""Largest |x|."""
AMPLITUDES = (0.1, 5.0)
PHASES = (0.0, math.pi)
"""In radians."""
FREQUENCIES: dict[Waves, tuple[float, float]] = {"finn2017": (1.0, 1.0), "li2017": (0.8, 1.2)}
"""In radians per unit of x."""


@dataclass(frozen=True)
class Sinusoid:
    """A family of sine waves.

    Attributes:
        waves: which ones.
        shots: examples of a support set.
        queries: examples of a query set.

    Raises:
        UserError: there are no examples, or more than fit into memory.
    """

    waves: Waves = "finn2017"
    shots: int = 10
    queries: int = 10

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("shots", "queries"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} is {getattr(self, name)}; it must be at least 1.")
        points = self.shots + self.queries
        check_memory(2 * 8 * points, f"A wave of {points} points", "Take fewer of them.")  # x and y in float64

    @property
    def variant(self) -> str:
        """Waves and examples."""
        return f"{self.waves}, {self.shots}-shot, {self.queries} queries"

    @property
    def sizes(self) -> Sizes:
        """From x to y."""
        return Sizes(1, 1)

    def sample_tasks(self, num_tasks: int, seeds: Sequence[int]) -> Tasks:
        """Amplitude, frequency and phase, each uniform in its range."""
        ranges = {"amplitude": AMPLITUDES, "frequency": FREQUENCIES[self.waves], "phase": PHASES}
        drawn = np.array([np.random.Generator(np.random.PCG64(seed)).random(len(ranges)) for seed in seeds[:num_tasks]])
        return {name: low + (high - low) * drawn[:, i] for i, (name, (low, high)) in enumerate(ranges.items())}

    def sets(self, tasks: Tasks, seeds: Sequence[int]) -> Sets:
        """Points of every wave."""
        number = self.shots + self.queries
        drawn = np.stack([np.random.Generator(np.random.PCG64(seed)).random(number) for seed in seeds])
        x = REACH * (2 * drawn - 1)
        y = self.wave(tasks, x)
        return Sets(
            as_points(x[:, : self.shots], y[:, : self.shots]), as_points(x[:, self.shots :], y[:, self.shots :])
        )

    def wave(self, tasks: Tasks, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Y of every task at its own x, ``[task, example]``."""
        amplitude, frequency, phase = (tasks[name][:, None] for name in ("amplitude", "frequency", "phase"))
        sign = -1.0 if self.waves == "finn2017" else 1.0
        return np.asarray(amplitude * np.sin(frequency * x + sign * phase), np.float64)

    def loss(self, outputs: Outputs, data: Examples) -> Float[Tensor, ""]:
        """Mean squared error."""
        return squared_error(outputs, data)

    def score(self, outputs: Outputs, data: Examples) -> Float[Tensor, ""]:
        """Mean squared error."""
        return squared_error(outputs, data)


def as_points(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Examples:
    """Examples ``[task, example]`` of functions of one number."""
    observations, targets = (torch.from_numpy(values).float().unsqueeze(-1) for values in (x, y))
    return Examples(observations, targets, torch.ones(x.shape, dtype=torch.bool), observations[:, :0])
