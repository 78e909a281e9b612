"""Settings of the inner rule: how task parameters change between stages."""

from dataclasses import dataclass
from typing import Literal

from rlmaml.settings.checks import all_finite_and_positive, require, require_not_negative

InnerLoss = Literal["log_likelihood", "likelihood_ratio", "dice"]


@dataclass(frozen=True)
class InnerSettings:
    """Gradient steps on a task's own episodes."""

    inner_steps: int = 1
    """Inner gradient steps per task, each on fresh episodes; 0 trains one policy over all tasks, without adaptation."""
    inner_step_sizes: tuple[float, ...] = (0.1,)
    """Inner step sizes in order; the last one serves all further steps, also in evaluation."""
    inner_loss: InnerLoss = "log_likelihood"
    """Inner loss: log_likelihood (MAML), likelihood_ratio (LVC, as in ProMP) or dice."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        require_not_negative(self, "inner_steps")
        sizes = self.inner_step_sizes
        require(
            self, "inner_step_sizes", sizes and all_finite_and_positive(sizes), "one or more finite numbers above 0"
        )


@dataclass(frozen=True)
class DifferentiatedInnerSettings(InnerSettings):
    """Gradient steps through which a meta-gradient passes."""

    learn_step_sizes: bool = False
    """Learn the inner step sizes along with theta, one per layer and step, from these (as in MAML++)."""
    first_order: bool = False
    """Leave out the derivative of the inner update (first-order MAML)."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        super().__post_init__()
        learns = self.inner_steps > 0 or not self.learn_step_sizes
        require(self, "learn_step_sizes", learns, "off where --inner-steps is 0: there is no step to learn")
