"""MAML for supervised tasks (arXiv 1703.03400, algorithm 2): Adam on the loss on the query sets, after adaptation.

    J(θ) = Σ_k w_k mean_i L(φ_ik, D_i^query),   φ_i0 = θ,   φ_i,k+1 = φ_ik − α_k ∇L(φ_ik, D_i^support).

All weight on the last stage is MAML; weight after every step is the multi-step loss of MAML++ (arXiv 1810.09502). What
adapts, with which rates and to which order is the inner rule's business, as in reinforcement learning: this is the
outer step of every method of :mod:`rlmaml.algorithms.maml_trpo` where ``--outer-optimiser`` is adam.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.algorithms.adam import adam, init_adam
from rlmaml.algorithms.meta_algorithm import Learner, replay
from rlmaml.base.errors import NonFiniteError
from rlmaml.base.regions import region
from rlmaml.core.parameters import as_meta, entries, flatten, meta_vector, named, repeated, unflatten
from rlmaml.core.task_sums import mean_over_usable
from rlmaml.core.types import Examples, Meta, Params
from rlmaml.rules.gradient_rule import GradientRule, losses_of, task_losses
from rlmaml.settings.methods.maml_trpo import MamlSettings


class QueryReport(NamedTuple):
    """What happened in a meta-update."""

    loss: float
    """The meta-objective before it."""
    query_loss: float
    """Mean loss on the query sets after the last inner step."""
    gradient_norm: float
    step_norm: float
    tasks_left_out: int
    replay_gap: float = 0.0
    """Nothing was sampled by the policy."""

    def numbers(self) -> dict[str, float]:
        """All of them."""
        return {name: float(value) for name, value in self._asdict().items()}


@dataclass(frozen=True)
class QueryLoss:
    """The meta-algorithm; Adam's moments are its state."""

    settings: MamlSettings
    reads_last_stage: bool = True

    def init(self, meta: Meta) -> Params:
        """Moments of 0."""
        return init_adam(named(meta))

    def update(
        self, learner: Learner, meta: Meta, state: Params, stages: Sequence[Examples]
    ) -> tuple[Meta, Params, QueryReport]:
        """One step of Adam.

        Raises:
            NonFiniteError: an inner step, the loss, its gradient or that one's norm is NaN or infinite.
            ExplodedError: an inner step led far away.
        """
        mean = mean_over_usable(learner.sums, [data.valid for data in stages])
        if not mean.num_usable:
            return meta, state, QueryReport(0.0, 0.0, 0.0, 0.0, mean.num_left_out)
        iteration = learner.streams.iteration
        with region("gradient"):
            points = repeated(meta, len(stages[0].valid))
            objective, last = self._losses(learner, points, stages, iteration)
            gradient = mean.total(torch.autograd.grad(mean.share(objective), entries(points), materialize_grads=True))
            loss = float(mean.of(objective.detach()))
            if not (math.isfinite(loss) and gradient.norm().isfinite()):
                raise NonFiniteError("The query loss or its gradient's norm", "the inner step sizes are too large")
        with region("outer_step"):
            rate = self.settings.adam_step_size * self.settings.length(iteration)
            taken = shortened(gradient, self.settings.max_gradient_norm)
            after, state = adam(named(meta), unflatten(taken, named(meta)), state, rate)
            new = as_meta(flatten(after.values()), meta)
        report = QueryReport(
            loss=loss,
            query_loss=float(mean.of(last.detach())),
            gradient_norm=float(gradient.norm()),
            step_norm=float((meta_vector(new) - meta_vector(meta)).norm()),
            tasks_left_out=mean.num_left_out,
        )
        return new, state, report

    def _losses(
        self, learner: Learner, points: Meta, stages: Sequence[Examples], iteration: int
    ) -> tuple[Float[Tensor, " task"], Float[Tensor, " task"]]:
        """The meta-objective of every task, and its loss after the last step."""
        policy, rule, query = learner.policy, learner.rule, stages[-1]
        assert isinstance(rule, GradientRule)
        replayed = replay(learner, points, stages, create_graph=True)
        last = losses_of(replayed.outputs[-1], query, rule.loss)
        *before, of_last = self.settings.weights(len(stages) - 1, iteration)
        objective = of_last * last
        for adaptation, weight in zip(replayed.adaptations[:-1], before, strict=True):
            if weight:
                objective = objective + weight * task_losses(policy, adaptation.params, query, rule.loss)
        return objective, last


def shortened(gradient: Float[Tensor, " parameter"], norm: float) -> Float[Tensor, " parameter"]:
    """``g · min(1, norm / ‖g‖)``, the gradient at no more than this norm (arXiv 1211.5063); 0 is for any.

    Through several inner steps single gradients are thousands of times as long as others, and stay in Adam's moments.
    """
    length = float(gradient.norm())
    return gradient if not norm or length <= norm else gradient * (norm / length)
