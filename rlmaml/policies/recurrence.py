"""The gated recurrent unit (arXiv 1406.1078), step by step and over whole trials with its gradient in closed form.

    r = σ(x_r + k_r),   z = σ(x_z + k_z),   n = tanh(x_n + r ⊙ k_n),   h' = (1 − z) ⊙ n + z ⊙ h,

x = W i + a what comes in, k = U h + b what is kept, reset after its product as in torch. With δ = ∂L/∂h' of a step,
all told,

    ∂L/∂k_n = δ ⊙ (1 − z) ⊙ (1 − n²) ⊙ r,   ∂L/∂k_z = δ ⊙ (h − n) ⊙ z ⊙ (1 − z),
    ∂L/∂k_r = δ ⊙ (1 − z) ⊙ (1 − n²) ⊙ k_n ⊙ r ⊙ (1 − r),   ∂L/∂x like ∂L/∂k, but for the r of its last part,

and the step before has δ ⊙ z + Uᵀ ∂L/∂k more. All but this sum is found for all steps at once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.policies.perceptron import laid_out, linear


def _gates(seen: Float[Tensor, "*axes gate"], kept: Float[Tensor, "*axes gate"]) -> tuple[Tensor, ...]:
    """Reset r, update z and new memory n, ``[*axes, memory]`` each, of the inputs of all three."""
    width = seen.shape[-1] // 3
    reset, update = torch.sigmoid(seen[..., : 2 * width] + kept[..., : 2 * width]).chunk(2, -1)
    return reset, update, torch.tanh(torch.addcmul(seen[..., 2 * width :], reset, kept[..., 2 * width :]))


def _next_memory(seen: Tensor, kept: Tensor, memory: Float[Tensor, "*axes memory"]) -> Float[Tensor, "*axes memory"]:
    """The memory after a step."""
    _, update, new = _gates(seen, kept)
    return torch.lerp(new, memory, update)


def one_step(weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """``(x, h) -> h'`` on ``[*axes, feature]``, of weights and biases as :func:`unrolled` takes them."""
    per_task = weights[0].dim() == 3
    read = [laid_out(weight) if per_task else weight for weight in weights]

    def advance(inputs: Tensor, memory: Tensor) -> Tensor:
        rows = [each.flatten(1, -2) if per_task else each for each in (inputs, memory)]
        seen, kept = (linear(*each) for each in zip(rows, read, biases, strict=True))
        return _next_memory(seen, kept, rows[1]).view(memory.shape)

    return advance


def unrolled(
    inputs: Float[Tensor, "*axes time feature"],
    start: Float[Tensor, "*axes memory"],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
) -> Float[Tensor, "*axes time memory"]:
    """The memory after every step.

    Args:
        inputs: what comes in.
        start: the memory before the first step.
        weights: of the inputs and of the memory, ``[*task, 3 × memory, feature]`` and ``[*task, 3 × memory, memory]``;
            with a task axis, it is the first one of ``inputs`` and ``start``.
        biases: of both, ``[*task, 3 × memory]``.
    """
    rows = inputs.flatten(weights[0].dim() - 2, -3)
    seen = _at_every_step(rows.transpose(-3, -2), weights[0], biases[0])
    begun = start.reshape(*rows.shape[:-2], start.shape[-1])
    memories: Tensor = _Unrolled.apply(seen, begun, weights[1], biases[1])  # type: ignore[no-untyped-call]
    return memories.transpose(-3, -2).reshape(*inputs.shape[:-1], start.shape[-1])


def _at_every_step(rows: Float[Tensor, "*task time row feature"], weight: Tensor, bias: Tensor) -> Tensor:
    return linear(rows.flatten(-3, -2), weight, bias).view(*rows.shape[:-1], bias.shape[-1])


class _Unrolled(torch.autograd.Function):
    """``(x, h_0, U, b) -> h``, x and h ``[*task, time, row, …]``, h_0 without time.

    Autograd takes derivatives of every order; :mod:`torch.func` takes none.
    """

    @staticmethod
    def forward(ctx: Any, seen: Tensor, start: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        read, memory, memories = laid_out(weight), start, []
        for step in seen.unbind(-3):
            memory = _next_memory(step, linear(memory, read, bias), memory)
            memories.append(memory)
        every = torch.stack(memories, -3)
        ctx.save_for_backward(seen, start, weight, bias, every)
        return every

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        seen, start, weight, bias, memories = ctx.saved_tensors
        before = torch.cat([start.unsqueeze(-3), memories[..., :-1, :, :]], -3)
        kept = _at_every_step(before, weight, bias)
        reset, update, new = _gates(seen, kept)
        to_new = (1 - update) * (1 - new.square())
        to_kept = to_new * reset
        to_reset = to_kept * kept[..., -start.shape[-1] :] * (1 - reset)
        factors = torch.stack([to_reset, (before - new) * update * (1 - update), to_kept], -2)

        *earlier, delta = gradient.unbind(-3)
        deltas = [delta]
        steps = zip([torch.zeros_like(start), *earlier], update.unbind(-3), factors.unbind(-4), strict=True)
        for own, stays, factor in reversed([*steps]):
            passed = (factor * delta.unsqueeze(-2)).flatten(-2)
            delta = torch.addcmul(own, delta, stays) + passed @ weight
            deltas.append(delta)
        every = torch.stack(deltas[-2::-1], -3)  # of all steps, without what goes to the start
        of_kept = (factors * every.unsqueeze(-2)).flatten(-2)
        of_seen = torch.cat([of_kept[..., : -start.shape[-1]], to_new * every], -1)
        of_weight = of_kept.flatten(-3, -2).mT @ before.flatten(-3, -2)
        return of_seen, delta, of_weight, of_kept.sum((-3, -2))
