"""Settings of E-MAML: those of MAML, with credit for exploration.

The inner loss is the log-likelihood: the second derivatives of the others hold a part of the same credit already.
"""

from dataclasses import dataclass

from rlmaml.base.errors import UserError
from rlmaml.settings.checks import require, require_not_negative
from rlmaml.settings.inner import InnerSettings
from rlmaml.settings.methods.maml_trpo import MAML_TRPO, MamlTrpoSettings


@dataclass(frozen=True)
class EMamlSettings(MamlTrpoSettings):
    """A meta-update within a trust region that also credits what is sampled before each inner step."""

    exploration_credit: float = 1.0
    """Factor of the credit of a stage's episodes for later returns; 1 makes the meta-gradient unbiased, where discount
    and lambda are 1, and a hundredth learned faster on navigation."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        super().__post_init__()
        require_not_negative(self, "exploration_credit")

    def check_with(self, inner: InnerSettings) -> None:
        """Refuse to credit episodes that nothing is learned from.

        Raises:
            UserError: there are no inner steps, or there is no credit, or see :class:`MamlTrpoSettings`.
        """
        super().check_with(inner)
        if not inner.inner_steps:
            raise UserError(
                "--inner-steps is 0; it must be at least 1 for e-maml, which credits what is sampled before."
            )
        require(self, "exploration_credit", self.exploration_credit > 0, "above 0; without credit it is maml-trpo")


E_MAML = MAML_TRPO._replace(
    name="e-maml",
    summary="E-MAML: what is sampled before a step is credited for the return after it (arXiv 1803.01118)",
    module="rlmaml.algorithms.e_maml",
    outer=EMamlSettings,
    stands_for={"inner_loss": "log_likelihood"},
)
