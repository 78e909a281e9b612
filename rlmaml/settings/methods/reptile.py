"""Settings of Reptile."""

from dataclasses import dataclass
from typing import Literal

from rlmaml.settings.checks import require, require_kinds, require_positive
from rlmaml.settings.inner import InnerSettings
from rlmaml.settings.methods.method import Method

OuterStep = Literal["plain", "adam"]


@dataclass(frozen=True)
class ReptileSettings:
    """A step towards the adapted parameters."""

    outer_step_size: float = 0.1
    """Step size towards the mean of the adapted parameters: 1 goes all the way (plain), or Adam's rate."""
    outer_step: OuterStep = "plain"
    """plain, or Adam on theta minus the mean of the adapted parameters as if that were a gradient."""
    sample_last_stage: bool = False
    """Also sample episodes of the fully adapted policies, which the update does not need, to show their return."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        require_kinds(self)
        require_positive(self, "outer_step_size")

    def check_with(self, inner: InnerSettings) -> None:
        """Refuse to learn from steps that are not taken, and an inner loss that is none of its own here.

        Raises:
            UserError: there are no inner steps, not everything adapts, or the inner loss is ``dice``.
        """
        require(inner, "adapt", inner.adapt == "all", "all for reptile, which learns nothing of what does not adapt")
        legal = "another for reptile, which takes no second derivative: dice differs by that alone"
        require(inner, "inner_loss", inner.inner_loss != "dice", legal)
        require(inner, "inner_steps", inner.inner_steps > 0, "at least 1 for reptile, which learns from the steps")


REPTILE = Method(
    name="reptile",
    summary="Reptile: theta moves towards the adapted parameters (arXiv 1803.02999)",
    module="rlmaml.algorithms.reptile",
    inner=InnerSettings,
    outer=ReptileSettings,
)
