"""MAML with a TRPO meta-update (arXiv 1703.03400, algorithm 3, and arXiv 1502.05477).

The meta-objective is the surrogate return of the stages, weighted: all weight on the last one is MAML,

    J(θ) = Σ_k w_k mean_i E[π_{φ_ik}(a|s) / π_old(a|s) · A(s, a)],   φ_i0 = θ,   φ_i,k+1 = φ_ik − α_k ∇L_i(φ_ik).

The step is the natural gradient in the metric of the stages' KL, seen through the inner steps, as far as that KL
allows, followed by a line search that adapts anew at every candidate.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rlmaml.algorithms.meta_algorithm import Learner, replay, replay_gaps
from rlmaml.base.regions import region
from rlmaml.core.parameters import as_meta, entries, meta_vector, repeated
from rlmaml.core.surrogate import replay_gap
from rlmaml.core.task_sums import largest, mean_over_usable
from rlmaml.core.trust_region import Played, TrustRegionStep, curvature_product, trust_region_step
from rlmaml.core.types import Batch, Meta, Params, first_episodes
from rlmaml.settings.maml_trpo import MamlTrpoSettings


class TrustRegionReport(NamedTuple):
    """What happened in a meta-update; losses are minus the surrogate advantage, KL is in nats."""

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
        self, learner: Learner, meta: Meta, state: Params, stages: Sequence[Batch]
    ) -> tuple[Meta, Params, TrustRegionReport]:
        """One TRPO step on the meta-parameters; they are handed back themselves where the line search found nothing.

        Raises:
            NonFiniteError: the loss or its gradient is NaN or infinite.
        """
        mean = mean_over_usable(learner.sums, [batch.valid for batch in stages])
        own_tasks = len(stages[0].valid)
        (every,) = learner.sums.gather([mean.usable])
        left_out = len(every) - mean.num_usable
        if not mean.num_usable:
            nothing = TrustRegionStep(meta_vector(meta), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, accepted=False)
            return meta, state, TrustRegionReport(*nothing[1:], replay_gap=0.0, tasks_left_out=left_out)

        weights = self.settings.weights(len(stages) - 1)
        counted = [k for k, weight in enumerate(weights) if weight > 0]
        start = meta_vector(meta)

        def adapted(point: Tensor, *, create_graph: bool) -> tuple[list[Tensor], list[Params]]:
            points = repeated(as_meta(point, meta), own_tasks)
            return entries(points), replay(learner, points, stages[:-1], create_graph=create_graph)

        def stages_of(points: list[Tensor], params: list[Params], batches: Sequence[Batch]) -> Played:
            return Played(
                points=points,
                policies=[learner.policy.unroll(params[k], batches[k])[0].distribution for k in counted],
                batches=[batches[k] for k in counted],
                weights=[weights[k] for k in counted],
            )

        with region("gradient"):
            points, params = adapted(start, create_graph=True)
            played = stages_of(points, params, stages)
            gap = largest(learner.sums, self._gaps(learner, played, params, stages, counted))

        def curvature() -> Callable[[Tensor], Tensor]:
            num_episodes = math.ceil(self.settings.curvature_fraction * stages[0].valid.shape[1])
            few = [first_episodes(batch, num_episodes) for batch in stages]
            seen = played if num_episodes == stages[0].valid.shape[1] else stages_of(points, params, few)
            return curvature_product(seen, mean, entries(meta))

        done = trust_region_step(
            start,
            played,
            lambda point: stages_of(*adapted(point, create_graph=False), stages),
            curvature,
            self.settings,
            mean,
        )
        report = TrustRegionReport(*done[1:], replay_gap=gap, tasks_left_out=left_out)
        return (as_meta(done.point, meta) if done.accepted else meta), state, report

    @staticmethod
    def _gaps(
        learner: Learner, played: Played, params: Sequence[Params], stages: Sequence[Batch], counted: Sequence[int]
    ) -> Tensor:
        """How far the replayed policies of every stage are from those that sampled; most are at hand already."""
        others = [k for k in range(len(stages)) if k not in counted]
        with torch.no_grad():
            gaps = [replay_gap(policy, batch) for policy, batch in zip(played.policies, played.batches, strict=True)]
        if others:
            gaps.append(replay_gaps(learner, [params[k] for k in others], [stages[k] for k in others]))
        return torch.stack(gaps).amax(0)


def meta_algorithm(settings: MamlTrpoSettings) -> MamlTrpo:
    """The meta-algorithm of some settings."""
    return MamlTrpo(settings)
