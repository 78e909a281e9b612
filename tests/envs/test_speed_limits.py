from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
import pytest

from rlmaml_envs import ant, half_cheetah, hopper, humanoid, rover, swimmer, walker2d
from rlmaml_envs.bodies import ground_position
from rlmaml_envs.locomotion import LocomotionFamily
from rlmaml_envs.physics import Physics, Simulation
from rlmaml_envs.speed_limits import FASTEST, speed_limits
from tests.envs.robots import body, family

ROTOR = """<mujoco><option timestep="0.002" gravity="0 0 0"/><worldbody>
<body name="drone" pos="0 0 1"><freejoint/><geom type="box" size=".1 .1 .02" mass="0.5"/><body pos=".1 .1 .03">
<joint name="rotor" axis="0 0 1" damping="1e-6" armature="1e-6"/><geom type="cylinder" size=".05 .002" mass="0.005"/>
</body></body></worldbody><actuator>{actuator}</actuator></mujoco>"""

VELOCITY = '<velocity joint="rotor" kv="0.0005" ctrlrange="0 2500"/>'


def rotor(actuator: str = VELOCITY) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(ROTOR.format(actuator=actuator))


def test_a_rotor_spins_as_in_mujoco() -> None:
    model = rotor()
    data = mujoco.MjData(model)
    data.ctrl[:] = 2500
    physics = Physics(rotor(), 2, Simulation(substeps=5), threads=1)
    physics.reset(np.arange(2), np.stack([model.qpos0] * 2), np.zeros((2, model.nv)))
    for _ in range(300):
        mujoco.mj_step(model, data, nstep=5)
        assert physics.step(np.full((2, 1), 2500.0), np.ones(2, np.bool_)) is None
    np.testing.assert_array_equal(physics.qvel, [data.qvel] * 2)
    assert physics.qvel[0, 6] > 2000
    slow = Physics(rotor(), 2, Simulation(substeps=5, fastest=1000.0), threads=1)
    slow.reset(np.arange(2), np.stack([model.qpos0] * 2), np.zeros((2, model.nv)))
    causes = [slow.step(np.full((2, 1), 2500.0), np.ones(2, np.bool_)) for _ in range(300)]
    assert any(cause is not None and (cause == "velocity diverged").all() for cause in causes)


@pytest.mark.parametrize(
    ("actuator", "expected"),
    [
        (VELOCITY, 2 * 0.0005 * 2500 / (1e-6 + 0.0005)),
        ('<velocity joint="rotor" kv="0.0005" gear="2" ctrlrange="0 2500"/>', 2 * 2 * 1.25 / (1e-6 + 4 * 0.0005)),
        ('<motor joint="rotor" ctrlrange="-1 1" gear="0.01"/>', 2 * 0.01 / 1e-6),
        ('<motor joint="rotor" ctrlrange="-1 1" gear="0.01" forcerange="-.5 .5"/>', 2 * 0.005 / 1e-6),
        ('<motor joint="rotor" ctrlrange="-1 1" gear="0.0005"/>', FASTEST),
        ('<motor joint="rotor" gear="0.01"/>', FASTEST),
        ('<position joint="rotor" kp="1" kv="0.1" ctrlrange="-3 3"/>', FASTEST),
        ('<position joint="rotor" kp="100" ctrlrange="-3 3"/>', FASTEST),
    ],
)
def test_the_limit_is_twice_what_the_actuator_drives_its_joint_at(actuator: str, expected: float) -> None:
    np.testing.assert_allclose(speed_limits(rotor(actuator), None), [[*[FASTEST] * 6, expected]])


def looser(physics: Any, copies: Any, loads: Any) -> None:
    """A load divides the damping."""
    physics.field("dof_damping")[copies, 6] = physics.model.dof_damping[6] / loads[:, 0]


def flying(actuator: str, **changed: Any) -> LocomotionFamily:
    robot = body(ROTOR.format(actuator=actuator), control_range=changed.pop("control_range", None))
    place = replace(robot, position=ground_position, initial_state=lambda m, g: (m.qpos0.copy(), np.zeros(m.nv)))
    return family(place, **{"changes": {}, **changed})


def test_controls_that_the_body_asks_for_count_where_the_actuator_has_no_range_of_its_own() -> None:
    world = flying('<velocity joint="rotor" kv="0.0005"/>', control_range=2500.0)(2)
    world.set_tasks(np.arange(2), {"speed": np.array([0.5, 0.5]), "load": np.ones((2, 1))})
    world.reset(np.arange(2), {copy: np.random.default_rng(copy) for copy in range(2)})
    for _ in range(100):
        assert world.step(np.ones((2, 1)), np.ones(2, np.bool_)).instability is None
    assert world.physics.qvel[0, 6] > 2000


def test_a_task_that_makes_a_joint_faster_raises_the_limit_of_its_copies_alone() -> None:
    robot = flying('<motor joint="rotor" ctrlrange="-1 1" gear="0.009"/>', changes={"load": looser})(3)
    load = np.array([[1.0], [2.0], [1.5]])
    robot.set_tasks(np.arange(3), {"speed": np.full(3, 0.5), "load": load})
    limits = robot.physics._fastest
    np.testing.assert_allclose(limits[:, 6], 2 * 0.009 / (1e-6 / load[:, 0]))
    assert (limits[:, :6] == FASTEST).all()
    robot.set_tasks(np.array([1]), {"speed": np.full(1, 0.5), "load": np.ones((1, 1))})
    np.testing.assert_allclose(limits[:, 6], 2 * 0.009 / (1e-6 / np.array([1.0, 1.0, 1.5])))


def test_ordinary_robots_have_the_ordinary_limit() -> None:
    families = [module.VELOCITY for module in (ant, half_cheetah, swimmer)] + [humanoid.PLANE_DIRECTION]
    families += [walker2d.VELOCITY, walker2d.PARAMETERS, hopper.PARAMETERS, rover.GOAL]
    for sheet in families:
        assert (speed_limits(sheet(1).physics.model, None) == FASTEST).all()


def test_a_limit_is_positive() -> None:
    assert speed_limits(rotor(), 30.0).tolist() == [[30.0] * 7]
    for wrong in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="fastest must be a positive speed"):
            speed_limits(rotor(), wrong)
