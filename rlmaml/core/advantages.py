"""From sampled episodes to what the losses read: baseline, generalised advantages, normalisation."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlmaml.core.baseline import baseline_features, baseline_values, fit_baseline
from rlmaml.core.returns import discount_powers, discounted_sum, generalised_advantages
from rlmaml.core.types import Batch, Rollout


def with_advantages(
    rollout: Rollout, *, discount: float, gae_lambda: float, bootstrap: bool, scale: float | None = None
) -> Batch:
    """Advantages of every valid step, each task with its own baseline, normalised per task.

    Args:
        rollout: sampled episodes.
        discount: γ in [0, 1].
        gae_lambda: λ of generalised advantage estimation in [0, 1].
        bootstrap: whether an episode cut by the time limit goes on with the baseline's value of its final state
            (the infinite-horizon objective), or ends there (the fixed-horizon objective of the MAML papers).
        scale: see :func:`normalise`.

    Raises:
        NonFiniteError: the baseline has no finite solution.
    """
    valid = rollout.valid
    time = torch.arange(valid.shape[-1], device=valid.device).expand(valid.shape)
    lengths = valid.sum(-1)
    goes_on = rollout.truncated if bootstrap else torch.zeros_like(rollout.truncated)

    returns = discounted_sum(rollout.rewards.double(), valid, discount)
    features = baseline_features(rollout.observations, time.double())
    final_features = baseline_features(rollout.final_observations, lengths.double())
    to_the_end = (lengths.unsqueeze(-1) - time).clamp(min=0)
    final_discounts = discount_powers(discount, returns)[to_the_end] * goes_on.unsqueeze(-1)
    weights = fit_baseline(features, returns, valid, final_features, final_discounts)

    advantages = generalised_advantages(
        rollout.rewards.double(),
        baseline_values(features, weights),
        baseline_values(final_features, weights) * goes_on,
        valid,
        discount,
        gae_lambda,
    )
    normalised = normalise(advantages, valid, scale).to(rollout.rewards.dtype)
    return Batch(rollout.observations, rollout.actions, rollout.log_probs, normalised, valid)


def normalise(
    advantages: Float[Tensor, "task episode time"],
    valid: Bool[Tensor, "task episode time"],
    scale: float | None = None,
) -> Float[Tensor, "task episode time"]:
    """Mean 0 and standard deviation 1 over the valid steps of each task; 0 on padding and where all are equal.

    A task without valid steps gets 0 throughout.

    With a ``scale``, in units of reward, all advantages are divided by it instead of by their task's own deviation. A
    task whose actions hardly matter then takes a small inner step instead of one made of amplified noise.
    """
    count = valid.sum((-2, -1), keepdim=True).clamp(min=1)
    mean = (advantages * valid).sum(-1, keepdim=True).sum(-2, keepdim=True) / count
    centred = (advantages - mean) * valid
    if scale is not None:
        return centred / scale
    std = (centred.square().sum(-1, keepdim=True).sum(-2, keepdim=True) / count).sqrt()
    return centred / (std + 1e-8)
