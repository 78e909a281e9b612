"""Settings of RMA: a teacher who is told the task, trained by PPO, and a student who guesses from history."""

from dataclasses import dataclass

from rlmaml.settings.checks import require_positive
from rlmaml.settings.inner import TaughtSettings
from rlmaml.settings.methods.method import Method
from rlmaml.settings.methods.ppo import PpoSettings
from rlmaml.settings.methods.rl2 import RL2


@dataclass(frozen=True)
class RmaSettings(PpoSettings):
    """Epochs of PPO on what the teacher tells, and of regression on what the student guesses."""

    student_step_size: float = 1e-3
    """Step size of the student's Adam."""
    student_epochs: int = 4
    """Times that every trial of the student is learned from."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        super().__post_init__()
        require_positive(self, "student_step_size student_epochs")


RMA = Method(
    name="rma",
    summary="RMA: a teacher is told the task, a student guesses from history what the teacher says (arXiv 2107.04034)",
    module="rlmaml.algorithms.rma",
    inner=TaughtSettings,
    outer=RmaSettings,
    policy="latent",
    stands_for={"observe_task": True},
    defaults=RL2.defaults,
)
