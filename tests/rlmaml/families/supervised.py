"""Random, non-degenerate supervised data, and a family whose meta-learning problem has a solution in closed form."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rlmaml.core.losses import squared_error
from rlmaml.core.types import Examples, Outputs, Tasks
from rlmaml.policies.sizes import Sizes
from rlmaml.sampling.examples import Sets
from rlmaml.settings.whole import Settings, configure

GREY = (1, 6, 6)
"""Size of grey pictures."""

METHODS: dict[str, dict[str, Any]] = {
    "maml-trpo": {"inner_steps": 2},
    "fomaml": {"inner_steps": 2},
    "meta-sgd": {"inner_steps": 2},
    "maml++": {"inner_steps": 2, "first_order_until": 0},
    "anil": {"inner_steps": 2},
    "cavia": {"inner_steps": 2, "context": 3},
    "pretrained": {},
}
"""Every method with Adam as its outer step, and settings to see it by."""


def supervised(method: str, **options: Any) -> Settings:
    """Settings of a method for supervised tasks, with a small model."""
    small: dict[str, Any] = {"hidden": (4,), "threads": 1} | (
        {} if method == "reptile" else {"outer_optimiser": "adam"}
    )
    return configure(method, **small | options)


def random_examples(
    num_tasks: int, num_examples: int = 5, seed: int = 0, *, sizes: tuple[int, int] = (3, 2)
) -> Examples:
    """Examples in double precision, the last of every second task being padding."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_tasks, num_examples)
    x, y = (torch.randn((*shape, size), generator=generator, dtype=torch.float64) for size in sizes)
    valid = torch.ones(shape, dtype=torch.bool)
    valid[::2, -1] = False
    return Examples(x, y, valid, x[:, :0])


class Lines:
    """Four fixed tasks ``y = w_i · x``, with fixed support and query sets: theta's best value is known."""

    variant = "lines"
    sizes = Sizes(2, 1)
    loss = staticmethod(squared_error)
    score = staticmethod(squared_error)

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self.slopes = generator.standard_normal((4, 2))
        stretched = np.array([1.0, 2.0])
        self.support = generator.standard_normal((4, 3, 2)) * stretched
        self.query = generator.standard_normal((4, 5, 2)) * stretched

    def sample_tasks(self, num_tasks: int, seeds: Sequence[int]) -> Tasks:
        return {"index": np.arange(num_tasks) % 4}

    def sets(self, tasks: Tasks, seeds: Sequence[int]) -> Sets:
        index = tasks["index"]
        parts = []
        for x in (self.support[index], self.query[index]):
            y = x @ self.slopes[index][:, :, None]
            observations, targets = torch.from_numpy(x).float(), torch.from_numpy(y).float()
            parts.append(Examples(observations, targets, torch.ones(x.shape[:2]) > 0, observations[:, :0]))
        return Sets(*parts)

    def best(self, size: float, *, first_order: bool) -> Tensor:
        """Where the meta-gradient of a model ``θ · x + b`` is 0 after one inner step of this size.

        With bias the input is (x, 1). The step leaves ``φ − w = (I − α S)(θ − w)``, S = 2/n Σ x xᵀ, and the query loss
        is ``(φ − w)ᵀ Q (φ − w)``, Q = 1/m Σ x xᵀ; its gradient is seen through ``I − α S``, or as it is.
        """
        left, right = np.zeros((3, 3)), np.zeros(3)
        for slope, support, query in zip(self.slopes, self.support, self.query, strict=True):
            w = np.array([*slope, 0.0])
            s, q = (np.hstack([x, np.ones((len(x), 1))]) for x in (support, query))
            shrinks = np.eye(3) - size * 2 / len(s) * s.T @ s
            curvature = (np.eye(3) if first_order else shrinks.T) @ (q.T @ q / len(q)) @ shrinks
            left, right = left + curvature, right + curvature @ w
        return torch.from_numpy(np.linalg.solve(left, right))


def halved(outputs: Outputs, data: Examples) -> Tensor:
    """Another loss, to tell whose is used."""
    return 0.5 * squared_error(outputs, data)


def draw(path: Path, value: int = 100, mode: str = "L", size: tuple[int, int] = (6, 6)) -> Path:
    """A picture of one colour in a file, whose folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 0)).save(path)
    return path
