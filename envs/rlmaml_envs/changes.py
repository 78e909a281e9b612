"""What a task changes in a robot: functions that write its parameters into the model fields of some copies.

Every change starts from the model as it was built, so that a task never leaves a trace in the next one. What is between
the policy and the model changes by ``multiplied``, ``permuted``, ``shifted`` and ``blanked``: signals on their way to
the actuators, or from the sensors.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rlmaml_envs.bodies import factor_box, scalar_box
from rlmaml_envs.family import Copies, Floats
from rlmaml_envs.locomotion import ApplyChange, ChangeSignal, LocomotionVariant
from rlmaml_envs.model_fields import check_kind, check_measure, indices, places
from rlmaml_envs.physics import Physics
from rlmaml_envs.robot_drawing import Marks
from rlmaml_envs.simulator import mujoco
from rlmaml_envs.tasks import Task, describe_task, sample_uniform

TRAINING_EXPONENT, WIDE_EXPONENT = 3.0, 4.0
"""Random parameters are factors ``base ** u``, u uniform between minus and plus this, in training and beyond."""

FACTOR_BASES = {"mass": 1.5, "inertia": 1.5, "damping": 1.3, "friction": 1.5}
"""The base of each random parameter."""

COUNTED = ("contype", "conaffinity", "condim", "priority")
"""Ends of the names of whole-numbered model fields that may differ between tasks."""


def damaged_actuator(joints: Sequence[str]) -> ApplyChange:
    """The motor of one joint is dead: its gear is 0. The parameter counts ``joints`` from 1; 0 is an intact robot."""

    def change(physics: Physics, copies: Copies, damaged: npt.NDArray[Any]) -> None:
        model = physics.model
        motors = np.array([_moved(model, joint) for joint in indices(model, "joint", joints)])
        gear = physics.field("actuator_gear")
        gear[copies] = model.actuator_gear
        broken = np.zeros((len(copies), len(model.actuator_gear)), np.bool_)
        broken[damaged > 0] = motors[damaged[damaged > 0] - 1]
        gear[copies] *= ~broken[..., None]

    return change


def _moved(model: mujoco.MjModel, joint: int) -> npt.NDArray[np.bool_]:
    """Which actuators move a joint, (actuators,).

    Raises:
        ValueError: none does.
    """
    kinds, trn = model.actuator_trntype, mujoco.mjtTrn
    of_joints = (kinds == trn.mjTRN_JOINT.value) | (kinds == trn.mjTRN_JOINTINPARENT.value)
    moves = of_joints & (model.actuator_trnid[:, 0] == joint)
    if not moves.any():
        raise ValueError(f'No actuator moves the joint "{model.joint(joint).name}"; list joints that have a motor.')
    return np.asarray(moves)


def payload(body: str) -> ApplyChange:
    """A point mass in kg at the centre of mass of a body, so that its inertia about that point is unchanged."""

    def change(physics: Physics, copies: Copies, masses: Floats) -> None:
        (index,) = indices(physics.model, "body", [body])
        physics.check_once("body_mass", [body])
        physics.field("body_mass")[copies, index] = physics.model.body_mass[index] + masses

    return change


def ground_friction(physics: Physics, copies: Copies, factors: Floats) -> None:
    """All sliding friction coefficients times a factor: with it, those of every contact with the ground.

    The contact of a ``<pair>`` of geoms has coefficients of its own, two for sliding, and so has what bends.
    """
    friction = physics.field("geom_friction")
    friction[copies, :, 0] = physics.model.geom_friction[:, 0] * factors[:, None]
    if physics.model.nflex:
        of_flexes = physics.field("flex_friction")
        of_flexes[copies, :, 0] = physics.model.flex_friction[:, 0] * factors[:, None]
    if physics.model.npair:
        of_pairs = physics.field("pair_friction")
        of_pairs[copies, :, :2] = physics.model.pair_friction[:, :2] * factors[:, None, None]


def masses(physics: Physics, copies: Copies, factors: Floats) -> None:
    """Each body's mass times its own factor, (n, nbody - 1); the inertia stays."""
    physics.field("body_mass")[copies, 1:] = physics.model.body_mass[1:] * factors


def inertias(physics: Physics, copies: Copies, factors: Floats) -> None:
    """Each body's diagonal inertia times its own factor, (n, nbody - 1)."""
    physics.field("body_inertia")[copies, 1:] = physics.model.body_inertia[1:] * factors[..., None]


def dampings(joints: Sequence[str]) -> ApplyChange:
    """Each listed joint's damping times its own factor, (n, joints), in all of its degrees of freedom."""
    return scaled("dof_damping", "joint", joints)


def scaled(field: str, kind: str, names: Sequence[str], columns: slice = slice(None)) -> ApplyChange:
    """Each named object's numbers in a model field times its own factor, (n, names).

    Args:
        field: MjModel field, e.g. ``"geom_friction"``.
        kind: the kind of object that the field speaks of: ``"body"``, ``"geom"``, ``"actuator"``, ``"tendon"``, ... and
            ``"joint"`` for a field with a row per degree of freedom, such as ``"dof_damping"``.
        names: the objects, by their names in the MJCF file.
        columns: which of an object's numbers; see :func:`rlmaml_envs.model_fields.places`.

    Raises:
        ValueError: the field does not speak of this kind, or is no measure. The change raises it where the model has no
            such object, or the numbers would not do there what they say (:mod:`rlmaml_envs.model_values`).
    """
    check_kind(field, kind)
    check_measure(field)

    def change(physics: Physics, copies: Copies, factors: Floats) -> None:
        listed = places(physics.model, field, kind, names, columns)
        built = getattr(physics.model, field)
        physics.check_once(field, names)
        if built.dtype.kind != "f":
            raise ValueError(f'"{field}" holds no measures that could be scaled, but {built.dtype}; use placed.')
        _check_shape(f'The factors of "{field}"', factors, [(len(names),), *[()] * (len(names) == 1)])
        each = factors.reshape(len(copies), -1, 1)
        _flat(physics, field)[copies[:, None, None], listed] = built.ravel()[listed] * each

    return change


def placed(field: str, kind: str, names: Sequence[str], columns: slice = slice(None)) -> ApplyChange:
    """Each named object's numbers in a model field replaced, (n, names, columns); arguments as :func:`scaled`.

    An axis of length 1 may be missing.
    """
    check_kind(field, kind)
    check_measure(field)

    def change(physics: Physics, copies: Copies, values: Floats) -> None:
        listed = places(physics.model, field, kind, names, columns)
        physics.check_once(field, names)
        if getattr(physics.model, field).dtype == np.int32 and not field.endswith(COUNTED):
            raise ValueError(f'"{field}" says how the model is built and cannot differ between tasks.')
        legal = [
            listed.shape,
            *{tuple(n for axis, n in enumerate(listed.shape) if axis != out or n > 1) for out in (0, 1)},
        ]
        legal += [()] * (listed.size == 1)
        _check_shape(f'The values of "{field}"', values, legal)
        _flat(physics, field)[copies[:, None, None], listed] = values.reshape(-1, *listed.shape)

    return change


def multiplied(signal: Floats, factors: Floats) -> Floats:
    """``f s``: each number (copy, n) of a signal times its own factor, (copy, n): -1 where a motor is inverted."""
    return signal * factors


def permuted(signal: Floats, matrices: Floats) -> Floats:
    """``P s``: each copy's signal (copy, n) through its own permutation matrix, (copy, n, n): swapped motors."""
    return np.asarray((matrices @ signal[..., None])[..., 0])


def shifted(columns: slice) -> ChangeSignal:
    """``s + o`` in some columns of a signal, with an offset (copy, columns) in their unit: encoders that are off."""

    def change(signal: Floats, offsets: Floats) -> Floats:
        arriving = signal.copy()
        arriving[:, columns] += offsets
        return arriving

    return change


def blanked(columns: Sequence[slice]) -> ChangeSignal:
    """0 in the columns of one part of a signal, counted from 1, whose sensor is dead; of none where that count is 0."""

    def change(signal: Floats, parts: npt.NDArray[Any]) -> Floats:
        arriving = signal.copy()
        for part, listed in enumerate(columns, 1):
            arriving[parts == part, listed] = 0.0
        return arriving

    return change


def _check_shape(what: str, values: npt.NDArray[Any], legal: Sequence[tuple[int, ...]]) -> None:
    """Refuse a task parameter whose shape, after its leading copy axis, is none of the legal ones."""
    if values.shape[1:] not in legal:
        shapes = " or ".join(str(shape) for shape in dict.fromkeys(legal))
        raise ValueError(
            f"{what} have the shape {values.shape[1:]} per task; give the task parameter the shape {shapes}."
        )


def _flat(physics: Physics, field: str) -> Floats:
    """A model field as a live array (copy, number)."""
    numbers = physics.field(field)
    return numbers.reshape(len(numbers), -1)


def sample_factors(space: spaces.Dict, generator: np.random.Generator) -> Task:
    """One task whose parameters named in ``FACTOR_BASES`` are log-uniform between their bounds, the others uniform."""
    task: Task = {}
    for name, box in space.items():
        if name in FACTOR_BASES and isinstance(box, spaces.Box):
            drawn = np.exp(generator.uniform(np.log(box.low), np.log(box.high), box.shape))
            task[name] = np.clip(drawn, box.low, box.high)
        else:
            task[name] = sample_uniform(box, generator)
    return task


class Change(NamedTuple):
    """One way in which a robot differs between tasks: a task parameter and what it does."""

    parameter: str
    space: spaces.Space[Any]
    wide_space: spaces.Space[Any]
    unit: str
    apply: ApplyChange


def changed_variants(
    forward: LocomotionVariant, velocity: LocomotionVariant, *, joints: Sequence[str], heaviest: float
) -> dict[str, LocomotionVariant]:
    """A variant per change, one with all but ``intact``, and each of these again with a target speed.

    In training any joint but the last may be damaged, a payload is at most ``heaviest``, and friction is 0.4 to 1.6 of
    the model's; beyond it also the last joint or none, 1.5 times the payload, and 0.2 to 2 times the friction.

    Args:
        forward: the problem without changes, whose reward does not depend on the task.
        velocity: the same robot's target-speed problem.
        joints: the names that the parameter ``dead_joint`` counts, from 1.
        heaviest: largest payload in training, kg.
    """
    heavier = scalar_box(0.0, 1.5 * heaviest)
    damage, anything = damaged_actuator(joints), spaces.Discrete(len(joints) + 1)
    changes = {
        "damaged": Change("dead_joint", spaces.Discrete(len(joints) - 1, start=1), anything, "", damage),
        "intact": Change("dead_joint", spaces.Discrete(1), anything, "", damage),
        "payload": Change("payload", scalar_box(0.0, heaviest), heavier, "kg", payload("torso")),
        "friction": Change("friction", scalar_box(0.4, 1.6), scalar_box(0.2, 2.0), "", ground_friction),
    }
    together = [change for name, change in changes.items() if name != "intact"]
    kinds = {**{name: [change] for name, change in changes.items()}, "combined": together}
    variants = {name: _with_changes(forward, kind, joints) for name, kind in kinds.items()}
    return variants | {f"{name}_velocity": _with_changes(velocity, kind, joints) for name, kind in kinds.items()}


def _with_changes(base: LocomotionVariant, changes: Sequence[Change], joints: Sequence[str]) -> LocomotionVariant:
    units = {**base.task_units, **{change.parameter: change.unit for change in changes}}

    def marks(task: Task) -> Marks:
        numbers = dict(task)
        dead = numbers.pop("dead_joint", None)
        text = describe_task(numbers, units)
        asked = replace(base.marks(task), heading=0.0)
        if dead is None:
            return replace(asked, text=text)
        limbs = (joints[int(dead) - 1],) if dead > 0 else ()
        words = f"dead motor: {limbs[0]}" if limbs else "intact"
        return replace(asked, text=words + (f", {text}" if text else ""), damaged=limbs)

    return replace(
        base,
        task_parameters={**base.task_parameters, **{change.parameter: change.space for change in changes}},
        wide_task_parameters={
            **base.wide_task_parameters,
            **{change.parameter: change.wide_space for change in changes},
        },
        task_units=units,
        task_labels={"dead_joint": ("intact", *joints)} if "dead_joint" in units else {},
        changes={change.parameter: change.apply for change in changes},
        marks=marks,
        published={},
    )


def random_parameters(
    base: LocomotionVariant, *, num_bodies: int, joints: Sequence[str], geoms: Sequence[str]
) -> LocomotionVariant:
    """A problem whose robot also has random masses, inertias, dampings and frictions: factors, log-uniform around 1."""
    known = {"mass": num_bodies, "inertia": num_bodies, "damping": len(joints), "friction": len(geoms)}

    def factors(exponent: float) -> dict[str, spaces.Space[Any]]:
        return {name: factor_box(size, FACTOR_BASES[name], exponent) for name, size in known.items()}

    def marks(task: Task) -> Marks:
        words = (base.marks(task).text, f"mean mass factor {task['mass'].mean():.2f}")
        return replace(base.marks(task), text=", ".join(filter(None, words)), heading=0.0)

    return replace(
        base,
        task_parameters={**base.task_parameters, **factors(TRAINING_EXPONENT)},
        wide_task_parameters={**base.wide_task_parameters, **factors(WIDE_EXPONENT)},
        task_units={**base.task_units, **dict.fromkeys(known, "")},
        task_elements={"damping": (joints,), "friction": (geoms,)},
        sample_task=sample_factors,
        changes={
            "mass": masses,
            "inertia": inertias,
            "damping": dampings(joints),
            "friction": scaled("geom_friction", "geom", geoms),
        },
        marks=marks,
        published={},
    )
