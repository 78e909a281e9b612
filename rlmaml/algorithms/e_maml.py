"""E-MAML (arXiv 1803.01118): MAML whose meta-gradient credits the episodes before a step for the return after it.

    ∇J(θ) = mean_i E[∇_θ R(φ_i) + R(φ_i) Σ_{τ_i} ∇_θ log π_θ(a|s)],

the sum being over all episodes τ_i that task i's inner step was computed from. MAML leaves the second term out. It is
weighed by the returns of the other tasks as a baseline, and enters the trust-region step of
:mod:`rlmaml.algorithms.maml_trpo` as a term of its surrogate; see :mod:`rlmaml.core.exploration`. The credit needs no
derivative of the inner update: with ``first_order``, fomaml's gradient has the same second term.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from rlmaml.algorithms.maml_trpo import MamlTrpo
from rlmaml.algorithms.meta_algorithm import Learner
from rlmaml.core.distributions import Distribution
from rlmaml.core.exploration import credit_losses, credits_of
from rlmaml.core.task_sums import TaskMean
from rlmaml.core.trust_region import Losses, Played
from rlmaml.core.types import Batch
from rlmaml.settings.methods.e_maml import EMamlSettings
from rlmaml.settings.whole import Settings


@dataclass(frozen=True)
class EMaml(MamlTrpo):
    """The meta-algorithm; it has no state."""

    settings: EMamlSettings

    def counted(self, weights: Sequence[float]) -> list[int]:
        """All stages: those that do not count themselves are credited for others."""
        return list(range(len(weights)))

    def losses(self, learner: Learner, stages: Sequence[Batch], mean: TaskMean) -> Losses:
        """Minus the meta-objective, with the credit."""
        plain = super().losses(learner, stages, mean)
        credits_ = credits_of(stages, self.weights(learner, stages), mean)

        def of(new: Played, old: Sequence[Distribution]) -> Float[Tensor, " task"]:
            credited = credit_losses(new.policies, old, stages, credits_)
            return plain(new, old) + self.settings.exploration_credit * credited

        return of


def meta_algorithm(settings: Settings) -> EMaml:
    """The meta-algorithm of a run."""
    return EMaml(settings.outer)
