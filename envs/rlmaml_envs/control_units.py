"""Names and units of controls, as far as a model says them: torque, position and velocity actuators."""

import numpy as np

from rlmaml_envs.simulator import mujoco

LENGTHS = {"angle": "rad", "length": "m"}
FORCES = {"angle": "N m", "length": "N"}
JOINTS = {mujoco.mjtJoint.mjJNT_HINGE.value: "angle", mujoco.mjtJoint.mjJNT_SLIDE.value: "length"}
AT_ONCE = (
    mujoco.mjtDyn.mjDYN_NONE.value,
    mujoco.mjtDyn.mjDYN_FILTER.value,
    mujoco.mjtDyn.mjDYN_FILTEREXACT.value,
)
"""Dynamics under which a control is what it will be: no filter changes its unit."""


def control_names(model: mujoco.MjModel) -> tuple[str, ...]:
    """The actuator of each control by name; by the control's number where it has none, or several controls."""
    owner = np.repeat(np.arange(len(model.actuator_ctrlnum)), model.actuator_ctrlnum).tolist()
    names = [model.actuator(index).name for index in owner]
    return tuple(name if name and names.count(name) == 1 else str(number) for number, name in enumerate(names))


def control_units(model: mujoco.MjModel) -> tuple[str, ...]:
    """The unit of each actuator's control; ``""`` for one that the model does not say.

    A motor's control of 1 is its gain and gear in N m or N, e.g. ``"120 N m"``; a position servo is in rad or m, a
    velocity servo, also one that integrates its control, in rad/s or m/s; through a gear g, in 1/g of these.
    """
    owner = np.repeat(np.arange(len(model.actuator_ctrlnum)), model.actuator_ctrlnum)
    return tuple(_unit(model, index) for index in owner.tolist())


def _unit(model: mujoco.MjModel, index: int) -> str:
    """The unit of one actuator."""
    gain, bias = model.actuator_gainprm[index], model.actuator_biasprm[index]
    acts_at_once = model.actuator_dyntype[index] in AT_ONCE
    integrates = model.actuator_dyntype[index] == mujoco.mjtDyn.mjDYN_INTEGRATOR.value
    moved, gear = _moved(model, index), float(model.actuator_gear[index, 0])
    fixed = model.actuator_gaintype[index] == mujoco.mjtGain.mjGAIN_FIXED.value
    if not (moved and gear and fixed and (acts_at_once or integrates)):
        return ""
    if model.actuator_biastype[index] == mujoco.mjtBias.mjBIAS_NONE.value:
        return "" if integrates else _times(gain[0] * gear, FORCES[moved])
    if model.actuator_biastype[index] != mujoco.mjtBias.mjBIAS_AFFINE.value or bias[0]:
        return ""
    if bias[1] and np.isclose(gain[0], -bias[1]):
        return _times(1 / gear, LENGTHS[moved] + ("/s" if integrates else ""))
    if not bias[1] and bias[2] and np.isclose(gain[0], -bias[2]) and not integrates:
        return _times(1 / gear, LENGTHS[moved] + "/s")
    return ""


def _moved(model: mujoco.MjModel, index: int) -> str:
    """Whether an actuator moves an angle or a length; ``""`` for neither, or several."""
    kind, target = int(model.actuator_trntype[index]), int(model.actuator_trnid[index, 0])
    if kind in (mujoco.mjtTrn.mjTRN_JOINT.value, mujoco.mjtTrn.mjTRN_JOINTINPARENT.value):
        return JOINTS.get(int(model.jnt_type[target]), "")
    if kind == mujoco.mjtTrn.mjTRN_TENDON.value:
        first = int(model.tendon_adr[target])
        wraps = model.wrap_type[first : first + int(model.tendon_num[target])]
        return "" if (wraps == mujoco.mjtWrap.mjWRAP_JOINT.value).any() else "length"
    return "length" if kind == mujoco.mjtTrn.mjTRN_SLIDERCRANK.value else ""


def _times(size: float, unit: str) -> str:
    return unit if np.isclose(size, 1) else f"{size:g} {unit}"
