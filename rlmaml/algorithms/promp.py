"""ProMP, proximal meta-policy search (arXiv 1810.06784, algorithm 1): Adam on a clipped meta-objective.

    J(θ) = Σ_k w_k mean_i E[min(r_ik A, clip(r_ik, 1 − ε, 1 + ε) A)] − Σ_{k<K} η_k mean_i KL(π_old,ik ‖ π_ik),

where ``r_ik = π_ik / π_old,ik`` are the probability ratios of the policies after k inner steps, adapted anew at every
epoch. With the inner loss ``likelihood_ratio``, whose second derivative has low variance, this is ProMP; with
``log_likelihood`` it is :mod:`rlmaml.algorithms.maml_ppo`. The factors η_k adapt as in arXiv 1707.06347, section 4.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.algorithms.adam import adam, init_adam
from rlmaml.algorithms.meta_algorithm import Learner, replay, replay_gaps
from rlmaml.base.errors import NonFiniteError
from rlmaml.base.regions import region
from rlmaml.core.distributions import Distribution, detach
from rlmaml.core.parameters import as_meta, entries, flatten, for_every_task, meta_vector, named, repeated, unflatten
from rlmaml.core.surrogate import clipped_losses, divergences, entropies
from rlmaml.core.task_sums import TaskMean, largest, mean_over_usable
from rlmaml.core.types import Batch, Meta, Params
from rlmaml.settings.methods.promp import ClippedSettings
from rlmaml.settings.whole import Settings

FACTORS = "kl_factors"
TOLERATED = 1.5
"""Factor on the target within which a KL leaves its factor as it is."""


class ClippedReport(NamedTuple):
    """What happened in a meta-update; losses are minus the clipped objective, KL is in nats."""

    loss_before: float
    """In the first epoch."""
    loss_after: float
    """Before the last epoch's step."""
    kl: float
    """Mean over tasks of the KL of the stages that count, old to new."""
    kl_inner: float
    """Largest KL of a stage before an inner step."""
    kl_factor: float
    """Largest factor of these."""
    gradient_norm: float
    """In the first epoch."""
    step_norm: float
    replay_gap: float
    tasks_left_out: int

    def numbers(self) -> dict[str, float]:
        """All of them."""
        return {name: float(value) for name, value in self._asdict().items()}


@dataclass(frozen=True)
class Promp:
    """The meta-algorithm; Adam's moments and the KL's factors are its state.

    Attributes:
        settings: of the epochs.
        inner_steps: how many there are, each with a factor of its own.
    """

    settings: ClippedSettings
    inner_steps: int
    reads_last_stage: bool = True

    def init(self, meta: Meta) -> Params:
        """Moments of 0, and the factors as given."""
        like = next(iter(meta.params.values()))
        return init_adam(named(meta)) | {FACTORS: like.new_full((self.inner_steps,), self.settings.kl_penalty)}

    def update(
        self, learner: Learner, meta: Meta, state: Params, stages: Sequence[Batch]
    ) -> tuple[Meta, Params, ClippedReport]:
        """Epochs of Adam on the same episodes.

        Raises:
            NonFiniteError: the loss or its gradient's norm is NaN or infinite.
        """
        mean = mean_over_usable(learner.sums, [batch.valid for batch in stages])
        if not mean.num_usable:
            return meta, state, ClippedReport(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, mean.num_left_out)

        factors = state[FACTORS]
        moments = {name: tensor for name, tensor in state.items() if name != FACTORS}
        rate = self.settings.outer_step_size * self.settings.length(learner.streams.iteration)
        now, old, gap, losses, norms = meta, list[Distribution](), 0.0, list[float](), list[float]()
        for _ in range(self.settings.epochs):
            with region("gradient"):
                points = repeated(now, len(stages[0].valid))
                said = replay(learner, points, stages, create_graph=True).outputs
                policies = [outputs.distribution for outputs in said]
                if not old:
                    old = [detach(policy) for policy in policies]
                    gap = largest(learner.sums, replay_gaps(said, stages))
                per_task = self._losses(policies, old, stages, factors, learner.streams.iteration)
                gradient = mean.total(
                    torch.autograd.grad(mean.share(per_task), entries(points), materialize_grads=True)
                )
                losses.append(float(mean.of(per_task.detach())))
                norms.append(float(gradient.norm()))
                if not (math.isfinite(losses[-1]) and math.isfinite(norms[-1])):
                    cause = "the advantages of the rollouts are not usable"
                    raise NonFiniteError("The loss or its gradient's norm", cause)
            with region("outer_step"):
                after, moments = adam(named(now), unflatten(gradient, named(now)), moments, rate)
                now = as_meta(flatten(after.values()), meta)
        with region("divergence"):
            kls = self._kls(learner, now, old, stages, mean)
        weights = self.settings.weights(len(stages) - 1, learner.streams.iteration)
        inner = kls[: self.inner_steps]
        adapted = self._adapted(factors, inner)
        report = ClippedReport(
            loss_before=losses[0],
            loss_after=losses[-1],
            kl=sum(weight * kl for weight, kl in zip(weights, kls, strict=True)),
            kl_inner=max(inner, default=0.0),
            kl_factor=float(factors.max()) if len(factors) else 0.0,
            gradient_norm=norms[0],
            step_norm=float((meta_vector(now) - meta_vector(meta)).norm()),
            replay_gap=gap,
            tasks_left_out=mean.num_left_out,
        )
        return now, moments | {FACTORS: adapted}, report

    def _losses(
        self,
        new: Sequence[Distribution],
        old: Sequence[Distribution],
        stages: Sequence[Batch],
        factors: Float[Tensor, " step"],
        iteration: int,
    ) -> Float[Tensor, " task"]:
        """Minus the meta-objective of every task."""
        settings = self.settings
        terms: list[Tensor] = []
        for k, weight in enumerate(settings.weights(len(stages) - 1, iteration)):
            if weight:
                terms.append(weight * clipped_losses(new[k], old[k], stages[k], settings.clip))
            if weight and settings.entropy_bonus:
                terms.append(-weight * settings.entropy_bonus * entropies(new[k], stages[k]))
            if k < self.inner_steps:
                terms.append(factors[k] * divergences(old[k], new[k], stages[k]))
        return torch.stack(terms).sum(0)

    def _kls(
        self, learner: Learner, meta: Meta, old: Sequence[Distribution], stages: Sequence[Batch], mean: TaskMean
    ) -> list[float]:
        """Mean KL of every stage between the policies that sampled and those of ``meta``."""
        with torch.no_grad():
            points = for_every_task(meta, len(stages[0].valid))
            said = replay(learner, points, stages, create_graph=False).outputs
            return [
                float(mean.of(divergences(before, outputs.distribution, batch)))
                for before, outputs, batch in zip(old, said, stages, strict=True)
            ]

    def _adapted(self, factors: Float[Tensor, " step"], kls: Sequence[float]) -> Float[Tensor, " step"]:
        """The factors of the next meta-update."""
        target = self.settings.kl_target
        if not target:
            return factors
        changes = [2.0 if kl > TOLERATED * target else 0.5 if kl < target / TOLERATED else 1.0 for kl in kls]
        return factors * torch.tensor(changes).to(factors)


def meta_algorithm(settings: Settings) -> Promp:
    """The meta-algorithm of a run."""
    return Promp(settings.outer, settings.inner.inner_steps)
