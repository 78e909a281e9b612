"""Names and units of the numbers of an observation, as far as they are those of MuJoCo's state."""

from collections.abc import Sequence
from itertools import product
from typing import TypeAlias

from rlmaml_envs.simulator import mujoco

Entry: TypeAlias = tuple[str, str]
"""Name and unit of one number; the unit is ``""`` where it has none."""

_POSITIONS: dict[int, tuple[Entry, ...]] = {
    mujoco.mjtJoint.mjJNT_FREE.value: (
        *((f" {axis}", "m") for axis in "xyz"),
        *((f" quaternion {part}", "") for part in "wxyz"),
    ),
    mujoco.mjtJoint.mjJNT_BALL.value: tuple((f" quaternion {part}", "") for part in "wxyz"),
    mujoco.mjtJoint.mjJNT_SLIDE.value: (("", "m"),),
    mujoco.mjtJoint.mjJNT_HINGE.value: (("", "rad"),),
}
"""Kind of joint -> what is after the joint's name, and the unit, of each of its positions."""

_VELOCITIES: dict[int, tuple[Entry, ...]] = {
    mujoco.mjtJoint.mjJNT_FREE.value: (
        *((f" {axis}", "m/s") for axis in "xyz"),
        *((f" about {axis}", "rad/s") for axis in "xyz"),
    ),
    mujoco.mjtJoint.mjJNT_BALL.value: tuple((f" about {axis}", "rad/s") for axis in "xyz"),
    mujoco.mjtJoint.mjJNT_SLIDE.value: (("", "m/s"),),
    mujoco.mjtJoint.mjJNT_HINGE.value: (("", "rad/s"),),
}

FORCES: tuple[Entry, ...] = (
    *((f"torque {axis}", "N m") for axis in "xyz"),
    *((f"force {axis}", "N") for axis in "xyz"),
)
"""Of ``cfrc_ext``."""
MOTIONS: tuple[Entry, ...] = (
    *((f"rate about {axis}", "rad/s") for axis in "xyz"),
    *((f"speed {axis}", "m/s") for axis in "xyz"),
)
"""Of ``cvel``."""
INERTIAS: tuple[Entry, ...] = (
    *((f"inertia {axes}", "kg m^2") for axes in ("xx", "yy", "zz", "xy", "xz", "yz")),
    *((f"mass times {axis}", "kg m") for axis in "xyz"),
    ("mass", "kg"),
)
"""Of ``cinert``."""
CENTRE_OF_MASS: tuple[Entry, ...] = tuple((f"centre of mass {axis}", "m") for axis in "xyz")
ROTATION_MATRIX: tuple[Entry, ...] = tuple((f"rotation {row}{column}", "") for row, column in product("xyz", "xyz"))


def joint_positions(model: mujoco.MjModel) -> list[Entry]:
    """Of ``qpos``, (nq): each by its joint, a free joint's by axis, too; in m, rad, or a part of a quaternion."""
    return [(f"{name}{part}", unit) for name, kind in _joints(model, "position") for part, unit in _POSITIONS[kind]]


def joint_velocities(model: mujoco.MjModel) -> list[Entry]:
    """Of ``qvel``, (nv): as the positions, in m/s and rad/s."""
    return [(f"{name}{part}", unit) for name, kind in _joints(model, "speed") for part, unit in _VELOCITIES[kind]]


def joint_forces(model: mujoco.MjModel) -> list[Entry]:
    """Of ``qfrc_actuator``, (nv)."""
    return [
        (f"{name}{part}", "N" if unit == "m/s" else "N m")
        for name, kind in _joints(model, "force")
        for part, unit in _VELOCITIES[kind]
    ]


def of_bodies(model: mujoco.MjModel, parts: Sequence[Entry], first: int = 0) -> list[Entry]:
    """Of a field with a row per body, from a first one on, body after body."""
    names = [model.body(index).name or f"body {index}" for index in range(first, model.nbody)]
    return [(f"{name} {part}", unit) for name, (part, unit) in product(names, parts)]


def state_without(skipped: int, model: mujoco.MjModel) -> list[Entry]:
    """Of positions but the first ``skipped``, and velocities."""
    return [*joint_positions(model)[skipped:], *joint_velocities(model)]


def _joints(model: mujoco.MjModel, what: str) -> list[tuple[str, int]]:
    """Name and kind of each joint, the name with what is meant of it."""
    kinds = model.jnt_type.tolist()
    return [(f"{model.joint(index).name or f'joint {index}'} {what}", kind) for index, kind in enumerate(kinds)]
