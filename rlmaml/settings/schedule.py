"""Settings of how far meta-updates go in the course of a training."""

import math
from dataclasses import dataclass

from rlmaml.settings.checks import require_kinds, require_not_negative

LEAST = 0.1
"""What is left at the end of a cosine."""


@dataclass(frozen=True)
class ScheduleSettings:
    """Meta-updates that become shorter."""

    cosine_iterations: int = 0
    """Meta-iterations over which a meta-update's largest KL, or its step size, falls to a tenth along a cosine, to stay
    there; 0: it is always the same."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        require_kinds(self)
        require_not_negative(self, "cosine_iterations")

    def length(self, iteration: int) -> float:
        """How far a meta-update goes, as a share of its full length; see ``cosine_iterations`` (arXiv 1608.03983)."""
        if not self.cosine_iterations:
            return 1.0
        fallen = 0.5 * (1 - math.cos(math.pi * min(iteration / self.cosine_iterations, 1.0)))
        return 1 - (1 - LEAST) * fallen
