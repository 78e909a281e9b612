"""MAML with a TRPO meta-update (arXiv 1703.03400, algorithm 3, and arXiv 1502.05477).

The meta-objective is the surrogate return of the stages, weighted: all weight on the last one is MAML,

    J(θ) = Σ_k w_k mean_i E[π_{φ_ik}(a|s) / π_old(a|s) · A(s, a)],   φ_i0 = θ,   φ_i,k+1 = φ_ik − α_k ∇L_i(φ_ik).

The step is the natural gradient in the metric of the stages' KL, seen through the inner steps, as far as that KL
allows, followed by a line search that adapts anew at every candidate.

On supervised tasks J(θ) = −Σ_k w_k mean_i L(φ_ik, D_i^query), and the KL is that of what is predicted on the query
sets: where L is a negative log-likelihood, this is the natural gradient of Amari (1998; arXiv 1412.1193), whose metric
is the Gauss–Newton matrix of L.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.algorithms.meta_algorithm import Learner, Replayed, replay, replay_gaps
from rlmaml.algorithms.query_loss import QueryLoss
from rlmaml.base.regions import region
from rlmaml.core.distributions import Distribution
from rlmaml.core.parameters import as_meta, detached, entries, for_every_task, meta_vector, repeated
from rlmaml.core.task_sums import TaskMean, largest, mean_over_usable
from rlmaml.core.trust_region import (
    Losses,
    Metric,
    Played,
    TrustRegionStep,
    stage_entropies,
    stage_losses,
    step_weights,
    trust_region_step,
    weighted_sum,
)
from rlmaml.core.types import Adaptation, Batch, Examples, Meta, Outputs, Params, first_episodes
from rlmaml.rules.adapted_fisher import SeenStage, metric_of
from rlmaml.rules.gradient_rule import GradientRule, losses_of
from rlmaml.settings.methods.maml_trpo import MamlTrpoSettings
from rlmaml.settings.whole import Settings


class TrustRegionReport(NamedTuple):
    """What happened in a meta-update; losses are minus the surrogate advantage, or on query sets; KL is in nats."""

    loss_before: float
    loss_after: float
    kl: float
    gradient_norm: float
    step_norm: float
    cg_residual: float
    line_search_tries: int
    accepted: bool
    replay_gap: float
    tasks_left_out: int

    def numbers(self) -> dict[str, float]:
        """All of them."""
        return {name: float(value) for name, value in self._asdict().items()}


@dataclass(frozen=True)
class MamlTrpo:
    """The meta-algorithm; it has no state."""

    settings: MamlTrpoSettings
    reads_last_stage: bool = True

    def init(self, meta: Meta) -> Params:  # noqa: ARG002
        """Nothing."""
        return {}

    def update(
        self, learner: Learner, meta: Meta, state: Params, stages: Sequence[Batch] | Sequence[Examples]
    ) -> tuple[Meta, Params, TrustRegionReport]:
        """One TRPO step on the meta-parameters; they are handed back themselves where the line search found nothing.

        Raises:
            NonFiniteError: the loss or its gradient's norm is NaN or infinite.
        """
        mean = mean_over_usable(learner.sums, [batch.valid for batch in stages])
        if not mean.num_usable:
            nothing = TrustRegionStep(meta_vector(meta), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, accepted=False)
            return meta, state, TrustRegionReport(*nothing[1:], replay_gap=0.0, tasks_left_out=mean.num_left_out)

        with region("gradient"):
            played, replayed = self._play(learner, meta, stages, create_graph=True)
            gap = largest(learner.sums, replay_gaps(replayed.outputs, stages))
        losses_of = self.losses(learner, stages, mean)
        done = trust_region_step(
            meta_vector(meta),
            played,
            lambda point: self._play(learner, as_meta(point, meta), stages, create_graph=False)[0],
            lambda: self._metric(learner, meta, replayed.adaptations, stages, mean),
            self.settings.during(learner.streams.iteration),
            mean,
            losses_of,
        )
        report = TrustRegionReport(*done[1:], replay_gap=gap, tasks_left_out=mean.num_left_out)
        return (as_meta(done.point, meta) if done.accepted else meta), state, report

    def surrogate_gain(self, learner: Learner, old: Meta, new: Meta, stages: Sequence[Batch]) -> float:
        """How much the meta-objective rises from ``old`` to ``new``, on episodes sampled from ``old``."""
        mean = mean_over_usable(learner.sums, [batch.valid for batch in stages])
        with torch.no_grad():
            before, after = (self._play(learner, meta, stages, create_graph=False)[0] for meta in (old, new))
            losses_of = self.losses(learner, stages, mean)
            losses = [losses_of(played, before.policies) for played in (before, after)]
            return float(mean.of(losses[0]) - mean.of(losses[1]))

    def losses(self, learner: Learner, stages: Sequence[Any], mean: TaskMean) -> Losses:  # noqa: ARG002
        """Minus the meta-objective of every task: surrogate, and entropy where asked for; or the loss on query sets."""
        if isinstance(stages[-1], Examples):
            return query_losses(learner.rule)

        def of(new: Played, old: Sequence[Distribution]) -> Float[Tensor, " task"]:
            losses = stage_losses(new, old)
            return (
                losses - self.settings.entropy_bonus * stage_entropies(new) if self.settings.entropy_bonus else losses
            )

        return of

    def counted(self, weights: Sequence[float]) -> list[int]:
        """Which stages the objective reads: those of a weight above 0."""
        return [k for k, weight in enumerate(weights) if weight > 0]

    def weights(self, learner: Learner, stages: Sequence[Any]) -> tuple[float, ...]:
        """Of the stages, in this meta-iteration."""
        return self.settings.weights(len(stages) - 1, learner.streams.iteration)

    def _play(
        self, learner: Learner, meta: Meta, stages: Sequence[Any], *, create_graph: bool
    ) -> tuple[Played, Replayed]:
        """Adapt from ``meta`` to every task, and act with every stage that counts on its own episodes."""
        points = repeated(meta, len(stages[0].valid))
        replayed = replay(learner, points, stages, create_graph=create_graph, checked=create_graph)
        weights = self.weights(learner, stages)
        counted = self.counted(weights)
        judged = judged_on(stages)
        said = [
            replayed.outputs[k]
            if judged[k] is stages[k]
            else learner.policy.unroll(replayed.adaptations[k].params, judged[k])[0]
            for k in counted
        ]
        played = Played(
            points=entries(points),
            policies=[own.distribution for own in said],
            batches=[judged[k] for k in counted],
            weights=[weights[k] for k in counted],
        )
        return played, replayed

    def _metric(
        self, learner: Learner, meta: Meta, adaptations: Sequence[Adaptation], stages: Sequence[Any], mean: TaskMean
    ) -> Metric:
        """The Hessian of the mean KL at ``meta``, on the states of a fraction of the episodes.

        The policies are those adapted on all episodes. On how many of them the inner steps' Jacobians see how a step
        bends, ``jacobian_fraction`` says: on all of them the Hessian is exact, but for terms that hold task parameters
        near theta. On examples, which are few, it is.
        """
        seen: list[SeenStage | None] = []
        weights = self.weights(learner, stages)
        for own, batch, weight in zip(adaptations, judged_on(stages), weights, strict=True):
            states, params = some_of(batch, self.settings.curvature_fraction), detached(own.params)
            seen.append(SeenStage(params, states, step_weights(states, weight, mean)) if weight > 0 else None)
        points = for_every_task(meta, len(stages[0].valid))
        jacobians = [
            learner.rule.jacobian(
                learner.policy,
                points,
                before,
                after,
                k,
                bends_on=centred(some_of(batch, share)) if (share := self.settings.jacobian_fraction) else None,
            )
            for k, ((before, after), batch) in enumerate(zip(itertools.pairwise(adaptations), stages[:-1], strict=True))
        ]
        return metric_of(learner.policy, seen, jacobians, weights, meta, self.settings, mean, learner.rule.reset)


def judged_on(stages: Sequence[Any]) -> Sequence[Any]:
    """On what the policies of every stage are judged: their own episodes, or all of them on the query sets."""
    return [stages[-1]] * len(stages) if isinstance(stages[-1], Examples) else stages


def query_losses(rule: Any) -> Losses:
    """``Σ_k w_k L(φ_k, D^query)`` of every task, L being the loss of its inner steps."""
    assert isinstance(rule, GradientRule)

    def of(new: Played, old: Sequence[Distribution]) -> Float[Tensor, " task"]:  # noqa: ARG001
        pairs = zip(new.policies, new.batches, strict=True)
        return weighted_sum(new, [losses_of(Outputs(policy), data, rule.loss) for policy, data in pairs])

    return of


def some_of(data: Any, share: float) -> Any:
    """The first episodes of every task, a share of them; of examples all."""
    return data if isinstance(data, Examples) else first_episodes(data, share)


def centred(batch: Any) -> Any:
    """The batch with advantages whose mean is 0 in every task; examples as they are.

    Over a few of the episodes they no longer average to 0. Left like that, their mean would enter the inner loss's
    second derivative as a multiple of the Fisher information, and swamp what all episodes agree on.
    """
    if isinstance(batch, Examples):
        return batch
    count = batch.valid.sum((1, 2), keepdim=True).clamp(min=1)
    means = {
        name: (getattr(batch, name) * batch.valid).sum((1, 2), keepdim=True) / count
        for name in ("advantages", "inner_advantages")
    }
    return batch._replace(**{name: (getattr(batch, name) - mean) * batch.valid for name, mean in means.items()})


def meta_algorithm(settings: Settings) -> MamlTrpo | QueryLoss:
    """The meta-algorithm of a run: this one or, with Adam, that of the query sets of supervised tasks."""
    return QueryLoss(settings.outer) if settings.outer.outer_optimiser == "adam" else MamlTrpo(settings.outer)
