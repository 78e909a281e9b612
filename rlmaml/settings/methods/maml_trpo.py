"""Settings of MAML with a natural-gradient meta-update; several methods share them."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from rlmaml.settings.checks import require, require_not_negative, require_positive
from rlmaml.settings.inner import DifferentiatedInnerSettings
from rlmaml.settings.methods.method import Method
from rlmaml.settings.objective import ObjectiveSettings
from rlmaml.settings.trust_region import TrustRegionSettings

OuterOptimiser = Literal["trust_region", "adam"]


@dataclass(frozen=True)
class MamlTrpoSettings(ObjectiveSettings, TrustRegionSettings):
    """A meta-update within a trust region, on a weighted sum over the stages."""

    curvature_fraction: float = 0.1
    """Fraction of each task's episodes on whose states the curvature is taken; inner steps, loss, gradient and KL use
    all."""
    jacobian_fraction: float = 0.5
    """Fraction of each task's episodes on which the curvature sees how inner steps depend on where they are taken: 1 is
    exact (but for --inner-l2 and --inner-kl, which it does not see), 0 leaves it out."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        TrustRegionSettings.__post_init__(self)
        ObjectiveSettings.__post_init__(self)
        fraction = 0 < self.curvature_fraction <= 1
        require(self, "curvature_fraction", fraction, "a number above 0 and at most 1")
        require(self, "jacobian_fraction", 0 <= self.jacobian_fraction <= 1, "a number from 0 to 1")

    def during(self, iteration: int) -> "MamlTrpoSettings":
        """With the largest KL of a meta-iteration."""
        length = self.length(iteration)
        return self if length == 1.0 else dataclasses.replace(self, max_kl=self.max_kl * length)


@dataclass(frozen=True)
class MamlSettings(MamlTrpoSettings):
    """That meta-update, on episodes or query sets, or, on the query sets of supervised tasks, a step of Adam."""

    outer_optimiser: OuterOptimiser = "trust_region"
    """What the meta-update is: trust_region, a natural-gradient step, on episodes or, where what is predicted is a
    distribution, on query sets; or adam on the loss on the query sets of supervised tasks."""
    adam_step_size: float = 1e-3
    """Step size of Adam, where that is the outer optimiser."""
    max_gradient_norm: float = 0.0
    """Norm to which Adam's gradient is shortened where it is longer; 0 leaves it as it is."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        super().__post_init__()
        require_positive(self, "adam_step_size")
        require_not_negative(self, "max_gradient_norm")
        free = self.outer_optimiser != "adam" or not self.entropy_bonus
        require(self, "entropy_bonus", free, "0 where --outer-optimiser is adam: predictions need not explore")


MAML_TRPO = Method(
    name="maml-trpo",
    summary="MAML with a TRPO meta-update (arXiv 1703.03400)",
    module="rlmaml.algorithms.maml_trpo",
    inner=DifferentiatedInnerSettings,
    outer=MamlSettings,
)
