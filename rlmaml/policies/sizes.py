"""What a policy must know of the environment it acts in."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rlmaml.base.errors import UserError


class Part(NamedTuple):
    """One part of an observation that has several."""

    name: str
    shape: tuple[int, ...]
    """Of a vector, ``(number,)``, or of an image, ``(channel, height, width)``; in an observation it is flat."""


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
    parts: tuple[Part, ...] = ()
    """Of an observation, in their order, where it is the flattened form of several."""


def sizes_of(env: Any, *, extended: bool = False) -> Sizes:
    """The sizes of an environment's observations and actions.

    Args:
        env: has ``single_observation_space`` and ``single_action_space``, Gymnasium spaces, and may have ``task_size``,
            and ``observation_parts``, the shapes of the parts of an observation by name.
        extended: whether observations end in the task's parameters.

    Raises:
        UserError: an observation is no array, or has other numbers than its parts.
    """
    space, observed = env.single_action_space, env.single_observation_space
    if observed.shape is None:
        raise UserError(
            f"Observations are {observed}; a rollout takes arrays. Flatten them with gymnasium.spaces.flatten, and "
            "say in the environment's observation_parts which shapes they had, by name."
        )
    observation = math.prod(observed.shape)
    task = int(getattr(env, "task_size", 0)) if extended else 0
    parts = parts_in(env)
    numbers = sum(math.prod(part.shape) for part in parts)
    if parts and numbers != observation - task:
        raise UserError(
            f"The observation_parts of the environment, {dict(env.observation_parts)}, have {numbers} numbers, but "
            f"observations have {observation - task} besides a task's parameters. Give a shape for each part, in order."
        )
    if hasattr(space, "n"):
        return Sizes(observation, int(space.n), discrete=True, extended=extended, task=task, parts=parts)
    return Sizes(observation, math.prod(space.shape), extended=extended, task=task, parts=parts)


def parts_in(env: Any) -> tuple[Part, ...]:
    """The parts of an environment's observations, as its ``observation_parts`` says; none without that."""
    shapes: Mapping[str, Sequence[int]] = getattr(env, "observation_parts", {})
    return tuple(Part(name, tuple(map(int, shape))) for name, shape in shapes.items())


def parts_of(sizes: Sizes) -> tuple[Part, ...]:
    """The parts of an observation, and what comes after them, such as the task's parameters, as one vector more."""
    rest = sizes.observation - sum(math.prod(part.shape) for part in sizes.parts)
    return (*sizes.parts, Part("task" if sizes.extended else "rest", (rest,))) if rest else sizes.parts


def columns_of(parts: Sequence[Part]) -> list[slice]:
    """Where each part is in an observation."""
    ends = list(itertools.accumulate(math.prod(part.shape) for part in parts))
    return [slice(start, end) for start, end in itertools.pairwise([0, *ends])]


def numbers_in_vectors(parts: Sequence[Part], observation: int) -> list[int] | None:
    """Which numbers of an observation are in no image, as a linear baseline reads them; None where all are.

    Args:
        parts: of an observation, which may go on after them.
        observation: how many numbers it has.
    """
    pixels = {
        number
        for part, columns in zip(parts, columns_of(parts), strict=True)
        if len(part.shape) > 1
        for number in range(columns.start, columns.stop)
    }
    return [number for number in range(observation) if number not in pixels] if pixels else None


def stored_sizes(stored: Mapping[str, Any]) -> Sizes:
    """Sizes from what JSON made of their fields.

    Raises:
        TypeError, ValueError: they are none.
    """
    parts = tuple(Part(str(name), tuple(shape)) for name, shape in stored.get("parts", ()))
    if not all(type(side) is int and side > 0 for part in parts for side in part.shape):
        raise ValueError(f"parts are {stored['parts']!r}")
    sizes = Sizes(**{**stored, "parts": parts})
    if sum(math.prod(part.shape) for part in parts) > sizes.observation:
        raise ValueError(f"parts are {stored['parts']!r}, of observations of {sizes.observation}")
    return sizes


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
