"""How fast a robot may move before its simulation counts as unstable: a property of the robot."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rlmaml_envs.family import Floats
from rlmaml_envs.simulator import mujoco

FASTEST = 1e3
"""A velocity above this, m/s or rad/s, is of no ordinary robot; under extreme actions they reach 110."""

OVERSHOOT = 2.0
"""How much faster than its actuator drives it in the end a joint may be on the way."""


READ = (
    *("actuator_gear", "actuator_gainprm", "actuator_biasprm", "actuator_forcelimited", "actuator_forcerange"),
    "dof_damping",
)
"""Model fields from which the limits follow."""


def speed_limits(
    model: mujoco.MjModel,
    fastest: float | None,
    controls: Floats | None = None,
    fields: Mapping[str, npt.NDArray[Any]] = MappingProxyType({}),
) -> Floats:
    """The largest sound speed of each degree of freedom, (n, nv) m/s or rad/s.

    Where nothing is said it is 1000, or twice the speed at which an actuator drives its joint in the end, where that
    is more, as for the rotor of a drone: ``g f / (d + g^2 k)``, with the largest force f, the gear g, the damping d of
    the joint and the velocity feedback k of the actuator. A servo that holds a position drives nothing for ever.

    Args:
        model: the robot as it was built.
        fastest: the limit of all; None for what follows from the model.
        controls: lowest and highest of each that is ever commanded, (nu, 2); None for the actuators' own ranges, and
            for nothing of those that have none.
        fields: of ``READ``, those that n copies have for themselves, (n, ...).

    Raises:
        ValueError: ``fastest`` is not positive.
    """
    if fastest is not None and not fastest > 0:
        raise ValueError(f"fastest must be a positive speed, m/s or rad/s; got {fastest}.")
    of = {name: fields.get(name, getattr(model, name)[None]) for name in READ}
    limits = np.full((max(map(len, of.values())), model.nv), FASTEST if fastest is None else float(fastest))
    which = on_single_joints(model)
    if fastest is not None or not which.size:
        return limits
    gear = np.abs(of["actuator_gear"][:, which, 0])
    force = np.abs(of["actuator_gainprm"][:, which, 0]) * largest_controls(model, controls)[which]
    strongest = np.abs(of["actuator_forcerange"][:, which]).max(axis=2)
    force = np.where(of["actuator_forcelimited"][:, which] > 0, np.minimum(force, strongest), force)
    held = of["actuator_biasprm"][:, which, 1] < 0
    feedback = np.maximum(0.0, -of["actuator_biasprm"][:, which, 2])
    dofs = model.jnt_dofadr[model.actuator_trnid[which, 0]]
    resistance = of["dof_damping"][:, dofs] + gear**2 * feedback
    spins = ~held & (resistance > 0)
    driven = np.divide(gear * force, resistance, where=spins, out=np.zeros((len(limits), len(which))))
    for dof, speeds in zip(dofs.tolist(), np.where(driven > FASTEST, OVERSHOOT * driven, FASTEST).T, strict=True):
        limits[:, dof] = np.maximum(limits[:, dof], speeds)
    return limits


def on_single_joints(model: mujoco.MjModel) -> npt.NDArray[np.intp]:
    """The actuators that push or turn a joint with a force that grows with the control."""
    trn, gain, jnt = mujoco.mjtTrn, mujoco.mjtGain, mujoco.mjtJoint
    kinds, gains = model.actuator_trntype, model.actuator_gaintype
    of_joint = (kinds == trn.mjTRN_JOINT.value) | (kinds == trn.mjTRN_JOINTINPARENT.value)
    of_control = (gains == gain.mjGAIN_FIXED.value) | (gains == gain.mjGAIN_AFFINE.value)
    found = np.flatnonzero(of_joint & of_control)
    joints = model.jnt_type[model.actuator_trnid[found, 0]]
    single = (joints == jnt.mjJNT_SLIDE.value) | (joints == jnt.mjJNT_HINGE.value)
    return np.asarray(found[single], np.intp)


def largest_controls(model: mujoco.MjModel, controls: Floats | None) -> Floats:
    """The largest size of a control of each actuator, (actuators,)."""
    owner = np.repeat(np.arange(len(model.actuator_ctrlnum)), model.actuator_ctrlnum)
    own = np.where(model.actuator_ctrllimited[owner, None] > 0, model.actuator_ctrlrange[owner], 0.0)
    largest = np.zeros(len(model.actuator_ctrlnum))
    np.maximum.at(largest, owner, np.abs(own if controls is None else controls).max(axis=1))
    return largest
