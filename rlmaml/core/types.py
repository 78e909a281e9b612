"""The axis vocabulary and the values that flow through the training loop.

Axis order is always ``task episode time feature``. Tensors are rectangular: an episode that ended early is
padded, and ``valid`` says which steps count.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy.typing as npt
from jaxtyping import Bool, Float, Num
from torch import Tensor

Params: TypeAlias = dict[str, Tensor]
"""Parameters by name: theta has no task axis, task parameters have a leading one in every entry."""

Tasks: TypeAlias = dict[str, npt.NDArray[Any]]
"""Task parameters by name, each with a leading task axis."""


class Rollout(NamedTuple):
    """Episodes of every task, as sampled.

    ``log_probs`` are those of the actions under the policy that sampled them. ``final_observations`` holds what
    was seen after an episode's last valid step: the state from which a time-limited episode would have gone on.
    ``term_returns`` splits each return into the environment's reward terms. ``unstable`` episodes were terminated
    because the simulation failed; the step in which it did is not valid.
    """

    observations: Float[Tensor, "task episode time obs"]
    actions: Num[Tensor, "task episode time *action"]
    log_probs: Float[Tensor, "task episode time"]
    rewards: Float[Tensor, "task episode time"]
    terminated: Bool[Tensor, "task episode"]
    truncated: Bool[Tensor, "task episode"]
    valid: Bool[Tensor, "task episode time"]
    final_observations: Float[Tensor, "task episode obs"]
    term_returns: Float[Tensor, "task episode term"]
    unstable: Bool[Tensor, "task episode"]

    @property
    def returns(self) -> Float[Tensor, "task episode"]:
        """Undiscounted return of each episode."""
        return (self.rewards * self.valid).sum(-1)

    @property
    def lengths(self) -> Float[Tensor, "task episode"]:
        """Number of valid steps of each episode."""
        return self.valid.sum(-1).to(self.rewards.dtype)


class Batch(NamedTuple):
    """What the losses read of a rollout: steps, sampling log-probabilities, advantages, and which steps count."""

    observations: Float[Tensor, "task episode time obs"]
    actions: Num[Tensor, "task episode time *action"]
    log_probs: Float[Tensor, "task episode time"]
    advantages: Float[Tensor, "task episode time"]
    valid: Bool[Tensor, "task episode time"]
