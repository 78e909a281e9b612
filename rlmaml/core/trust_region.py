"""One natural-gradient step within a trust region, on stages of which it need not know how they came about.

A *play* says what policies some point stands for: those of every stage that counts, on the stage's own episodes. For a
meta-algorithm it adapts first; for a step on a task's own episodes the point is the policy. The step is TRPO's
(arXiv 1502.05477): the natural gradient of the surrogate loss in the metric of the stages' KL, as far as that KL
allows, followed by a line search that plays anew at every candidate.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.base.errors import NonFiniteError
from rlmaml.base.regions import region
from rlmaml.core import distributions
from rlmaml.core.distributions import Distribution
from rlmaml.core.natural_gradient import conjugate_gradient, full_step, line_search
from rlmaml.core.surrogate import divergences, entropies, surrogate_losses
from rlmaml.core.task_sums import TaskMean
from rlmaml.core.types import Batch, Examples
from rlmaml.settings.trust_region import TrustRegionSettings


class Played(NamedTuple):
    """The stages that count, at some point.

    ``points`` is the point repeated along the task axis: the leaves to which derivatives are taken.
    """

    points: Sequence[Tensor]
    policies: Sequence[Distribution]
    batches: Sequence[Batch] | Sequence[Examples]
    """What they are judged on: episodes, or the examples that they predict."""
    weights: Sequence[float]


Play: TypeAlias = Callable[[Tensor], Played]
"""The stages at a point."""


Losses: TypeAlias = Callable[[Played, Sequence[Distribution]], Float[Tensor, " task"]]
"""Of every task, from the stages at a point and the policies that sampled."""


class Metric(NamedTuple):
    """The Hessian of the mean KL, by its products with vectors."""

    product: Callable[[Tensor], Tensor]
    precondition: Callable[[Tensor], Tensor] | None = None
    """Products with an approximation of the damped metric's inverse, where there is one."""


class TrustRegionStep(NamedTuple):
    """What happened in a step; losses are minus the surrogate advantage, KL is in nats."""

    point: Float[Tensor, " parameter"]
    loss_before: float
    loss_after: float
    kl: float
    gradient_norm: float
    step_norm: float
    cg_residual: float
    line_search_tries: int
    accepted: bool


def weighted_sum(played: Played, per_stage: Sequence[Float[Tensor, " task"]]) -> Float[Tensor, " task"]:
    """``Σ_k w_k x_k`` over the stages."""
    return torch.as_tensor(sum(weight * values for weight, values in zip(played.weights, per_stage, strict=True)))


def stage_losses(new: Played, old: Sequence[Distribution]) -> Float[Tensor, " task"]:
    """``−Σ_k w_k mean_steps(π_new/π_old · A)`` of every task over the stages k."""
    stages = zip(new.policies, old, new.batches, strict=True)
    return weighted_sum(new, [surrogate_losses(policy, before, batch) for policy, before, batch in stages])


def stage_entropies(played: Played) -> Float[Tensor, " task"]:
    """``Σ_k w_k mean_steps H(π_k)`` of every task over the stages k."""
    stages = zip(played.policies, played.batches, strict=True)
    return weighted_sum(played, [entropies(policy, batch) for policy, batch in stages])


def stage_divergences(new: Played, old: Sequence[Distribution]) -> Float[Tensor, " task"]:
    """``Σ_k w_k mean_steps KL(π_old ‖ π_new)`` of every task over the stages k."""
    stages = zip(new.policies, old, new.batches, strict=True)
    return weighted_sum(new, [divergences(before, policy, batch) for policy, before, batch in stages])


def step_weights(batch: Batch | Examples, weight: float, mean: TaskMean) -> Float[Tensor, "task ..."]:
    """Weight of every step or example of a stage in the mean KL over tasks; 0 on padding and where none counts."""
    valid = batch.valid
    counted = (valid.flatten(1) & mean.usable.unsqueeze(1)).to(batch.observations)
    return (weight * counted / (valid.flatten(1).sum(1, keepdim=True).clamp(min=1) * mean.num_usable)).view_as(valid)


def trust_region_step(
    start: Float[Tensor, " parameter"],
    played: Played,
    play: Play,
    curvature: Callable[[], Metric],
    settings: TrustRegionSettings,
    mean: TaskMean,
    losses_of: Losses = stage_losses,
) -> TrustRegionStep:
    """One TRPO step from ``start``.

    Args:
        start: the point.
        played: the stages at ``start``, with the graph to their points.
        play: the stages at another point, without a graph.
        curvature: makes the metric; called once.
        settings: of the trust region.
        mean: over the tasks that count.
        losses_of: what is lowered, for every task; the surrogate loss.

    Returns:
        The new point, which is ``start`` itself where the line search found nothing, and what happened.

    Raises:
        NonFiniteError: the loss or its gradient's norm is NaN or infinite.
    """
    with region("gradient"):
        old = [distributions.detach(policy) for policy in played.policies]
        losses = losses_of(played, old)
        loss = mean.of(losses.detach())
        gradient = mean.total(torch.autograd.grad(mean.share(losses), list(played.points), materialize_grads=True))
        if not (loss.isfinite() and gradient.norm().isfinite()):
            raise NonFiniteError("The loss or its gradient's norm", "the advantages or examples are not usable")

    with region("curvature"):
        metric = curvature()
        solution = conjugate_gradient(
            lambda vector: metric.product(vector) + settings.damping * vector,
            gradient,
            iterations=settings.iterations(preconditioned=metric.precondition is not None),
            precondition=metric.precondition,
        )

    def evaluate(point: Tensor) -> tuple[float, float]:
        with torch.no_grad():
            candidate = play(point)
            return float(mean.of(losses_of(candidate, old))), float(mean.of(stage_divergences(candidate, old)))

    with region("line_search"):
        found = line_search(
            evaluate,
            start,
            -full_step(solution, gradient, settings.max_kl),
            loss=float(loss),
            max_kl=settings.max_kl,
            backtrack=settings.backtrack,
            tries=settings.backtrack_tries,
        )
    return TrustRegionStep(
        point=found.point,
        loss_before=float(loss),
        loss_after=found.loss,
        kl=found.kl,
        gradient_norm=float(gradient.norm()),
        step_norm=float((found.point - start).norm()),
        cg_residual=float(solution.residual.norm() / gradient.norm()) if gradient.any() else 0.0,
        line_search_tries=found.tries,
        accepted=found.accepted,
    )
