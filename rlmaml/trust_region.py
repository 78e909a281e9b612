"""A trust-region step as numerical linear algebra on vectors; nothing here knows about reinforcement learning."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

KL_MARGIN = 0.95
"""Share of the largest KL that a full step aims for, so that most full steps are accepted."""
LARGEST_CORRECTION = 10.0
"""Bound on the factor by which the measured KL changes the length of a step, either way."""


SERIAL_LENGTH = 16384
"""Torch adds up fewer numbers than 32768 on one thread, whatever the number of threads."""


class Solution(NamedTuple):
    """Result of :func:`conjugate_gradient`."""

    x: Float[Tensor, " n"]
    iterations: int
    relative_residual: float


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
        outputs: tensors that depend on ``inputs`` through a recorded graph.
        inputs: leaves of that graph.
        metric: M, a symmetric linear map of tangents of the outputs.
    """
    cotangents = [torch.zeros_like(output, requires_grad=True) for output in outputs]
    pulled_back = torch.autograd.grad(outputs, inputs, cotangents, create_graph=True, materialize_grads=True)

    def product(tangents: Sequence[Tensor]) -> Sequence[Tensor]:
        pushed = torch.autograd.grad(pulled_back, cotangents, tangents, retain_graph=True)
        return torch.autograd.grad(outputs, inputs, metric(pushed), retain_graph=True, materialize_grads=True)

    return product


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], b: Float[Tensor, " n"], *, iterations: int, tolerance: float = 0.0
) -> Solution:
    """Approximate solution of ``A x = b`` for a symmetric positive definite A known by its products.

    Starts at 0 and stops after ``iterations`` products, or once ``|b − A x| ≤ tolerance · |b|``.
    """
    x = torch.zeros_like(b)
    residual, direction = b.clone(), b.clone()
    size = squared = dot(residual, residual)
    done = 0
    while done < iterations and squared > tolerance**2 * size:
        image = product(direction)
        length = squared / dot(direction, image)
        x = x + length * direction
        residual = residual - length * image
        squared, previous = dot(residual, residual), squared
        direction = residual + (squared / previous) * direction
        done += 1
    return Solution(x, done, float((squared / size).sqrt()) if size > 0 else 0.0)


def full_step(
    evaluate: Callable[[Tensor], tuple[float, float]],
    product: Callable[[Tensor], Tensor],
    start: Float[Tensor, " n"],
    direction: Float[Tensor, " n"],
    max_kl: float,
) -> Float[Tensor, " n"]:
    """``direction`` scaled to the edge of the trust region.

    First ``½ sᵀ A s = max_kl`` (arXiv 1502.05477), where A may come from a part of the data. Then the KL at
    ``start + s``, on all data, corrects the length: it grows with its square.

    Args:
        evaluate: loss and KL at a point.
        product: products with A.
        start: where the step begins.
        direction: a direction of descent.
        max_kl: bound on the KL.
    """
    curvature = dot(direction, product(direction))
    if not curvature > 0:
        return torch.zeros_like(direction)
    step = direction * torch.sqrt(2.0 * max_kl / curvature)
    _, kl = evaluate(start + step)
    correction = math.sqrt(KL_MARGIN * max_kl / kl) if kl > 0 else 1.0
    return step * min(max(correction, 1 / LARGEST_CORRECTION), LARGEST_CORRECTION)


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
    """The first of ``start + backtrackʲ · step`` whose loss is below ``loss`` and whose KL is at most ``max_kl``.

    Args:
        evaluate: loss and KL at a point.
        start: where the step begins; handed back untouched if nothing is accepted.
        step: the full step.
        loss: the loss at ``start``.
        max_kl: bound on the KL.
        backtrack: factor between tries, in (0, 1).
        tries: number of tries.
    """
    for j in range(tries):
        point = start + backtrack**j * step
        candidate_loss, kl = evaluate(point)
        if candidate_loss < loss and kl <= max_kl:
            return LineSearch(point, candidate_loss, kl, j + 1, accepted=True)
    return LineSearch(start, loss, 0.0, tries, accepted=False)
