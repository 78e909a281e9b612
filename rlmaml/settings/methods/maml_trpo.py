"""Settings of MAML with a natural-gradient meta-update, and of its first-order version."""

import dataclasses
import math
from dataclasses import dataclass

from rlmaml.base.errors import UserError
from rlmaml.settings.checks import option, require, require_finite, require_not_negative
from rlmaml.settings.inner import DifferentiatedInnerSettings, InnerSettings
from rlmaml.settings.methods.method import Method
from rlmaml.settings.trust_region import TrustRegionSettings


@dataclass(frozen=True)
class MamlTrpoSettings(TrustRegionSettings):
    """A meta-update within a trust region, on a weighted sum over the stages."""

    stage_weights: tuple[float, ...] = ()
    """Weights in the meta-objective of the policies before and after each inner step; the last number serves all
    further steps. Empty: the fully adapted policy alone."""
    anneal_stage_weights: int = 0
    """Meta-iterations over which the stage weights go from equal ones after every inner step to their own (as in
    MAML++)."""
    cosine_iterations: int = 0
    """Meta-iterations over which max_kl falls to a tenth along a cosine, to stay there; 0: it is always the same."""
    entropy_bonus: float = 0.0
    """Factor of the mean entropy of the stages' policies, in nats, in the meta-objective."""
    curvature_fraction: float = 0.1
    """Fraction of each task's episodes on whose states the curvature is taken; inner steps, loss, gradient and KL use
    all."""
    jacobian_fraction: float = 0.5
    """Fraction of each task's episodes on which the curvature sees how inner steps depend on where they are taken: 1 is
    exact, 0 leaves it out."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        super().__post_init__()
        fraction = 0 < self.curvature_fraction <= 1
        require(self, "curvature_fraction", fraction, "a number above 0 and at most 1")
        require(self, "jacobian_fraction", 0 <= self.jacobian_fraction <= 1, "a number from 0 to 1")
        require_not_negative(self, "anneal_stage_weights cosine_iterations entropy_bonus")
        require_finite(self, "entropy_bonus")

    def check_with(self, inner: InnerSettings) -> None:
        """Refuse weights that leave nothing to be optimised.

        Raises:
            UserError: a weight is negative or infinite, or all those of the stages are 0.
        """
        annealed = inner.inner_steps > 0 or not self.anneal_stage_weights
        require(self, "anneal_stage_weights", annealed, "0 where --inner-steps is 0: there are no stages to weigh")
        used = self.stage_weights[: inner.inner_steps + 1]
        if used and not (all(0 <= weight < math.inf for weight in self.stage_weights) and sum(used) > 0):
            raise UserError(
                f"{option('stage_weights')} is {self.stage_weights!r}; it must be finite numbers not below 0, and not "
                "all 0."
            )

    def weights(self, inner_steps: int, iteration: int = 0) -> tuple[float, ...]:
        """Weight of each of the ``inner_steps + 1`` stages in a meta-iteration; they sum to 1."""
        given = self.stage_weights or (*[0.0] * inner_steps, 1.0)
        weights = (*given, *[given[-1]] * inner_steps)[: inner_steps + 1]
        own = tuple(weight / sum(weights) for weight in weights)
        if iteration >= self.anneal_stage_weights:
            return own
        done, equal = iteration / self.anneal_stage_weights, (0.0, *[1.0 / inner_steps] * inner_steps)
        return tuple((1 - done) * first + done * last for first, last in zip(equal, own, strict=True))

    def during(self, iteration: int) -> "MamlTrpoSettings":
        """With the largest KL of a meta-iteration."""
        if not self.cosine_iterations:
            return self
        return dataclasses.replace(self, max_kl=self.max_kl * cosine(iteration, self.cosine_iterations))


LEAST = 0.1
"""What is left at the end of a cosine."""


def cosine(iteration: int, iterations: int) -> float:
    """A factor that falls from 1 to :data:`LEAST` along half a cosine, and stays there (arXiv 1608.03983)."""
    fallen = 0.5 * (1 - math.cos(math.pi * min(iteration / iterations, 1.0)))
    return 1 - (1 - LEAST) * fallen


MAML_TRPO = Method(
    name="maml-trpo",
    summary="MAML with a TRPO meta-update (arXiv 1703.03400)",
    module="rlmaml.algorithms.maml_trpo",
    inner=DifferentiatedInnerSettings,
    outer=MamlTrpoSettings,
)
