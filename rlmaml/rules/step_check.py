"""Whether inner steps led to where something can be learned: near enough to where they began."""

import math

import torch
from torch import Tensor

from rlmaml.base.errors import LostUpdateError, NonFiniteError
from rlmaml.core.types import Params

LARGEST_STEP = 100.0
"""How far inner steps may lead, ``‖φ − θ‖ / (1 + ‖θ‖)``, until they count as exploded."""


class ExplodedError(LostUpdateError):
    """Inner steps led far away from where they began."""


def check_step(theta: Params, adapted: Params, k: int) -> None:
    """Refuse task parameters that are not finite, or far from theta.

    Args:
        theta: with a task axis.
        adapted: the same after an inner step.
        k: of the inner step.

    Raises:
        NonFiniteError: they are NaN or infinite.
        ExplodedError: ``‖φ − θ‖`` of a task is above :data:`LARGEST_STEP` times ``1 + ‖θ‖``.
    """
    with torch.no_grad():
        moved = [_rows(adapted[name] - theta[name]) for name in theta if adapted[name] is not theta[name]]
        if not moved:
            return
        distances = torch.cat(moved, 1).norm(dim=1)
        lengths = torch.cat([_rows(tensor) for tensor in theta.values()], 1).norm(dim=1)
        furthest = float((distances / (1 + lengths)).max())
    if not math.isfinite(furthest):
        raise NonFiniteError(f"The task parameters after inner step {k + 1}", "the step was too long for these tasks")
    if furthest > LARGEST_STEP:
        raise ExplodedError(
            f"Inner step {k + 1} exploded: ‖φ − θ‖ is {furthest:.3g} times 1 + ‖θ‖, and {LARGEST_STEP:g} is the most "
            "that is learned from. Take smaller --inner-step-sizes."
        )


def _rows(per_task: Tensor) -> Tensor:
    """Every task's numbers as one row."""
    return per_task.reshape(len(per_task), -1)
