"""How fast a robot may move before its simulation counts as unstable: a property of the robot."""

import numpy as np

from rlmaml_envs.family import Floats
from rlmaml_envs.simulator import mujoco

FASTEST = 1e3
"""A velocity above this, m/s or rad/s, is of no ordinary robot; under extreme actions they reach 110."""

OVERSHOOT = 2.0
"""How much faster than its actuator drives it in the end a joint may be on the way."""


def speed_limits(model: mujoco.MjModel, fastest: float | None) -> Floats:
    """The largest sound speed of each degree of freedom, (nv,) m/s or rad/s.

    Where nothing is said it is 1000, or twice the speed at which an actuator drives its joint in the end, where that
    is more, as for the rotor of a drone: ``g f / (d + g^2 k)``, with the largest force f, the gear g, the damping d of
    the joint and the velocity feedback k of the actuator.

    Args:
        model: the robot.
        fastest: the limit of all; None for what follows from the model.

    Raises:
        ValueError: ``fastest`` is not positive.
    """
    if fastest is not None:
        if not fastest > 0:
            raise ValueError(f"fastest must be a positive speed, m/s or rad/s; got {fastest}.")
        return np.full(model.nv, float(fastest))
    limits = np.full(model.nv, FASTEST)
    on_joints = (mujoco.mjtTrn.mjTRN_JOINT.value, mujoco.mjtTrn.mjTRN_JOINTINPARENT.value)
    ordinary = (mujoco.mjtGain.mjGAIN_FIXED.value, mujoco.mjtGain.mjGAIN_AFFINE.value)
    for index, kind in enumerate(model.actuator_trntype.tolist()):
        joint, gear = model.actuator_trnid[index, 0], abs(model.actuator_gear[index, 0])
        if kind not in on_joints or model.actuator_gaintype[index] not in ordinary or model.jnt_type[joint] < 2:
            continue
        if not model.actuator_ctrllimited[index]:
            continue
        dof = model.jnt_dofadr[joint]
        force = abs(model.actuator_gainprm[index, 0]) * np.abs(model.actuator_ctrlrange[index]).max()
        if model.actuator_forcelimited[index]:
            force = min(force, np.abs(model.actuator_forcerange[index]).max())
        feedback = max(0.0, -model.actuator_biasprm[index, 2])
        resistance = model.dof_damping[dof] + gear**2 * feedback
        driven = gear * force / resistance if resistance > 0 else 0.0
        if driven > FASTEST:
            limits[dof] = max(limits[dof], OVERSHOOT * driven)
    return limits
