"""Where a script computes, and the least of what it takes."""

from dataclasses import dataclass

from rlmaml.base.errors import UserError
from rlmaml.settings.run import RunSettings
from rlmaml.settings.whole import Settings


@dataclass(frozen=True)
class Machine:
    """Where a script computes."""

    device: str = "cpu"
    """Where steps of adaptation are computed: cpu, cuda or cuda:N."""
    rollout_device: str = "cpu"
    """Where the policy acts, beside the physics: cpu, cuda or cuda:N."""
    threads: int = 2
    """Threads of the physics, and of adaptation to several tasks at once."""

    def __post_init__(self) -> None:
        """Check the devices' names and the number of threads before anything is loaded.

        Raises:
            UserError: names the option, what was received and what is legal.
        """
        RunSettings(device=self.device, rollout_device=self.rollout_device, threads=self.threads)

    def applied(self, settings: Settings) -> Settings:
        """The settings on this machine."""
        return settings.changed(
            device=self.device,
            rollout_device=self.rollout_device,
            threads=self.threads,
            rollout_threads=self.threads,
        )


def check_least(*options: tuple[str, int, int]) -> None:
    """Raise a :class:`UserError` for the first option, given as its name, value and least value, that is too small."""
    for name, value, least in options:
        if value < least:
            raise UserError(f"{name} is {value}; it must be at least {least}.")
