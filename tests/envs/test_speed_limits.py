import mujoco
import numpy as np
import pytest

from rlmaml_envs import ant, half_cheetah, hopper, humanoid, rover, swimmer, walker2d
from rlmaml_envs.physics import Physics, Simulation
from rlmaml_envs.speed_limits import FASTEST, speed_limits

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
    ],
)
def test_the_limit_is_twice_what_the_actuator_drives_its_joint_at(actuator: str, expected: float) -> None:
    np.testing.assert_allclose(speed_limits(rotor(actuator), None), [*[FASTEST] * 6, expected])


def test_ordinary_robots_have_the_ordinary_limit() -> None:
    families = [module.VELOCITY for module in (ant, half_cheetah, swimmer)] + [humanoid.PLANE_DIRECTION]
    families += [walker2d.VELOCITY, walker2d.PARAMETERS, hopper.PARAMETERS, rover.GOAL]
    for family in families:
        assert (speed_limits(family(1).physics.model, None) == FASTEST).all()


def test_a_limit_is_positive() -> None:
    assert speed_limits(rotor(), 30.0).tolist() == [30.0] * 7
    for wrong in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="fastest must be a positive speed"):
            speed_limits(rotor(), wrong)
