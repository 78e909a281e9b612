"""What a family is, as plain data: families with one sheet mean the same by observations, actions and tasks."""

from collections.abc import Mapping
from typing import Any

from gymnasium import spaces

from rlmaml_envs.controls import described_function
from rlmaml_envs.family import TaskFamily
from rlmaml_envs.parts import part_shapes


def family_sheet(env_id: str, variant: str, world: TaskFamily, drawn: spaces.Dict | None = None) -> dict[str, Any]:
    """The data sheet of one variant, of JSON's types alone.

    Args:
        env_id: the family's id.
        variant: its name.
        world: worlds of this variant.
        drawn: the tasks that are drawn of it; None for those of its training range.

    Returns:
        ``family``, ``variant``; ``observation`` and ``action``: their sizes, and the parts of an observation where it
        has some; ``observed``: name and unit of each number of an observation; ``controls``: range and unit of each
        actuator; ``control_function``: see :func:`rlmaml_envs.controls.described_function`; ``reward_terms``; ``tasks``
        and ``tasks_beyond``: each parameter's range and unit; ``task_labels`` and ``task_elements``: what its values
        and numbers mean; and what the family adds, :meth:`rlmaml_envs.family.TaskFamily.described`.
    """
    function, num_actions = world.control_function, int(world.action_space.shape[0])
    return {
        "family": env_id,
        "variant": variant,
        "observation": _observation(world),
        "action": {"size": num_actions},
        "observed": {
            str(number): f"{name}, {unit}".removesuffix(", ")
            for number, (name, unit) in enumerate(zip(world.observation_names, world.observation_units, strict=True))
        },
        "controls": {
            name: {"low": low, "high": high, "unit": unit}
            for name, unit, (low, high) in zip(
                world.control_names, world.control_units, world.control_range.tolist(), strict=True
            )
        },
        "control_function": None if function is None else described_function(function, num_actions),
        "reward_terms": list(world.reward_terms),
        "tasks": {
            name: _parameter(space, world.task_units[name]) for name, space in (drawn or world.task_space).items()
        },
        "tasks_beyond": {
            name: _parameter(space, world.task_units[name]) for name, space in world.wide_task_space.items()
        },
        "task_labels": {name: list(words) for name, words in world.task_labels.items()},
        "task_elements": {name: [list(words) for words in axes] for name, axes in world.task_elements.items()},
        **world.described(),
    }


def _observation(world: TaskFamily) -> dict[str, Any]:
    """Size of an observation, and the shapes of its parts, in their order, where it has some."""
    size = {"size": int(world.observation_space.shape[0])}
    if world.dict_space is None:
        return size
    return {**size, "parts": [[name, list(shape)] for name, shape in part_shapes(world.dict_space).items()]}


def _parameter(space: spaces.Space[Any], unit: str) -> Mapping[str, Any]:
    """One task parameter."""
    if isinstance(space, spaces.Discrete):
        return {"least": int(space.start), "values": int(space.n), "unit": unit}
    assert isinstance(space, spaces.Box)
    return {"low": space.low.tolist(), "high": space.high.tolist(), "unit": unit}
