"""Observations of several parts, such as ranges and a picture: Gymnasium's ``Dict``, flattened.

An observation is one vector everywhere; a family that has a ``Dict`` of them says so in ``dict_space``, and its vector
is what ``gymnasium.spaces.flatten`` makes of that: part after part in the order of the space, each row by row, and a
choice as one number per value, 1 for the chosen one. ``gymnasium.spaces.unflatten`` gives the ``Dict`` back.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rlmaml_envs.family import Floats


def part_shapes(space: spaces.Dict) -> dict[str, tuple[int, ...]]:
    """Part -> its shape in a flat observation, in their order: that of a ``Box``; the others are vectors.

    Raises:
        ValueError: a part is a space of which no numbers are made, or one of several parts itself; names it.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for name, part in space.spaces.items():
        if isinstance(part, spaces.Dict):
            inner = ", ".join(f"{name}_{below}" for below in part.spaces)
            raise ValueError(
                f'The part "{name}" of an observation is a Dict itself. Give its parts beside the others, such as '
                f"{inner}."
            )
        if not isinstance(part, spaces.Box | spaces.Discrete | spaces.MultiBinary):
            raise ValueError(
                f'The part "{name}" of an observation is {part}; it must be a Box, or a Discrete or MultiBinary space.'
            )
        shapes[name] = part.shape if isinstance(part, spaces.Box) and part.shape else (spaces.flatdim(part),)
    if not all(map(math.prod, shapes.values())) or not shapes:
        raise ValueError(f"Every part of an observation needs numbers; got {space}.")
    return shapes


def part_columns(space: spaces.Dict) -> dict[str, slice]:
    """Part -> where its numbers are in a flat observation. Raises as :func:`part_shapes` does."""
    sizes = {name: math.prod(shape) for name, shape in part_shapes(space).items()}
    ends = dict(zip(sizes, np.cumsum([*sizes.values()]).tolist(), strict=True))
    return {name: slice(end - sizes[name], end) for name, end in ends.items()}


def flat(space: spaces.Dict, parts: Mapping[str, npt.NDArray[Any]]) -> Floats:
    """What ``gymnasium.spaces.flatten`` makes of every copy's parts, (copy, observation), for all copies at once.

    Args:
        space: of one copy's parts.
        parts: part -> its values, (copy, ...).
    """
    columns = []
    for name, part in space.spaces.items():
        values = np.asarray(parts[name])
        if isinstance(part, spaces.Discrete):
            values = values[:, None] == part.start + np.arange(part.n)
        columns.append(values.reshape(len(values), -1))
    return np.concatenate(columns, axis=1, dtype=np.float64)


def check_parts(space: Any, observation_space: Any) -> None:
    """Refuse a family whose observations are no vector, or another one than its ``dict_space`` makes.

    Args:
        space: the family's ``dict_space``; None for none.
        observation_space: the family's.

    Raises:
        ValueError: says what to give instead.
    """
    if isinstance(observation_space, spaces.Dict):
        raise ValueError(
            "observation_space is a Dict; observations are vectors here. Give gymnasium.spaces.flatten_space(space) "
            "instead, the Dict as dict_space, and let observe give rlmaml_envs.parts.flat(space, parts)."
        )
    if space is None:
        return
    if not isinstance(space, spaces.Dict):
        raise ValueError(f"dict_space is {space}; it must be a gymnasium.spaces.Dict, or None.")
    size = sum(map(math.prod, part_shapes(space).values()))
    if observation_space.shape != (size,):
        raise ValueError(
            f"dict_space has {size} numbers, {part_shapes(space)}, but observations are of the shape "
            f"{observation_space.shape}. Let observe give rlmaml_envs.parts.flat(dict_space, parts)."
        )


def with_dict_observations(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """An ordinary single environment whose observations are the ``Dict`` that its family states.

    Raises:
        ValueError: the family states none, or observations end in the task's parameters.
    """
    from gymnasium.wrappers import TransformObservation

    space = env.unwrapped.dict_space  # type: ignore[attr-defined]
    if space is None or env.observation_space.shape != (spaces.flatdim(space),):
        raise ValueError(f"{env}: observations are one vector, and no Dict of parts.")
    return TransformObservation(env, partial(spaces.unflatten, space), space)
