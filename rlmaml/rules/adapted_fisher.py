"""The metric of adapted policies, seen from theta: products with ``Σ_k J_kᵀ Π_kᵀ F_k Π_k J_k``, step by step.

F_k is the Fisher information of the actions of stage k, Π_k the Jacobian of its policies with respect to their
parameters, and J_k that of these parameters with respect to theta, the product of the inner steps' Jacobians. Every one
of them is applied by itself: no graph spans two inner steps, and none is of third order.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.core.kronecker import added, kronecker_inverse, rate_curvature
from rlmaml.core.parameters import as_meta, entries
from rlmaml.core.policy import Policy
from rlmaml.core.surrogate import fisher_products
from rlmaml.core.task_sums import TaskMean
from rlmaml.core.trust_region import Metric
from rlmaml.core.types import Meta, Params
from rlmaml.rules.inner_rule import StepJacobian
from rlmaml.settings.trust_region import TrustRegionSettings


class SeenStage(NamedTuple):
    """A stage whose divergence is bounded, on the states where it is measured."""

    params: Params
    """Task parameters of the stage."""
    data: Any
    """Holds the states."""
    step_weights: Tensor
    """``[task, episode, time]`` or ``[task, example]``, the weight of each in the mean divergence; 0 on padding."""


def adapted_fisher(
    policy: Policy,
    stages: Sequence[SeenStage | None],
    jacobians: Sequence[StepJacobian],
    reset: Sequence[str] = (),
) -> Callable[[Meta], Meta]:
    """Products with the metric of every task: from tangents of meta-parameters with a task axis to their images.

    Args:
        policy: the policy.
        stages: one more than there are inner steps; None where a stage's divergence does not count.
        jacobians: of the inner steps.
        reset: names of the weights that no stage has from theta.
    """
    products = [None if stage is None else _policy_fisher(policy, stage) for stage in stages]

    def product(tangent: Meta) -> Meta:
        moved = without(tangent.params, reset)
        images: list[Params | None] = []
        for k, own in enumerate(products):
            images.append(None if own is None else own(moved))
            if k < len(jacobians):
                moved = jacobians[k].forward(moved, tangent.rates)
        rates = {name: torch.zeros_like(rate) for name, rate in tangent.rates.items()}
        image = {name: torch.zeros_like(value) for name, value in tangent.params.items()}
        for k in reversed(range(len(products))):
            if k < len(jacobians):
                image, own_rates = jacobians[k].transpose(image)
                rates = {name: rate + own_rates[name] for name, rate in rates.items()}
            if (seen := images[k]) is not None:
                image = {name: value + seen[name] for name, value in image.items()}
        return Meta(without(image, reset), rates)

    return product


def without(params: Params, reset: Sequence[str]) -> Params:
    """The same tangents with 0 for some entries."""
    return params | {name: torch.zeros_like(params[name]) for name in reset}


def metric_of(
    policy: Policy,
    stages: Sequence[SeenStage | None],
    jacobians: Sequence[StepJacobian],
    weights: Sequence[float],
    like: Meta,
    settings: TrustRegionSettings,
    mean: TaskMean,
    reset: Sequence[str] = (),
) -> Metric:
    """The metric of all tasks on vectors, with its preconditioner where one is asked for and the kind has one.

    Args:
        policy: the policy.
        stages: see :func:`adapted_fisher`.
        jacobians: of the inner steps.
        weights: of the stages.
        like: meta-parameters without task axis, which a vector is shaped as.
        settings: of the trust region.
        mean: over the tasks.
        reset: see :func:`adapted_fisher`.
    """
    product = summed_over_tasks(adapted_fisher(policy, stages, jacobians, reset), like, mean)
    if settings.preconditioner == "none":
        return Metric(product)
    found = [policy.fisher_blocks(*stage) for stage in stages if stage is not None]
    blocks = [block for block in found if block is not None]
    if not blocks:
        return Metric(product)
    fisher = added(blocks, mean)
    later = [sum(weights[k + 1 :]) for k in range(len(jacobians))]
    rates = rate_curvature(fisher, [jacobian.moves for jacobian in jacobians], later, like.rates, mean)
    return Metric(product, kronecker_inverse(fisher, rates, like, settings.damping))


def summed_over_tasks(
    product: Callable[[Meta], Meta], like: Meta, mean: TaskMean
) -> Callable[[Float[Tensor, " parameter"]], Float[Tensor, " parameter"]]:
    """Products of one vector, the same tangent for every task, with the sum of all tasks' metrics.

    Args:
        product: of this process's own tasks.
        like: meta-parameters without task axis, which the vector is shaped as.
        mean: over the tasks.
    """
    own_tasks = len(mean.usable)

    def of_all_tasks(vector: Tensor) -> Tensor:
        tangent = as_meta(vector, like)
        per_task = Meta(*({name: v.expand(own_tasks, *v.shape) for name, v in part.items()} for part in tangent))
        return mean.total(entries(product(per_task)))

    return of_all_tasks


def _policy_fisher(policy: Policy, stage: SeenStage) -> Callable[[Params], Params]:
    """Products with ``Πᵀ F Π`` of every task: no inner step is in it."""
    points = {name: tensor.detach().requires_grad_() for name, tensor in stage.params.items()}
    with torch.enable_grad():
        distribution = policy.unroll(points, stage.data)[0].distribution
    products = fisher_products([distribution], [stage.step_weights], list(points.values()))
    return lambda tangent: dict(zip(points, products(list(tangent.values())), strict=True))
