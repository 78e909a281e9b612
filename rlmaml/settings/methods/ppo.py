"""Settings of proximal policy optimisation on whole trials."""

from dataclasses import dataclass

from rlmaml.settings.advantages import AdvantageSettings
from rlmaml.settings.checks import require, require_not_negative, require_positive
from rlmaml.settings.run import RunSettings
from rlmaml.settings.schedule import ScheduleSettings


@dataclass(frozen=True)
class PpoSettings(ScheduleSettings):
    """Epochs of Adam on PPO's clipped objective over whole trials, and on the value's error."""

    outer_step_size: float = 7e-4
    """Step size of Adam."""
    epochs: int = 4
    """Times that every trial is learned from."""
    minibatches: int = 4
    """Steps of Adam per epoch, each on the whole trials of as many tasks."""
    clip: float = 0.2
    """How far from 1 an action's probability ratio still counts."""
    value_weight: float = 0.5
    """Factor of half the value's mean squared error, in units of the typical return."""
    entropy_bonus: float = 0.0
    """Factor of the policy's mean entropy, in nats."""
    largest_gradient: float = 0.5
    """Norm to which a longer gradient is cut."""
    blocks: int = 1
    """Parts of consecutive tasks whose gradients are found apart and added: as many processes can share the tasks. More
    parts are slower in one process."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        super().__post_init__()
        require_positive(self, "outer_step_size epochs minibatches largest_gradient blocks")
        require_not_negative(self, "value_weight entropy_bonus")
        require(self, "clip", 0 < self.clip < 1, "a number between 0 and 1")

    def check_within(self, run: RunSettings, advantages: AdvantageSettings) -> None:
        """Refuse more parts than there are tasks, and values at a time limit, which trials do not keep.

        Raises:
            UserError: names the option, what was received and what is legal.
        """
        for name in ("minibatches", "blocks"):
            require(self, name, getattr(self, name) <= run.num_tasks, f"at most --tasks, which is {run.num_tasks}")
        require(advantages, "time_limit", not advantages.bootstraps, "fixed_horizon with trials, which end there")
