"""The linear feature baseline: one small least-squares problem per task, all solved in one batch in float64."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlmaml.base.errors import NonFiniteError
from rlmaml.base.threads import torch_threads

OBSERVATION_CLIP = 10.0
RIDGE = 1e-5
RIDGE_TRIES = 5


def baseline_features(
    observations: Float[Tensor, "*axes obs"], time: Float[Tensor, "*axes"]
) -> Float[Tensor, "*axes feature"]:
    """Features ``[o, o², t/100, (t/100)², (t/100)³, 1]`` with o clipped to ±10, in float64 (arXiv 1604.06778)."""
    clipped = observations.double().clamp(-OBSERVATION_CLIP, OBSERVATION_CLIP)
    tau = (time.double() / 100.0).unsqueeze(-1)
    return torch.cat([clipped, clipped.square(), tau, tau.square(), tau**3, torch.ones_like(tau)], -1)


def fit_baseline(
    features: Float[Tensor, "task episode time feature"],
    returns: Float[Tensor, "task episode time"],
    valid: Bool[Tensor, "task episode time"],
    final_features: Float[Tensor, "task episode feature"],
    final_discounts: Float[Tensor, "task episode time"],
) -> Float[Tensor, "task feature"]:
    """Weights w of ``V(s, t) = φ(s, t)·w`` for every task: regression on returns that end in V itself.

    The target of a step is its return up to the end of the data plus ``d · V(final state)``, where d is
    ``final_discounts``: discount^(steps to the end) in episodes cut by the time limit, 0 in those that terminated.
    Inserting V makes it a linear system,

        [Φᵀ(Φ − d Φ_final) + ridge·I] w = Φᵀ G,

    which is ordinary ridge regression where d is 0. The ridge of 1e-5 grows tenfold, up to five times, for the
    tasks whose solution is not finite.

    Raises:
        NonFiniteError: no ridge gave a finite solution.
    """
    kept = features * valid.unsqueeze(-1)
    bootstrapped = kept - (final_discounts * valid).unsqueeze(-1) * final_features.unsqueeze(2)
    kept, bootstrapped = kept.flatten(1, 2), bootstrapped.flatten(1, 2)
    normal = kept.mT @ bootstrapped
    target = (kept.mT @ returns.double().flatten(1, 2).unsqueeze(-1)).squeeze(-1)
    identity = torch.eye(normal.shape[-1], dtype=normal.dtype, device=normal.device)
    weights = torch.full_like(target, torch.nan)
    for attempt in range(RIDGE_TRIES):
        with torch_threads(1):  # on two, batches of large systems hang (pytorch/pytorch#142815)
            solution, _ = torch.linalg.solve_ex(normal + RIDGE * 10.0**attempt * identity, target)
        finite = weights.isfinite().all(-1, keepdim=True)
        weights = torch.where(finite, weights, solution)
        if weights.isfinite().all():
            return weights
    raise NonFiniteError("The linear baseline", "the returns or observations it was fitted to are not usable")


def baseline_values(
    features: Float[Tensor, "task *axes feature"], weights: Float[Tensor, "task feature"]
) -> Float[Tensor, "task *axes"]:
    """``V = φ·w``, each task with its own weights."""
    return (features.flatten(1, -2) @ weights.unsqueeze(-1)).view(features.shape[:-1])
