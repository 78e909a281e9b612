"""A trust-region step as numerical linear algebra on vectors; nothing here knows about reinforcement learning."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

KL_MARGIN = 0.95
"""Share of the largest KL that a rescaled step aims for, so that most of them are accepted."""
LARGEST_GROWTH = 10.0
"""Bound on the factor by which a step with too little KL is lengthened."""


SERIAL_LENGTH = 16384
"""Torch adds up fewer numbers than 32768 on one thread, whatever the number of threads."""


class Solution(NamedTuple):
    """Result of :func:`conjugate_gradient`: x, and the residual ``b − A x``."""

    x: Float[Tensor, " n"]
    residual: Float[Tensor, " n"]


class LineSearch(NamedTuple):
    """Result of :func:`line_search`; where nothing was accepted, ``point`` is the starting point itself."""

    point: Float[Tensor, " n"]
    loss: float
    kl: float
    tries: int
    accepted: bool


def dot(a: Float[Tensor, " n"], b: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Inner product, added up in pieces so that its rounding does not depend on the number of threads."""
    return torch.stack([piece.sum() for piece in torch.split(a * b, SERIAL_LENGTH)]).sum()


def gauss_newton_product(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    metric: Callable[[Sequence[Tensor]], Sequence[Tensor]],
) -> Callable[[Sequence[Tensor]], Sequence[Tensor]]:
    """Products with ``JᵀMJ``, where J is the Jacobian of ``outputs`` with respect to ``inputs``.

    The graph behind ``outputs`` is kept. A product is one Jacobian-vector product (the derivative of the
    vector-Jacobian product, which is linear in its vector), M, and one vector-Jacobian product.

    Args:
        outputs: tensors that depend on ``inputs`` through a recorded graph; what is fixed has no tangent.
        inputs: leaves of that graph.
        metric: M, a symmetric linear map of tangents of the outputs.
    """
    moving = [i for i, output in enumerate(outputs) if output.requires_grad]
    moved = [outputs[i] for i in moving]
    cotangents = [torch.zeros_like(output, requires_grad=True) for output in moved]
    pulled_back = torch.autograd.grad(moved, inputs, cotangents, create_graph=True, materialize_grads=True)

    def product(tangents: Sequence[Tensor]) -> Sequence[Tensor]:
        pushed = [torch.zeros_like(output) for output in outputs]
        for i, own in zip(
            moving, torch.autograd.grad(pulled_back, cotangents, tangents, retain_graph=True), strict=True
        ):
            pushed[i] = own
        images = metric(pushed)
        images = [images[i] for i in moving]
        return torch.autograd.grad(moved, inputs, images, retain_graph=True, materialize_grads=True)

    return product


def conjugate_gradient(
    product: Callable[[Tensor], Tensor],
    b: Float[Tensor, " n"],
    *,
    iterations: int,
    precondition: Callable[[Tensor], Tensor] | None = None,
) -> Solution:
    """Approximate solution of ``A x = b`` for a symmetric positive definite A known by its products.

    Starts at 0 and stops after ``iterations`` products, or once b is met exactly.

    Args:
        product: products with A.
        b: the right side.
        iterations: number of products.
        precondition: products with an approximation of A's inverse, symmetric and positive definite; None for none.
    """
    precondition = precondition or torch.clone
    x, residual = torch.zeros_like(b), b.clone()
    direction = precondition(residual)
    squared = dot(residual, direction)
    done = 0
    while done < iterations and squared > 0:
        image = product(direction)
        length = squared / dot(direction, image)
        x = x + length * direction
        residual = residual - length * image
        image = precondition(residual)
        squared, previous = dot(residual, image), squared
        direction = image + (squared / previous) * direction
        done += 1
    return Solution(x, residual)


def full_step(solution: Solution, b: Float[Tensor, " n"], max_kl: float) -> Float[Tensor, " n"]:
    """The solution x of ``A x = b``, scaled to the edge of the trust region: ``½ sᵀ A s = max_kl`` (arXiv 1502.05477).

    ``A x = b − residual``, so that no further product is needed. Where A has no positive curvature along x, the step
    is 0.
    """
    curvature = dot(solution.x, b - solution.residual)
    if not curvature > 0:
        return torch.zeros_like(b)
    return solution.x * torch.sqrt(2.0 * max_kl / curvature)


def line_search(
    evaluate: Callable[[Tensor], tuple[float, float]],
    start: Float[Tensor, " n"],
    step: Float[Tensor, " n"],
    *,
    loss: float,
    max_kl: float,
    backtrack: float,
    tries: int,
) -> LineSearch:
    """A point along ``step`` whose loss is below ``loss`` and whose KL is at most ``max_kl``.

    The step's length comes from a curvature that may have seen a part of the data only. So the first try also
    measures: where its KL misses the edge of the trust region, above it or by more than half below it, the step is
    scaled to the edge, once (the KL grows with the square of the length). After that it shrinks by ``backtrack``.

    Args:
        evaluate: loss and KL at a point.
        start: where the step begins; handed back untouched if nothing is accepted.
        step: the full step.
        loss: the loss at ``start``.
        max_kl: bound on the KL.
        backtrack: factor between tries, in (0, 1).
        tries: number of tries.
    """
    for done in range(1, tries + 1):
        point = start + step
        candidate_loss, kl = evaluate(point)
        if done == 1 < tries and 0 < kl < math.inf and not 0.5 * max_kl <= kl <= max_kl:
            step = step * min(math.sqrt(KL_MARGIN * max_kl / kl), LARGEST_GROWTH)
        elif candidate_loss < loss and kl <= max_kl:
            return LineSearch(point, candidate_loss, kl, done, accepted=True)
        else:
            step = backtrack * step
    return LineSearch(start, loss, 0.0, tries, accepted=False)
