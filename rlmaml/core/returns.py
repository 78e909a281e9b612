"""Discounted returns and generalised advantages of padded episodes."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def discounted_sum(
    terms: Float[Tensor, "*axes time"],
    valid: Bool[Tensor, "*axes time"],
    discount: float,
    final: Float[Tensor, "*axes"] | None = None,
) -> Float[Tensor, "*axes time"]:
    """``G_t = Σ_{k ≥ t} discount^(k−t) x_k`` over the valid steps, and 0 on padding.

    All sums are one product with the triangular matrix of discounts.

    Args:
        terms: what is summed, one number per step.
        valid: which steps count; they come before the padding.
        discount: factor per step, in [0, 1].
        final: ``G`` after the last valid step; 0 if not given.
    """
    powers = discount_powers(discount, terms)
    steps = torch.arange(terms.shape[-1], device=terms.device)
    ahead = steps.unsqueeze(-1) - steps  # how far step k, the row, lies ahead of step t, the column
    discounts = torch.where(ahead >= 0, powers[ahead.clamp(min=0)], 0.0)
    sums = torch.where(valid, terms, 0.0) @ discounts
    if final is not None:
        to_the_end = valid.sum(-1, keepdim=True) - steps
        sums = sums + powers[to_the_end.clamp(min=0)] * final.unsqueeze(-1)
    return sums * valid


def discount_powers(discount: float, like: Float[Tensor, "*axes time"]) -> Float[Tensor, " power"]:
    """``discount⁰, …, discountᵀ`` for T steps: a table, so that a power is the same wherever it is used."""
    return discount ** torch.arange(like.shape[-1] + 1, dtype=like.dtype, device=like.device)


def temporal_differences(
    rewards: Float[Tensor, "*axes time"],
    values: Float[Tensor, "*axes time"],
    final_values: Float[Tensor, "*axes"],
    valid: Bool[Tensor, "*axes time"],
    discount: float,
) -> Float[Tensor, "*axes time"]:
    """``δ_t = r_t + discount · V(s_{t+1}) − V(s_t)``; the state after the last valid step has ``final_values``."""
    next_values = torch.cat([values[..., 1:], torch.zeros_like(values[..., :1])], -1)
    is_last = valid & ~torch.cat([valid[..., 1:], torch.zeros_like(valid[..., :1])], -1)
    next_values = torch.where(is_last, final_values.unsqueeze(-1), next_values)
    return (rewards + discount * next_values - values) * valid


def generalised_advantages(
    rewards: Float[Tensor, "*axes time"],
    values: Float[Tensor, "*axes time"],
    final_values: Float[Tensor, "*axes"],
    valid: Bool[Tensor, "*axes time"],
    discount: float,
    gae_lambda: float,
) -> Float[Tensor, "*axes time"]:
    """Generalised advantage estimation (arXiv 1506.02438): ``A_t = Σ_l (discount · λ)^l δ_{t+l}``.

    With λ = 1 and final values of 0 it is the discounted return minus the baseline. Padding gets 0.
    """
    differences = temporal_differences(rewards, values, final_values, valid, discount)
    return discounted_sum(differences, valid, discount * gae_lambda)


def advantages_over_time(
    rewards: Float[Tensor, "*axes time"],
    values: Float[Tensor, "*axes time"],
    valid: Bool[Tensor, "*axes time"],
    time: Int[Tensor, "*axes time"],
    discount: float,
    gae_lambda: float,
) -> Float[Tensor, "*axes time"]:
    """Generalised advantages of steps between which time may pass, as if nothing happened until the next one.

        A_t = δ_t + (discount · λ)^g A_{t+1},   δ_t = r_t + discount^g V(s_{t+1}) − V(s_t),   g = time_{t+1} − time_t,

    which are those of :func:`generalised_advantages` with g − 1 steps between, whose rewards are 0 and whose values are
    the discounted one of what follows. After the last valid step the value is 0. Padding gets 0.
    """
    gaps = torch.where(valid[..., 1:], time.diff(dim=-1), 0).to(values)
    fades, traces = discount**gaps, (discount * gae_lambda) ** gaps
    rewards, values = torch.where(valid, rewards, 0.0), torch.where(valid, values, 0.0)
    advantages = [rewards[..., -1] - values[..., -1]]
    for t in reversed(range(valid.shape[-1] - 1)):
        differences = rewards[..., t] + fades[..., t] * values[..., t + 1] - values[..., t]
        advantages.append(differences + traces[..., t] * advantages[-1])
    return torch.stack(advantages[::-1], -1)
