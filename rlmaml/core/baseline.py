"""The linear feature baseline: one small least-squares problem per task, all solved in one batch in float64."""

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from rlmaml.base.errors import NonFiniteError, UserError
from rlmaml.base.threads import torch_threads
from rlmaml.core.returns import discounted_sum, generalised_advantages
from rlmaml.core.types import time_of

OBSERVATION_CLIP = 10.0
RIDGE = 1e-5
RIDGE_TRIES = 5
BOOTSTRAP_LAMBDA = 0.9
BOOTSTRAP_EPISODES = 5.0
NUM_POWERS = 3


def state_features(observations: Float[Tensor, "*axes obs"]) -> Float[Tensor, "*axes feature"]:
    """Features ``[o, o²]`` with o clipped to ±10, in float64."""
    clipped = observations.double().clamp(-OBSERVATION_CLIP, OBSERVATION_CLIP)
    return torch.cat([clipped, clipped.square()], -1)


def baseline_features(
    observations: Float[Tensor, "*axes obs"], time: Num[Tensor, "*axes"]
) -> Float[Tensor, "*axes feature"]:
    """Features ``[o, o², t/100, (t/100)², (t/100)³, 1]`` with o clipped to ±10, in float64 (arXiv 1604.06778)."""
    times = powers(time.double() / 100.0)
    return torch.cat([state_features(observations), times, torch.ones_like(times[..., :1])], -1)


def powers(time: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes 3"]:
    """``[τ, τ², τ³]``: what a value is told of the time τ."""
    return torch.stack([time**power for power in range(1, NUM_POWERS + 1)], -1)


def fixed_horizon_values(
    observations: Float[Tensor, "task episode time obs"],
    rewards: Float[Tensor, "task episode time"],
    valid: Bool[Tensor, "task episode time"],
    discount: float,
) -> Float[Tensor, "task episode time"]:
    """Values of the objective that ends with the data: ``V(s, t) = φ(s, t)·w``, fitted to the returns ``G``.

    The value of what comes after the last step is 0, so a value depends on the time left, and the features hold it.
    """
    features = baseline_features(observations, time_of(valid))
    return baseline_values(features, fit_baseline(features, discounted_sum(rewards.double(), valid, discount), valid))


def bootstrapped_values(
    observations: Float[Tensor, "task episode time obs"],
    final_observations: Float[Tensor, "task episode obs"],
    rewards: Float[Tensor, "task episode time"],
    valid: Bool[Tensor, "task episode time"],
    goes_on: Bool[Tensor, "task episode"],
    discount: float,
) -> tuple[Float[Tensor, "task episode time"], Float[Tensor, "task episode"]]:
    """Values of the objective that does not end with the data, at every step and after the last one of each episode.

    They are the task's level c (:func:`value_level`) and a shape, linear in centred features without time:

        V(s) = c + (φ(s) − mean φ)·w,    φ = [o, o²],

    where w regresses ``A^λ``, the generalised advantages of the constant value c, with λ = 0.9: ``c + A^λ`` is a
    return that goes on with c. So one regression suffices, and nothing is fitted to itself. A self-consistent fit
    is not identified: ``V = a · discount^(−t)`` satisfies ``V = discount · V'`` without any reward. The shape is
    shrunk as if in five further episodes c were right. All values are clamped to what rewards no larger than the
    task's can be worth: ``|V| ≤ max |r| / (1 − discount)``. After a step that terminated the value is 0.

    λ and the five episodes are ours, measured on processes with known values. A smaller λ learns less of what
    observations tell of the far future; with λ = 1 the chance of who fell more than doubles the error of the shape.

    Args:
        observations: what was seen before each step.
        final_observations: what was seen after the last valid step.
        rewards: rewards; those of the padding are not looked at.
        valid: which steps count.
        goes_on: whether an episode was cut, by a time limit, where it would have gone on; the others terminated.
        discount: factor per step, in [0, 1).

    Raises:
        UserError: the discount is 1, with which a process that goes on has no finite value.
    """
    if discount >= 1.0:
        raise UserError(
            f"The discount is {discount:g}; values bootstrapped at the time limit are finite only with one below 1. "
            "Lower it, or use the fixed horizon."
        )
    rewards = torch.where(valid, rewards.double(), 0.0)
    level = value_level(rewards, valid, goes_on, discount).view(-1, 1, 1)
    bound = rewards.abs().amax((-2, -1), keepdim=True) / (1.0 - discount)
    constant, final_constant = level.expand(valid.shape), level[..., 0] * goes_on
    targets = generalised_advantages(rewards, constant, final_constant, valid, discount, BOOTSTRAP_LAMBDA)

    features, final_features = state_features(observations), state_features(final_observations)
    centre = (features * valid.unsqueeze(-1)).sum(2).sum(1) / valid.sum((-2, -1)).clamp(min=1).unsqueeze(-1)
    features, final_features = features - centre[:, None, None], final_features - centre[:, None]
    weights = fit_baseline(features, targets, valid, further_episodes=BOOTSTRAP_EPISODES)
    values = (level + baseline_values(features, weights)).clamp(-bound, bound)
    final_values = (level[..., 0] + baseline_values(final_features, weights)).clamp(-bound[..., 0], bound[..., 0])
    return values, final_values * goes_on


def value_level(
    rewards: Float[Tensor, "task episode time"],
    valid: Bool[Tensor, "task episode time"],
    goes_on: Bool[Tensor, "task episode"],
    discount: float,
) -> Float[Tensor, " task"]:
    """The constant value c whose temporal differences add up to 0: 0 for a task without valid steps.

        c = Σ r / ((1 − discount) · steps + discount · terminations)

    It is least-squares temporal-difference learning (Bradtke and Barto, 1996) with the one feature 1. It is exact
    where every step terminates with the same probability, and never beyond ``max |r| / (1 − discount)``.
    """
    steps = valid.sum((-2, -1)).clamp(min=1)
    terminations = (valid.any(-1) & ~goes_on).sum(-1)
    weight = (1.0 - discount) * steps.to(rewards.dtype) + discount * terminations.to(rewards.dtype)
    return torch.where(valid, rewards, 0.0).sum(-1).sum(-1) / weight


def fit_baseline(
    features: Float[Tensor, "task episode time feature"],
    targets: Float[Tensor, "task episode time"],
    valid: Bool[Tensor, "task episode time"],
    further_episodes: float = 0.0,
) -> Float[Tensor, "task feature"]:
    """Weights w of ``φ·w`` for every task, by ridge regression on its valid steps; 0 for a task without any.

        [ΦᵀΦ + (further episodes / episodes) · diag(ΦᵀΦ) + ridge·I] w = Φᵀ y

    Further episodes shrink the weights, whatever the units of the features, as much as that many episodes would in
    which the features were as large, not correlated, and the targets 0. The ridge of 1e-5 grows tenfold, up to five
    times, for the tasks whose solution is not finite.

    Raises:
        NonFiniteError: no ridge gave a finite solution.
    """
    kept = (features * valid.unsqueeze(-1)).flatten(1, 2)
    normal = kept.mT @ kept
    shrinkage = further_episodes / valid.any(-1).sum(-1, keepdim=True).clamp(min=1)
    normal = normal + torch.diag_embed(shrinkage * normal.diagonal(dim1=-2, dim2=-1))
    target = (kept.mT @ targets.double().flatten(1, 2).unsqueeze(-1)).squeeze(-1)
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
