"""MAML with a TRPO meta-update (arXiv 1703.03400, algorithm 3, and arXiv 1502.05477).

A *stage* is the policy after k inner steps, together with the episodes it sampled; stage 0 is theta. The
meta-objective is the surrogate return of the stages, weighted by ``stage_weights``: all weight on the last one is
MAML. The step is the natural gradient in the metric of the stages' KL, seen through the inner steps, followed by
a line search that adapts anew at every candidate.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.base.errors import NonFiniteError
from rlmaml.base.stopwatch import Stopwatch
from rlmaml.base.threads import torch_threads
from rlmaml.core import distributions
from rlmaml.core.adapt import adapt_in_steps
from rlmaml.core.advantages import normalise
from rlmaml.core.distributions import Distribution
from rlmaml.core.losses import INNER_LOSSES, likelihood_ratio, mean_over_steps
from rlmaml.core.natural_gradient import conjugate_gradient, full_step, gauss_newton_product, line_search
from rlmaml.core.parameters import flatten, sum_over_tasks, unflatten, with_task_axis
from rlmaml.core.types import Batch, Params
from rlmaml.policies.policy import Policy
from rlmaml.settings.config import TrainConfig


class UpdateReport(NamedTuple):
    """What happened in a meta-update; losses are minus the surrogate advantage, KL is in nats."""

    loss_before: float
    loss_after: float
    kl: float
    gradient_norm: float
    step_norm: float
    cg_residual: float
    line_search_tries: int
    accepted: bool


class Stages(NamedTuple):
    """The stages that count, at some theta.

    ``points`` is theta repeated along the task axis: the leaves to which derivatives are taken.
    """

    points: list[Tensor]
    policies: list[Distribution]
    batches: list[Batch]
    weights: list[float]


def update(
    policy: Policy, theta: Params, pre: Sequence[Batch], post: Batch, config: TrainConfig, clock: Stopwatch
) -> tuple[Params, UpdateReport]:
    """One TRPO step on theta.

    Args:
        policy: the policy.
        theta: meta-parameters.
        pre: one batch per inner step, sampled before that step; the first one with theta itself.
        post: the batch sampled with the fully adapted parameters.
        config: settings of the inner steps and of the trust region.
        clock: receives ``gradient``, ``curvature`` and ``line_search``.

    Returns:
        The new theta (the very same object where the line search found nothing) and a report.

    Raises:
        NonFiniteError: the loss or its gradient is NaN or infinite.
    """
    batches = [*pre, post]
    start = flatten(theta.values())

    with clock.part("gradient"):
        stages = adapted_stages(policy, theta, batches, config)
        old = [distributions.detach(stage) for stage in stages.policies]
        loss = surrogate_loss(stages, old)
        gradient = sum_over_tasks(torch.autograd.grad(loss, stages.points, materialize_grads=True))
        loss_before = float(loss.detach())
        if not (loss.isfinite() and gradient.isfinite().all()):
            raise NonFiniteError("The loss or its gradient", "the advantages of the rollouts are not usable")

    with clock.part("curvature"):
        product = curvature_product(policy, theta, batches, config)
        solution = conjugate_gradient(product, gradient, iterations=config.cg_iterations)

    def evaluate(point: Tensor) -> tuple[float, float]:
        with torch.no_grad():
            candidate = adapted_stages(policy, unflatten(point, theta), batches, config, differentiable=False)
            return float(surrogate_loss(candidate, old)), float(mean_kl(candidate, old))

    with clock.part("line_search"):
        step = -full_step(solution, gradient, config.max_kl)
        found = line_search(
            evaluate,
            start,
            step,
            loss=loss_before,
            max_kl=config.max_kl,
            backtrack=config.backtrack,
            tries=config.backtrack_tries,
        )
    report = UpdateReport(
        loss_before=loss_before,
        loss_after=found.loss,
        kl=found.kl,
        gradient_norm=float(gradient.norm()),
        step_norm=float((found.point - start).norm()),
        cg_residual=float(solution.residual.norm() / gradient.norm()) if gradient.any() else 0.0,
        line_search_tries=found.tries,
        accepted=found.accepted,
    )
    return (unflatten(found.point, theta) if found.accepted else theta), report


def trust_region_step(
    policy: Policy, params: Params, batch: Batch, config: TrainConfig, max_kl: float, clock: Stopwatch
) -> Params:
    """One TRPO step of every task on its own episodes: :func:`update` of a single task without inner steps.

    Where an inner step has a fixed size, this one follows the natural gradient as far as the episodes' KL allows. It
    keeps improving a policy over many steps that plain gradients, noisy and badly scaled, leave where it is.

    Args:
        policy: the policy.
        params: task parameters, with a leading task axis.
        batch: episodes sampled with exactly these parameters.
        config: ``damping``, ``cg_iterations``, ``backtrack`` and ``backtrack_tries``. The curvature is that of all
            episodes.
        max_kl: largest mean KL between the policies before and after, in nats.
        clock: receives ``gradient``, ``curvature`` and ``line_search``.

    Returns:
        Task parameters; those of a task whose line search found nothing are as they were.

    Raises:
        NonFiniteError: a loss or its gradient is NaN or infinite.
    """
    alone = replace(config.without_inner_steps(), max_kl=max_kl, curvature_fraction=1.0)
    stepped = []
    with torch_threads(1):  # the products of a single task are small
        for task in range(len(batch.valid)):
            own = Batch(*(field[task : task + 1] for field in batch))
            theta, _ = update(policy, {name: tensor[task] for name, tensor in params.items()}, [], own, alone, clock)
            stepped.append(theta)
    return {name: torch.stack([theta[name] for theta in stepped]) for name in params}


def adapted_stages(
    policy: Policy,
    theta: Params,
    batches: Sequence[Batch],
    config: TrainConfig,
    *,
    differentiable: bool = True,
) -> Stages:
    """Adapt theta to every task on the given batches, and act with every stage of non-zero weight on its own batch."""
    points = with_task_axis(theta, len(batches[0].valid))
    task_params = adapt_in_steps(
        policy,
        points,
        batches[:-1],
        loss=INNER_LOSSES[config.inner_loss],
        step_sizes=config.step_sizes(len(batches) - 1),
        create_graph=differentiable and not config.first_order,
    )
    weights = config.normalised_stage_weights()
    counted = [k for k, weight in enumerate(weights) if weight > 0]
    return Stages(
        points=list(points.values()),
        policies=[policy(task_params[k], batches[k].observations) for k in counted],
        batches=[batches[k] for k in counted],
        weights=[weights[k] for k in counted],
    )


def surrogate_loss(new: Stages, old: Sequence[Distribution]) -> Float[Tensor, ""]:
    """``−Σ_k w_k mean_tasks mean_steps(π_new/π_old · A)`` over the stages k."""
    return weighted_mean(
        new,
        [
            torch.func.vmap(likelihood_ratio)(
                stage.log_prob(batch.actions) - before.log_prob(batch.actions), batch.advantages, batch.valid
            )
            for stage, before, batch in zip(new.policies, old, new.batches, strict=True)
        ],
    )


def mean_kl(new: Stages, old: Sequence[Distribution]) -> Float[Tensor, ""]:
    """``Σ_k w_k mean_tasks mean_steps KL(π_old ‖ π_new)`` over the stages k."""
    return weighted_mean(
        new,
        [
            torch.func.vmap(mean_over_steps)(before.kl(stage), batch.valid)  # type: ignore[arg-type]
            for stage, before, batch in zip(new.policies, old, new.batches, strict=True)
        ],
    )


def weighted_mean(stages: Stages, per_task: Sequence[Float[Tensor, " task"]]) -> Float[Tensor, ""]:
    """Mean over tasks, and the sum over stages by their weights."""
    total = sum(weight * values for weight, values in zip(stages.weights, per_task, strict=True))
    return torch.as_tensor(total).mean()


def curvature_product(
    policy: Policy, theta: Params, batches: Sequence[Batch], config: TrainConfig
) -> Callable[[Tensor], Tensor]:
    """Products of a vector with the Hessian of :func:`mean_kl` at theta, plus ``damping`` times the vector.

    At theta the KL and its gradient are 0, so its Hessian is exactly the Gauss-Newton matrix JᵀMJ: J is the Jacobian
    of the stages' action distributions through the inner steps, M their Fisher information. It is taken on the
    first ``curvature_fraction`` of every task's episodes.
    """
    num_episodes = math.ceil(config.curvature_fraction * batches[0].valid.shape[1])
    few = [first_episodes(batch, num_episodes, config.advantage_scale) for batch in batches]
    stages = adapted_stages(policy, theta, few, config)
    step_weights = [
        weight * batch.valid.to(batch.advantages) / (batch.valid.sum((1, 2), keepdim=True) * len(batch.valid))
        for weight, batch in zip(stages.weights, stages.batches, strict=True)
    ]
    fisher = [distributions.detach(stage) for stage in stages.policies]

    def metric(tangents: Sequence[Tensor]) -> list[Tensor]:
        remaining = iter(tangents)
        images = []
        for stage, weight in zip(fisher, step_weights, strict=True):
            tangent = type(stage)(*(next(remaining) for _ in stage))
            image = stage.fisher_product(tangent)  # type: ignore[arg-type]
            images += [field * weight.unsqueeze(-1) for field in image]
        return images

    outputs = [field for stage in stages.policies for field in stage]
    product = gauss_newton_product(outputs, stages.points, metric)

    def damped(vector: Tensor) -> Tensor:
        tangents = [v.expand_as(p) for v, p in zip(unflatten(vector, theta).values(), stages.points, strict=True)]
        return sum_over_tasks(product(tangents)) + config.damping * vector

    return damped


def first_episodes(batch: Batch, num_episodes: int, scale: float | None) -> Batch:
    """The first episodes of every task, their advantages normalised anew.

    Over a few episodes the advantages no longer average to 0. Left like that, their mean would enter the inner
    loss's second derivative as a multiple of the Fisher information, and swamp what all episodes agree on. Advantages
    that all tasks divide by one ``scale`` have it already; they are centred alone.
    """
    if num_episodes == batch.valid.shape[1]:
        return batch
    few = Batch(*(field[:, :num_episodes] for field in batch))
    return few._replace(advantages=normalise(few.advantages, few.valid, 1.0 if scale else None))
