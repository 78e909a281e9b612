"""Settings of a natural-gradient step within a trust region."""

import math
from dataclasses import dataclass
from typing import Literal

from rlmaml.base.errors import UserError
from rlmaml.settings.checks import require, require_kinds, require_not_negative, require_positive

Preconditioner = Literal["kronecker", "none"]

KL_SCALE = "0.5 nats move the mean of an action by one standard deviation; trust regions are 0.01 to 0.03"
"""What a KL that is told is to be compared with."""
INNER_KL = f"{KL_SCALE}, trained inner steps go tens of nats"
"""And what one after inner steps is."""


@dataclass(frozen=True)
class TrustRegionSettings:
    """How far a step goes, and how its direction is found."""

    max_kl: float = 0.01
    """Largest mean KL in nats between the adapted policies before and after a meta-update."""
    damping: float = 0.01
    """Multiple of the identity added to the curvature."""
    cg_iterations: int | None = None
    """Conjugate-gradient iterations per meta-update; None: 3 after Kronecker factors, and 10 without them."""
    preconditioner: Preconditioner = "kronecker"
    """What conjugate gradients are preconditioned by: Kronecker factors of the policy's layers (where its kind has
    them), or none."""
    backtrack: float = 0.8
    """Factor by which the line search shortens a step."""
    backtrack_tries: int = 15
    """Step lengths that the line search tries before it gives up and keeps theta."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        require_kinds(self)
        require_positive(self, "max_kl backtrack_tries")
        require(self, "cg_iterations", self.cg_iterations is None or self.cg_iterations > 0, "a number above 0")
        require_not_negative(self, "damping")
        damped = self.damping > 0 or self.preconditioner == "none"
        require(self, "damping", damped, "above 0 with --preconditioner kronecker")
        require(self, "backtrack", 0 < self.backtrack < 1, "a number between 0 and 1")

    def iterations(self, *, preconditioned: bool) -> int:
        """Conjugate-gradient iterations with or without Kronecker factors; not every policy kind has them."""
        if self.cg_iterations is not None:
            return self.cg_iterations
        return 3 if preconditioned else 10


def check_trust_region(max_kl: float | None) -> None:
    """Check the trust region of an adaptation; None is for inner steps.

    Raises:
        UserError: it is no finite number above 0.
    """
    if max_kl is not None and not 0 < max_kl < math.inf:
        raise UserError(f"The trust region (--trust-region) is {max_kl}; it is a KL in nats above 0, such as 0.05.")
