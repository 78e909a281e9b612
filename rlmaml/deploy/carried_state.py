"""The state of an exported policy that remembers: how it begins, how it is carried, and what its user is told of it."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.deploy.adaptable import AdaptablePolicy
from rlmaml.deploy.fit import forgets_after, goes_on, lived_through
from rlmaml.terminal.words import counted

Controls: TypeAlias = Callable[..., Any]
"""Observations (batch, obs) to controls (batch, action); with a memory, also last rewards and states, to controls and
states."""


@ordinary_torch()
def state_at_start(policy: AdaptablePolicy) -> npt.NDArray[np.float32]:
    """The state with which an episode of a policy that remembers begins, (state,); empty for one that does not."""
    if not policy.remembers:
        return np.zeros(0, np.float32)
    size = policy.network.start(policy.weights, (1, 1)).shape[-1]
    lived = policy.memory
    parts = [torch.zeros(size), torch.zeros(policy.sizes.action)] if lived is None else [lived.carry, lived.last_action]
    return np.concatenate([*(part.reshape(-1).numpy() for part in parts), [0.0]]).astype(np.float32)


class Driven:
    """An exported policy through episodes of several copies, carrying its state where it has one.

    Args:
        controls: the file, loaded.
        policy: that it was made of.
        copies: how many robots, or copies of one, act at once.
    """

    def __init__(self, controls: Controls, policy: AdaptablePolicy, copies: int) -> None:
        self._controls, self._policy = controls, policy
        self._state = np.tile(state_at_start(policy), (copies, 1))
        self._begun = False

    def __call__(
        self, observations: npt.NDArray[np.float32], rewards: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Controls of every copy at its observation, after the reward of its last action."""
        if not self._policy.remembers:
            return np.asarray(self._controls(observations))
        lived = self._policy.memory
        earned = rewards if self._begun or lived is None else np.full_like(rewards, float(lived.last_reward))
        commanded, self._state = self._controls(observations[:, : self._policy.observed], earned, self._state)
        self._begun = True
        return np.asarray(commanded)

    def go_on(self) -> None:
        """The next episode on the same robot begins, as the card says, in every copy; none of their trials is over."""
        self._state = self._state * (np.arange(self._state.shape[1]) < self._state.shape[1] - 1).astype(np.float32)


def how_to_carry(policy: AdaptablePolicy) -> dict[str, Any]:
    """What a user of files with a memory must know of their state."""
    start, lived = state_at_start(policy), policy.memory
    return {
        "size": len(start),
        "holds": "memory, last action, and 1 after the first step of an episode",
        "at_the_start": start.tolist(),
        "reward_at_the_start": 0.0 if lived is None else float(lived.last_reward),
        "each_step": "give the last reward and the state; keep next_state for the next step",
        "next_episode_on_the_same_robot": _between_episodes(policy),
        "on_another_robot": "begin with the state of a policy that has not adapted, of zeros, and a reward of 0",
    }


def _between_episodes(policy: AdaptablePolicy) -> str:
    """What becomes of the state where an episode ends and the next one begins."""
    if not goes_on(policy):
        return "begin as at the start: nothing is kept of an episode"
    kept, trial = "keep the state, and set its last number to 0", forgets_after(policy)
    if not trial:
        return kept
    left = counted(trial - lived_through(policy) % trial, "episode")
    return f"{kept}; after {left}, and then after every {trial}, set all of it to 0, and the reward"
