"""Settings of ProMP and MAML-PPO: several epochs of Adam on a clipped meta-objective."""

from dataclasses import dataclass

from rlmaml.settings.checks import require, require_not_negative, require_positive
from rlmaml.settings.inner import DifferentiatedInnerSettings, InnerSettings
from rlmaml.settings.methods.method import Method
from rlmaml.settings.objective import ObjectiveSettings


@dataclass(frozen=True)
class ClippedSettings(ObjectiveSettings):
    """Epochs of Adam on a clipped meta-objective, and on what holds the policies before each inner step."""

    outer_step_size: float = 1e-3
    """Step size of Adam."""
    epochs: int = 3
    """Steps of Adam per meta-update, all on the same episodes; arXiv 1810.06784 takes 5."""
    clip: float = 0.3
    """How far from 1 an action's probability ratio still counts."""
    kl_penalty: float = 5e-4
    """Factor of the KL between the policies before and after the meta-update at every stage before an inner step."""
    kl_target: float = 0.0
    """Divergence in nats at which a stage's factor stays: above 1.5 times it the factor doubles, below its 1.5th part
    it halves; 0: the factors are always the same."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        super().__post_init__()
        require_positive(self, "outer_step_size epochs")
        require_not_negative(self, "kl_penalty kl_target")
        require(self, "clip", 0 < self.clip < 1, "a number between 0 and 1")
        adapts = self.kl_penalty > 0 or not self.kl_target
        require(self, "kl_target", adapts, "0 where --kl-penalty is 0: nothing would ever double it")

    def check_with(self, inner: InnerSettings) -> None:
        """Refuse a target of divergences that there are none of.

        Raises:
            UserError: there are no inner steps, or see :class:`ObjectiveSettings`.
        """
        super().check_with(inner)
        held = inner.inner_steps > 0 or not self.kl_target
        require(self, "kl_target", held, "0 where --inner-steps is 0: the penalty is on policies before inner steps")


PROMP = Method(
    name="promp",
    summary="ProMP: clipped meta-objective, KL penalty on every inner step, low-variance curvature (arXiv 1810.06784)",
    module="rlmaml.algorithms.promp",
    inner=DifferentiatedInnerSettings,
    outer=ClippedSettings,
    stands_for={"inner_loss": "likelihood_ratio"},
)
MAML_PPO = PROMP._replace(
    name="maml-ppo",
    summary="MAML with a PPO meta-update: clipped meta-objective (arXiv 1703.03400 and 1707.06347)",
    module="rlmaml.algorithms.maml_ppo",
    stands_for={"inner_loss": "log_likelihood"},
)
