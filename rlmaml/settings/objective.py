"""Settings of a meta-objective: a weighted sum over the stages."""

import math
from dataclasses import dataclass

from rlmaml.base.errors import UserError
from rlmaml.settings.checks import option, require, require_not_negative
from rlmaml.settings.inner import InnerSettings
from rlmaml.settings.schedule import ScheduleSettings


@dataclass(frozen=True)
class ObjectiveSettings(ScheduleSettings):
    """A meta-objective over the stages."""

    stage_weights: tuple[float, ...] = ()
    """Weights in the meta-objective of the policies before and after each inner step; the last number serves all
    further steps. Empty: the fully adapted policy alone."""
    anneal_stage_weights: int = 0
    """Meta-iterations over which the stage weights go from equal ones after every inner step to their own (as in
    MAML++)."""
    entropy_bonus: float = 0.0
    """Factor of the mean entropy of the stages' policies, in nats, in the meta-objective."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        super().__post_init__()
        require_not_negative(self, "anneal_stage_weights entropy_bonus")

    def check_with(self, inner: InnerSettings) -> None:
        """Refuse weights that leave nothing to be optimised, or no adaptation to be trained.

        Raises:
            UserError: a weight is negative or infinite, or all of the stages, or all after an inner step, are 0.
        """
        annealed = inner.inner_steps > 0 or not self.anneal_stage_weights
        require(self, "anneal_stage_weights", annealed, "0 where --inner-steps is 0: there are no stages to weigh")
        used = self.stage_weights[: inner.inner_steps + 1]
        if used and not (all(0 <= weight < math.inf for weight in self.stage_weights) and sum(used) > 0):
            raise UserError(
                f"{option('stage_weights')} is {self.stage_weights!r}; it must be finite numbers not below 0, and not "
                "all 0."
            )
        later = used[1:]
        legal = f"not all 0 for the {inner.inner_steps} after an inner step; --algorithm pretrained has none"
        require(self, "stage_weights", any(later) or not later, legal)

    def check_all_count(self, inner: InnerSettings) -> None:
        """Refuse more weights than stages where a command gives them; of a family's default ones the first count.

        Raises:
            UserError: names both numbers.
        """
        given, stages = len(self.stage_weights), inner.inner_steps + 1
        if given > stages:
            raise UserError(
                f"{option('stage_weights')} has {given} weights; there is one before the first step, one after each "
                f"of {option('inner_steps')} {inner.inner_steps}. Give at most {stages}."
            )

    def weights(self, inner_steps: int, iteration: int = 0) -> tuple[float, ...]:
        """Weight of each of the ``inner_steps + 1`` stages in a meta-iteration; they sum to 1."""
        given = self.stage_weights or (*[0.0] * inner_steps, 1.0)
        weights = (*given, *[given[-1]] * inner_steps)[: inner_steps + 1]
        own = tuple(weight / sum(weights) for weight in weights)
        if iteration >= self.anneal_stage_weights:
            return own
        done, equal = iteration / self.anneal_stage_weights, (0.0, *[1.0 / inner_steps] * inner_steps)
        if own == equal:  # a mean of both would round
            return own
        return tuple((1 - done) * first + done * last for first, last in zip(equal, own, strict=True))
