"""What a policy must know of the environment it acts in."""

import math
from typing import Any, NamedTuple

from rlmaml.base.errors import UserError


class Sizes(NamedTuple):
    """Sizes of a policy's input and output."""

    observation: int
    """Numbers of an observation."""
    action: int
    """Dimensions of an action, or how many there are to choose from."""
    discrete: bool = False
    """Whether an action is a choice."""
    extended: bool = False
    """Whether observations end in the task's parameters."""
    task: int = 0
    """How many numbers these are, where the environment says so."""


def sizes_of(env: Any, *, extended: bool = False) -> Sizes:
    """The sizes of an environment's observations and actions.

    Args:
        env: has ``single_observation_space`` and ``single_action_space``, Gymnasium spaces, and may have ``task_size``.
        extended: whether observations end in the task's parameters.
    """
    space = env.single_action_space
    observation = math.prod(env.single_observation_space.shape)
    task = int(getattr(env, "task_size", 0)) if extended else 0
    if hasattr(space, "n"):
        return Sizes(observation, int(space.n), discrete=True, extended=extended, task=task)
    return Sizes(observation, math.prod(space.shape), extended=extended, task=task)


def check_actions(kind: str, sizes: Sizes, *, discrete: bool) -> None:
    """Refuse a kind of policy whose actions are not those of the environment.

    Raises:
        UserError: names both.
    """
    if sizes.discrete != discrete:
        kinds = ("vectors of numbers", "choices")
        raise UserError(
            f"--policy {kind} acts by {kinds[discrete]}, but actions here are {kinds[sizes.discrete]}. "
            f"Choose another kind, such as {'categorical' if sizes.discrete else 'gaussian'}."
        )
