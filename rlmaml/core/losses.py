"""Losses of ONE task: policy gradients as functions of the log-ratio to the policy that sampled, and supervised ones.

Policy gradients take ``log_ratio = log π(a|s) − log π_sampling(a|s)``, advantages and a mask of valid steps, and return
a scalar: minus the objective, a sum over valid steps divided by their number. At the sampling policy all three have
the same gradient, the policy gradient; they differ in their second derivative, and so in the meta-gradient.
With H₂ = E[Σ ∇²log π · A], H₁ = E[Σ ∇log π ∇log πᵀ · A] and H₁₂ = E[Σ ∇log π ∇Qᵀ] (arXiv 1810.06784):
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlmaml.core.distributions import Distribution
from rlmaml.core.types import Batch, Examples, Outputs

PolicyGradient: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A form of the policy gradient: ``(log_ratio, advantages, valid)`` to a scalar."""

InnerLoss: TypeAlias = Callable[[Outputs, Any], Tensor]
"""From what the policy says and the data of ONE task to a scalar: what an inner step goes down."""

LIKELIHOOD_TOLERANCE = 1e-5
"""Share of a gradient's norm by which two that should be parallel may differ: single precision."""


def log_likelihood(
    log_ratio: Float[Tensor, "episode time"],
    advantages: Float[Tensor, "episode time"],
    valid: Bool[Tensor, "episode time"],
) -> Float[Tensor, ""]:
    """``−mean(log π · A)``, the loss of MAML for RL (arXiv 1703.03400); its second derivative is H₂ alone."""
    return -mean_over_steps(log_ratio * advantages, valid)


def likelihood_ratio(
    log_ratio: Float[Tensor, "episode time"],
    advantages: Float[Tensor, "episode time"],
    valid: Bool[Tensor, "episode time"],
) -> Float[Tensor, ""]:
    """``−mean(π/π_sampling · A)``, the low-variance-curvature loss (arXiv 1810.06784): H₁ + H₂, without H₁₂."""
    return -mean_over_steps(torch.exp(log_ratio * valid) * advantages, valid)


def dice(
    log_ratio: Float[Tensor, "episode time"],
    advantages: Float[Tensor, "episode time"],
    valid: Bool[Tensor, "episode time"],
) -> Float[Tensor, ""]:
    """DiCE (arXiv 1802.05098) with advantages (arXiv 1909.10549): unbiased second derivative H₁ + H₂ + H₁₂ + H₁₂ᵀ.

    ``−mean((□(a_0…a_t) − □(a_0…a_{t−1})) · A_t)``, where □ is the product of the ratios of the actions up to t;
    with A the return to go and no discount it is the DiCE objective ``□(a_0…a_t) · r_t``.
    """
    log_product = (log_ratio * valid).cumsum(-1)
    before = torch.exp(log_product - log_ratio * valid)
    return -mean_over_steps((torch.exp(log_product) - before) * advantages, valid)


def clipped(
    log_ratio: Float[Tensor, "episode time"],
    advantages: Float[Tensor, "episode time"],
    valid: Bool[Tensor, "episode time"],
    clip: float,
) -> Float[Tensor, ""]:
    """``−mean(min(r · A, clip(r, 1 − ε, 1 + ε) · A))``, the loss of PPO (arXiv 1707.06347, equation 7)."""
    ratio = torch.exp(log_ratio * valid)
    return -mean_over_steps(torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages), valid)


POLICY_GRADIENTS: dict[str, PolicyGradient] = {
    "log_likelihood": log_likelihood,
    "likelihood_ratio": likelihood_ratio,
    "dice": dice,
}


def policy_gradient(form: PolicyGradient) -> InnerLoss:
    """An inner loss for reinforcement learning: a form of the policy gradient on a task's :class:`Batch`."""

    def loss(outputs: Outputs, batch: Batch) -> Tensor:
        return form(_log_ratio(outputs, batch), batch.inner_advantages, batch.valid)

    return loss


def return_loss(outputs: Outputs, batch: Batch) -> Float[Tensor, ""]:
    """Minus the log-likelihood's policy gradient of the return as it is, whatever an inner step sees of rewards."""
    return log_likelihood(_log_ratio(outputs, batch), batch.advantages, batch.valid)


def _log_ratio(outputs: Outputs, batch: Batch) -> Float[Tensor, "episode time"]:
    log_ratio: Tensor = outputs.distribution.log_prob(batch.actions) - batch.log_probs
    return log_ratio


def squared_error(outputs: Outputs, data: Examples) -> Float[Tensor, ""]:
    """``mean ‖mean − target‖² / size``, the mean squared error of what is predicted."""
    return mean_over_steps((outputs.distribution.mean - data.targets).square().mean(-1), data.valid)


def cross_entropy(outputs: Outputs, data: Examples) -> Float[Tensor, ""]:
    """``−mean log p(target)``, in nats."""
    return -mean_over_steps(outputs.distribution.log_prob(data.targets), data.valid)


def is_likelihood(loss: InnerLoss, said: Distribution, data: Examples) -> bool:
    """Whether a loss of ONE task is a multiple of ``−mean log p(target)``, but for a constant.

    Then its gradient with respect to what is said, mean or logits, is that multiple of the likelihood's, here and
    around. A Gaussian's deviation may be fitted with it or held fixed: the squared error is that of a fixed one.

    Args:
        loss: of one task.
        said: of its examples.
        data: the examples.
    """
    (location, *others), (likely, *likelies) = (_gradients(of, said, data) for of in (loss, cross_entropy))
    multiple = location @ likely / (likely @ likely)

    def alike(one: Tensor, other: Tensor) -> bool:
        return bool((one - multiple * other).norm() <= LIKELIHOOD_TOLERANCE * one.norm())

    fixed = not any(other.any() for other in others)
    return bool(multiple > 0) and alike(location, likely) and (fixed or all(map(alike, others, likelies)))


def _gradients(loss: InnerLoss, said: Distribution, data: Examples) -> list[Tensor]:
    """By each field of what is said, there and with its first field, mean or logits, moved twice, after one another."""
    location, *others = (field.detach().double() for field in said)
    way = torch.linspace(-1.0, 1.0, location.numel(), dtype=location.dtype).view_as(location).to(location)
    found = []
    for length in (0.0, 1.0, -2.0):
        points = [field.clone().requires_grad_() for field in (location + length * way, *others)]
        lost = loss(Outputs(type(said)(*points)), data)
        found.append(torch.autograd.grad(lost, points, materialize_grads=True))
    return [torch.cat([own.flatten() for own in of_field]) for of_field in zip(*found, strict=True)]


def share_correct(outputs: Outputs, data: Examples) -> Float[Tensor, ""]:
    """The share of the targets that were held to be the most likely ones, in [0, 1]."""
    return mean_over_steps((outputs.distribution.most_likely == data.targets).to(data.observations), data.valid)


def mean_over_steps(values: Float[Tensor, "*axes time"], valid: Bool[Tensor, "*axes time"]) -> Float[Tensor, ""]:
    """Sum over the valid steps, or examples, divided by their number; 0 where there are none."""
    return (values * valid).sum(-1).sum() / valid.sum().clamp(min=1)
