"""Settings of the advantages: how much a step is worth."""

import math
from dataclasses import dataclass
from typing import Literal

from rlmaml.settings.checks import require, require_kinds

LARGEST_POWER = 10
"""Of rewards; beyond it the largest one alone would count."""
TimeLimit = Literal["fixed_horizon", "bootstrap"]


@dataclass(frozen=True)
class AdvantageSettings:
    """From rewards to advantages."""

    discount: float = 0.99
    """Discount factor per step."""
    gae_lambda: float = 1.0
    """Lambda of generalised advantage estimation; 1 is return minus baseline."""
    time_limit: TimeLimit = "fixed_horizon"
    """At the horizon the return ends (fixed_horizon, as in the papers) or goes on with the baseline (bootstrap)."""
    advantage_scale: float | None = None
    """Divide the centred advantages of all tasks by this, in reward units; None: by each task's own deviation."""
    inner_reward_power: float = 1.0
    """Power to which rewards are raised, with their sign, for an inner step. Where they are minus a distance, 2 makes
    the step the longer the farther the goal is; give --inner-advantage-scale with it."""
    inner_advantage_scale: float | None = None
    """Divide the centred advantages of all tasks by this for an inner step, in units of reward to that power;
    None: as --advantage-scale says."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        require_kinds(self)
        for name in ("discount", "gae_lambda"):
            require(self, name, 0 <= getattr(self, name) <= 1, "a number from 0 to 1")
        bounded = self.discount < 1 or not self.bootstraps
        require(self, "discount", bounded, "below 1 with --time-limit bootstrap: without an end, returns have no bound")
        for name in ("advantage_scale", "inner_advantage_scale"):
            scale = getattr(self, name)
            require(self, name, scale is None or 0 < scale < math.inf, "a finite number above 0")
        power = self.inner_reward_power
        require(self, "inner_reward_power", 0 < power <= LARGEST_POWER, f"a number above 0, at most {LARGEST_POWER}")
        scaled = power == 1 or self.inner_advantage_scale is not None
        legal = "1 without --inner-advantage-scale: each task's own deviation takes away how long a step it makes"
        require(self, "inner_reward_power", scaled, legal)

    @property
    def bootstraps(self) -> bool:
        """Whether an episode cut by the time limit goes on with the baseline's value."""
        return self.time_limit == "bootstrap"
