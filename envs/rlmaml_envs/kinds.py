"""Robots of which one thing has changed, of several kinds: variants that draw any kind, and that hold one out.

Each kind has a parameter of its own in every task, so that the tasks of all these variants look alike; in a task, all
parameters but at most one have the value of the robot as it was built. A variant draws the kinds that its task space
leaves free. The others are beyond its training range.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rlmaml_envs.changes import damaged_actuator, multiplied, permuted, shifted
from rlmaml_envs.locomotion import LocomotionVariant
from rlmaml_envs.robot_drawing import Marks
from rlmaml_envs.tasks import Permutations, Task, varies

LARGEST_OFFSET = 0.3
"""Of a joint's encoder, rad."""

UNCHANGED = "unchanged"
"""The variant in which nothing has changed."""

HELD_OUT = "any_but_"
"""With the name of a kind after it, the variant that draws any other kind."""


class Kind(NamedTuple):
    """One kind of change: its task parameter, the parameter's value in a robot as built, and how it is drawn."""

    parameter: str
    space: spaces.Space[Any]
    unit: str
    as_built: npt.NDArray[Any]
    draw: Callable[[np.random.Generator], npt.NDArray[Any]]


def kinds_of_change(num_joints: int, num_motors: int) -> dict[str, Kind]:
    """Dead motor, inverted motors, swapped motors, encoder offsets, by name."""
    gains, order, offsets = np.ones(num_motors), np.eye(num_motors), np.zeros(num_joints)

    def dead(generator: np.random.Generator) -> npt.NDArray[Any]:
        return np.asarray(generator.integers(1, num_joints, endpoint=True))

    def inverted(generator: np.random.Generator) -> npt.NDArray[Any]:
        drawn = gains.copy()
        drawn[generator.permutation(num_motors)[: generator.integers(1, 2, endpoint=True)]] = -1.0
        return drawn

    def swapped(generator: np.random.Generator) -> npt.NDArray[Any]:
        drawn, pair = order.copy(), generator.permutation(num_motors)[:2]
        drawn[pair] = order[pair[::-1]]
        return drawn

    def offset(generator: np.random.Generator) -> npt.NDArray[Any]:
        return generator.uniform(-LARGEST_OFFSET, LARGEST_OFFSET, num_joints)

    about_0 = spaces.Box(-LARGEST_OFFSET, LARGEST_OFFSET, (num_joints,), np.float64)
    return {
        "dead": Kind("dead_joint", spaces.Discrete(num_joints + 1), "", np.asarray(0), dead),
        "inverted": Kind("motor_gain", spaces.Box(-1.0, 1.0, (num_motors,), np.float64), "", gains, inverted),
        "swapped": Kind("motor_permutation", Permutations(num_motors), "", order, swapped),
        "offset": Kind("encoder_offset", about_0, "rad", offsets, offset),
    }


def one_change_variants(
    base: LocomotionVariant, *, joints: Sequence[str], motors: Sequence[str], angles: slice
) -> dict[str, LocomotionVariant]:
    """``any``; each kind alone; ``unchanged``; and ``any_but_KIND`` for every kind. They differ in their task spaces.

    A task draws one of the free kinds, each as likely as the others, then the change. Tasks of the other kinds are
    legal, too, and beyond the training range. Actions pass through the permutation first, then through the gains.

    Args:
        base: the problem without changes.
        joints: the names that ``dead_joint`` counts, from 1, and ``encoder_offset`` lists.
        motors: the joint that each action drives: the order of ``motor_gain`` and ``motor_permutation``.
        angles: where the angles of ``joints`` are in an observation.
    """
    kinds = kinds_of_change(len(joints), len(motors))

    def sample_task(space: spaces.Dict, generator: np.random.Generator) -> Task:
        task = base.sample_task(spaces.Dict({name: space[name] for name in base.task_parameters}), generator)
        task |= {kind.parameter: kind.as_built.copy() for kind in kinds.values()}
        free = [kind for kind in kinds.values() if varies(space[kind.parameter])]
        if free:
            kind = free[generator.integers(len(free))]
            task[kind.parameter] = kind.draw(generator)
        return task

    def marks(task: Task) -> Marks:
        own = marks_of_change(task, joints, motors)
        asked = base.marks(task)
        return replace(own, text="; ".join(filter(None, [own.text, asked.text])), speed=asked.speed)

    def drawing(free: Collection[str]) -> LocomotionVariant:
        in_training = {k.parameter: k.space if name in free else _only(k.as_built) for name, k in kinds.items()}
        return replace(
            base,
            task_parameters={**base.task_parameters, **in_training},
            wide_task_parameters={**base.wide_task_parameters, **{k.parameter: k.space for k in kinds.values()}},
            task_units={**base.task_units, **{k.parameter: k.unit for k in kinds.values()}},
            task_labels={**base.task_labels, "dead_joint": ("intact", *joints)},
            task_elements={
                "motor_gain": (motors,),
                "motor_permutation": (motors, motors),
                "encoder_offset": (joints,),
            },
            sample_task=sample_task,
            changes={**base.changes, "dead_joint": damaged_actuator(joints)},
            commands={**base.commands, "motor_permutation": permuted, "motor_gain": multiplied},
            readings={**base.readings, "encoder_offset": shifted(angles)},
            marks=marks,
            published={},
        )

    free = {"any": set(kinds), **{name: {name} for name in kinds}, UNCHANGED: set()}
    free |= {HELD_OUT + name: set(kinds) - {name} for name in kinds}
    return {name: drawing(names) for name, names in free.items()}


def marks_of_change(task: Task, joints: Sequence[str], motors: Sequence[str]) -> Marks:
    """What has changed in a robot, in words, and the joints whose motors are concerned."""
    dead = [joints[int(task["dead_joint"]) - 1]] if task["dead_joint"] > 0 else []
    gains = {motor: gain for motor, gain in zip(motors, task["motor_gain"], strict=True) if gain != 1}
    own = task["motor_permutation"].diagonal()
    swapped = [motor for motor, keeps in zip(motors, own, strict=True) if keeps != 1]
    words = {
        "dead motor": ", ".join(dead),
        "motor gain": ", ".join(f"{motor} {gain:.2g}" for motor, gain in gains.items()),
        "swapped motors": ", ".join(swapped),
        "encoder offset": ", ".join(
            f"{offset:.2g}" for offset in task["encoder_offset"] if task["encoder_offset"].any()
        ),
    }
    text = "; ".join(f"{what}: {which}" for what, which in words.items() if which)
    return Marks(text or "intact", heading=0.0, damaged=tuple(dict.fromkeys([*dead, *gains, *swapped])))


def variant_without(family: str, variants: Mapping[str, Any], kind: str) -> str:
    """The name of the variant that draws any kind of change but one.

    Raises:
        ValueError: the family has no such kind; the message lists those it has.
    """
    if HELD_OUT + kind in variants:
        return HELD_OUT + kind
    legal = [name.removeprefix(HELD_OUT) for name in variants if name.startswith(HELD_OUT)]
    raise ValueError(f'{family} cannot hold out "{kind}". Its kinds of change: {", ".join(legal) or "none"}.')


def _only(value: npt.NDArray[Any]) -> spaces.Space[Any]:
    """The space of a single value."""
    if value.dtype.kind == "i":
        return spaces.Discrete(1, start=int(value))
    return spaces.Box(value, value, dtype=np.float64)
