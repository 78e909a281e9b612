"""What a flag switches off is what MuJoCo does not look at."""

from functools import cache
from typing import Any

import mujoco
import numpy as np
import pytest

from rlmaml_envs.changes import ground_friction
from rlmaml_envs.episodes import Episodes
from rlmaml_envs.model_fields import places
from rlmaml_envs.physics import Physics, Simulation
from rlmaml_envs.switched_off import DISABLED, ENABLED
from tests.envs.robots import CARTS, body, family

ROBOT = """<mujoco><compiler angle="radian"/><option timestep=".002" gravity="1 2 -9.81"/>
<worldbody><geom name="floor" type="plane" size="5 5 .1" friction=".4"/>
<body name="base" pos="0 0 .06"><freejoint name="root"/><geom name="box" type="box" size=".2 .1 .05" friction=".5"/>
<body name="arm" pos="0 .2 .3" gravcomp=".3"><joint name="left" axis="0 1 0" damping=".5" frictionloss=".2"/>
<inertial pos="0 0 .1" mass="1" diaginertia=".1 .2 .15"/></body>
<body name="leg" pos="0 -.2 .3" gravcomp=".2"><inertial pos=".1 0 0" mass="1" diaginertia=".1 .2 .15"/><joint
name="right" axis="0 1 0" damping=".5" range="-.01 .01" stiffness="2" springyield=".01" frictionloss=".3"/></body>
</body>
<body pos="2 0 .09"><freejoint/><geom name="ball" size=".1" contype="0" conaffinity="0"/></body></worldbody>
<contact><pair name="far" geom1="floor" geom2="ball"/></contact>
<equality><joint name="grip" joint1="left" joint2="right" polycoef=".1 .5 0 0 0"/></equality>
<tendon><fixed name="rope" range="-.01 .01" springlength=".01 .02" stiffness="1" damping=".3" frictionloss=".1">
<joint joint="right" coef="2"/></fixed></tendon>
<actuator><motor name="front" joint="left"/><motor name="back" joint="right" ctrlrange="-1 1" damping=".1"/></actuator>
<sensor><jointpos name="angle" joint="left"/></sensor></mujoco>"""
NAMES = {
    "geom": ("geom", "box"), "body": ("body", "leg"), "jnt": ("joint", "right"), "dof": ("joint", "right"),
    "qpos": ("joint", "right"), "tendon": ("tendon", "rope"), "actuator": ("actuator", "back"), "pair": ("pair", "far"),
    "eq": ("equality", "grip"),
}  # fmt: skip
FLAGS = {f"disable{flag}": fields for flag, fields in DISABLED.items()} | {
    f"enable{flag}": fields for flag, fields in ENABLED.items()
}


def built(flag: str = "") -> mujoco.MjModel:
    spec = mujoco.MjSpec.from_string(ROBOT)
    for kind, bits in (("disable", mujoco.mjtDisableBit), ("enable", mujoco.mjtEnableBit)):
        if flag.startswith(kind):
            prefix = {"disable": "mjDSBL_", "enable": "mjENBL_"}[kind]
            bit = int(getattr(bits, prefix + flag.removeprefix(kind).upper()).value)
            setattr(spec.option, f"{kind}flags", getattr(spec.option, f"{kind}flags") | bit)
    return spec.compile()


def other(model: mujoco.MjModel, field: str) -> tuple[Any, Any]:
    """Where a field of the robot is changed, and its other numbers there."""
    if field == "opt.gravity":
        return slice(None), [1.0, 2.0, -3.0]
    kind, name = NAMES[field.split("_")[0]]
    values = getattr(model, field).reshape(-1)
    where = places(model, field, kind, [name])[0]
    if values.dtype.kind != "f":
        return where, 4 if field.endswith(("condim", "dim")) else 1 - values[where]
    return where, values[where] * 0.5 if "range" in field else 1.3 * values[where] + 0.03


@cache
def gone_to(flag: str, field: str = "") -> Any:
    """Where MuJoCo itself takes the robot to in 0.1 s, with other numbers in a field."""
    model = built(flag)
    if field:
        where, numbers = other(model, field)
        of = model.opt.gravity if field == "opt.gravity" else getattr(model, field).reshape(-1)
        of[where] = numbers
    data = mujoco.MjData(model)
    data.qvel[:], data.ctrl[:] = np.random.default_rng(0).normal(size=model.nv) * 0.5, 0.7
    data.qvel[0] = 1.0
    mujoco.mj_step(model, data, 50)
    return np.array(data.qpos)


def listed() -> list[tuple[str, str]]:
    """Flags and the fields that they switch off, of which the robot has some; flexes have none here."""
    return [(flag, field) for flag, fields in FLAGS.items() for field in fields if not field.startswith("flex_")]


@pytest.mark.parametrize("flag", FLAGS)
def test_mujoco_looks_at_nothing_of_what_a_flag_is_said_to_switch_off(flag: str) -> None:
    fields = [field for one, field in listed() if one == flag]
    for field in fields:
        np.testing.assert_array_equal(gone_to(flag, field), gone_to(flag), err_msg=field)
    seen = [field for field in fields if not np.array_equal(gone_to("", field), gone_to(""))]
    assert len(seen) >= len(fields) / 3, seen


@pytest.mark.parametrize("flag", FLAGS)
def test_tasks_cannot_differ_in_what_a_flag_switches_off(flag: str) -> None:
    state = "enable" if flag.startswith("enable") else "disable"
    for field in (field for one, field in listed() if one == flag):
        physics = Physics(built(flag), 2, Simulation(substeps=1), threads=1)
        where, numbers = other(physics.model, field)
        physics.field(field).reshape(2, -1)[1, where] = numbers
        with pytest.raises(ValueError, match=f'"{field}" has no effect, because of <flag {flag.removeprefix(state)}="'):
            physics.settle(np.arange(2))


def test_what_is_left_as_it_was_built_is_no_change() -> None:
    physics = Physics(built("disabledamper"), 2, Simulation(substeps=1), threads=1)
    physics.field("dof_damping")
    physics.settle(np.arange(2))


def test_the_friction_of_the_ground_is_that_of_the_option_where_it_overrides_all_contacts() -> None:
    physics = Physics(built("enableoverride"), 2, Simulation(substeps=1), threads=1)
    ground_friction(physics, np.arange(2), np.array([1.0, 0.5]))
    with pytest.raises(ValueError, match=r'"(geom|pair)_friction" has no effect, because of <flag override="enable"/>'):
        physics.settle(np.arange(2))


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ('><flag sleep="enable"/></option>', 'has <flag sleep="enable"/>, whose bookkeeping is no part of the state'),
        ('><flag actuation="disable"/></option>', 'switched off by <flag actuation="disable"/>'),
        ('><flag sensor="disable"/></option>', 'outputs names "sensordata", which would be 0'),
        (' actuatorgroupdisable="0 2"/>', "The actuators push are switched off by actuatorgroupdisable"),
    ],
)
def test_a_robot_whose_actuators_or_sensors_are_off_or_that_sleeps_is_refused(option: str, words: str) -> None:
    xml = CARTS.replace('gravity="0 0 0"/>', f'gravity="0 0 0"{option}').replace('name="pull"', 'name="pull" group="3"')
    assert xml.count(option) == 1
    with pytest.raises(ValueError, match=words):
        Episodes("Carts-v0", family(body(xml, simulation=Simulation(5, outputs=("sensordata",)))), 2)
