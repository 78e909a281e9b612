"""Action distributions as values: they pass through ``torch.func`` transforms and are tested on their own.

Each offers log-probability, KL divergence, entropy, a sample as a function of given noise, and the product of
its Fisher information with a tangent: the metric in which the trust region measures a step.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Gaussian(NamedTuple):
    """Diagonal Gaussian over actions; ``log_std`` has the shape of ``mean``."""

    mean: Float[Tensor, "*axes action"]
    log_std: Float[Tensor, "*axes action"]

    def log_prob(self, actions: Float[Tensor, "*axes action"]) -> Float[Tensor, "*axes"]:
        """``log N(a; mean, std)``, summed over action dimensions, of the action before any clipping."""
        standardised = (actions - self.mean) * torch.exp(-self.log_std)
        return -(0.5 * standardised.square() + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def kl(self, new: "Gaussian") -> Float[Tensor, "*axes"]:
        """``KL(self || new)``, summed over action dimensions; exactly 0 where both are the same."""
        variance_ratio = torch.exp(2 * (self.log_std - new.log_std))
        shift = (self.mean - new.mean) * torch.exp(-new.log_std)
        return (new.log_std - self.log_std + 0.5 * (variance_ratio + shift.square() - 1)).sum(-1)

    def entropy(self) -> Float[Tensor, "*axes"]:
        """Differential entropy in nats."""
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    @property
    def most_likely(self) -> Float[Tensor, "*axes action"]:
        """The most likely legal action: the mean, clipped to the normalised range [-1, 1]."""
        return self.mean.clamp(-1.0, 1.0)

    def sample(self, noise: Float[Tensor, "*axes action"]) -> Float[Tensor, "*axes action"]:
        """The action that standard normal ``noise`` stands for."""
        return self.mean + torch.exp(self.log_std) * noise

    def fisher_product(self, tangent: "Gaussian") -> "Gaussian":
        """Fisher information of (mean, log std), which is diag(1/std², 2), times a tangent."""
        return Gaussian(tangent.mean * torch.exp(-2 * self.log_std), 2 * tangent.log_std)

    def fisher_roots(self) -> Float[Tensor, "root *axes action"]:
        """Vectors ``r_j`` with ``Σ_j r_j r_jᵀ`` the Fisher information of the mean: unit vectors over the deviation."""
        size = self.mean.shape[-1]
        units = torch.eye(size, dtype=self.mean.dtype, device=self.mean.device)
        return units.view(size, *[1] * (self.mean.dim() - 1), size) * torch.exp(-self.log_std)


class Categorical(NamedTuple):
    """Categorical over action indices, given by unnormalised log-probabilities."""

    logits: Float[Tensor, "*axes choice"]

    @property
    def log_probs(self) -> Float[Tensor, "*axes choice"]:
        """Normalised log-probabilities of all choices."""
        return torch.log_softmax(self.logits, -1)

    def log_prob(self, actions: Int[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        """Log-probability of the chosen indices."""
        return self.log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)

    def kl(self, new: "Categorical") -> Float[Tensor, "*axes"]:
        """``KL(self || new)``; exactly 0 where both are the same."""
        return (self.log_probs.exp() * (self.log_probs - new.log_probs)).sum(-1)

    def entropy(self) -> Float[Tensor, "*axes"]:
        """Entropy in nats."""
        return -(self.log_probs.exp() * self.log_probs).sum(-1)

    @property
    def most_likely(self) -> Int[Tensor, "*axes"]:
        """The most likely index."""
        return self.logits.argmax(-1)

    def sample(self, noise: Float[Tensor, "*axes"]) -> Int[Tensor, "*axes"]:
        """The index at which the cumulative probability passes uniform ``noise`` in [0, 1)."""
        cumulative = self.log_probs.exp().cumsum(-1)
        return (noise.unsqueeze(-1) >= cumulative[..., :-1]).sum(-1)

    def fisher_product(self, tangent: "Categorical") -> "Categorical":
        """Fisher information of the logits, which is diag(p) - p pᵀ, times a tangent."""
        weighted = self.log_probs.exp() * tangent.logits
        return Categorical(weighted - self.log_probs.exp() * weighted.sum(-1, keepdim=True))

    def fisher_roots(self) -> Float[Tensor, "root *axes choice"]:
        """Vectors ``r_j`` with ``Σ_j r_j r_jᵀ`` the Fisher information of the logits: ``√p_j (e_j − p)``."""
        p = self.log_probs.exp()
        units = torch.eye(p.shape[-1], dtype=p.dtype, device=p.device)
        roots = p.movedim(-1, 0).sqrt().unsqueeze(-1)
        return roots * (units.view(p.shape[-1], *[1] * (p.dim() - 1), -1) - p)


Distribution = Gaussian | Categorical


def detach(distribution: Distribution) -> Distribution:
    """The same distribution, cut from the graph that made it."""
    return type(distribution)(*(field.detach() for field in distribution))
