import mujoco
import numpy as np
import pytest

from rlmaml_envs.locomotion import LocomotionFamily
from rlmaml_envs.outputs import FOR_SENSORS, check_outputs
from rlmaml_envs.physics import Physics, Simulation
from tests.envs.robots import CARTS, body, family

SENSORS = {
    "framelinacc": 'objtype="body" objname="ball"',
    "frameangacc": 'objtype="body" objname="ball"',
    **dict.fromkeys(("accelerometer", "force", "torque"), 'site="site"'),
    **dict.fromkeys(("subtreelinvel", "subtreeangmom"), 'body="ball"'),
}
CASES = [(name, kind) for name, kinds in FOR_SENSORS.items() for kind in kinds]


def model(sensor: str = "", option: str = "") -> mujoco.MjModel:
    """A ball that lies on the ground and rolls, with a second one on a hinge."""
    return mujoco.MjModel.from_xml_string(
        f"""<mujoco><option>{option}</option><worldbody><geom type="plane" size="5 5 .1"/>
        <body name="ball" pos="0 0 .0999"><freejoint/><geom size=".1" mass="1"/><site name="site"/>
        <body pos="0 0 .05"><joint name="j" axis="0 1 0"/><geom size=".02" mass=".1"/></body></body></worldbody>
        <actuator><motor joint="j"/></actuator><sensor>{sensor}</sensor></mujoco>"""
    )


def read(robot: mujoco.MjModel, name: str) -> bool:
    """Whether anything but 0 is read after some steps."""
    physics = Physics(robot, 2, Simulation(substeps=2, outputs=(name,), fresh="forces"), threads=1)
    physics.reset(np.arange(2), np.stack([robot.qpos0] * 2), np.full((2, robot.nv), -0.1))
    for _ in range(3):
        physics.step(np.ones((2, 1)), np.ones(2, np.bool_))
    return bool((physics.outputs[name] != 0).any())


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_what_sensors_alone_need_is_read_with_one_and_refused_without(name: str, kind: str) -> None:
    with_one = model(f"<{kind} {SENSORS[kind]}/>")
    check_outputs(with_one, ["xpos", name])
    assert read(with_one, name)
    with pytest.raises(ValueError, match=f'outputs names "{name}".*none that needs it: it would be 0. Add .*{kind}'):
        check_outputs(model(), ["xpos", name])
    assert not read(model(), name)


def test_energy_needs_its_flag_and_inverse_dynamics_are_never_there() -> None:
    counted = model(option='<flag energy="enable"/>')
    check_outputs(counted, ["energy"])
    assert read(counted, "energy")
    with pytest.raises(ValueError, match=r'"energy", which is never computed .* <flag energy="enable"/>'):
        check_outputs(model(), ["energy"])
    with pytest.raises(ValueError, match='"qfrc_inverse", which is never computed in a simulation that goes forward'):
        check_outputs(model(), ["qfrc_inverse"])


def test_a_family_that_reads_what_is_never_computed_is_refused_when_it_is_made() -> None:
    made: LocomotionFamily = family(body(CARTS, simulation=Simulation(substeps=5, outputs=("cfrc_ext",))))
    with pytest.raises(ValueError, match='outputs names "cfrc_ext"'):
        made(2)
