import mujoco
import numpy as np
import pytest

from rlmaml_envs import make_tasks_env
from rlmaml_envs.observation_names import joint_forces, joint_positions, joint_velocities, of_bodies, state_without
from tests.envs.robots import body, family
from tests.envs.test_contract import EVERY

ROBOT = mujoco.MjModel.from_xml_string("""<mujoco><worldbody>
<body name="base"><freejoint name="root"/><geom size=".1"/>
<body name="arm"><joint name="elbow"/><geom size=".1"/></body>
<body><joint name="ball" type="ball"/><geom size=".1"/></body>
<body name="lift"><joint type="slide"/><geom size=".1"/></body></body></worldbody></mujoco>""")


def test_each_number_of_the_state_has_the_name_and_unit_of_its_joint() -> None:
    positions, velocities, forces = joint_positions(ROBOT), joint_velocities(ROBOT), joint_forces(ROBOT)
    assert (len(positions), len(velocities), len(forces)) == (ROBOT.nq, ROBOT.nv, ROBOT.nv)
    assert positions[2:4] == [("root position z", "m"), ("root position quaternion w", "")]
    assert positions[7] == ("elbow position", "rad")
    assert positions[-1] == ("joint 3 position", "m")
    assert velocities[3:7] == [*((f"root speed about {axis}", "rad/s") for axis in "xyz"), ("elbow speed", "rad/s")]
    assert [unit for _, unit in forces] == ["N"] * 3 + ["N m"] * 7 + ["N"]
    assert state_without(9, ROBOT) == [*positions[9:], *velocities]


def test_a_field_of_bodies_is_named_body_after_body() -> None:
    names = [name for name, _ in of_bodies(ROBOT, (("mass", "kg"), ("pull", "N")), 1)]
    assert names == [f"{name} {part}" for name in ("base", "arm", "body 3", "lift") for part in ("mass", "pull")]


@pytest.mark.usefixtures("untried")
@pytest.mark.parametrize(("env_id", "variant"), EVERY)
def test_every_number_of_our_observations_has_a_name_of_its_own(env_id: str, variant: str) -> None:
    env = make_tasks_env(env_id, 1, variant=variant, observe_task=True)
    (size,) = env.single_observation_space.shape or ()
    assert len(set(env.observation_names)) == len(env.observation_units) == size
    assert not {str(number) for number in range(size)} & set(env.observation_names)


def test_names_that_do_not_fit_the_observation_are_refused() -> None:
    wrong = family(body(observed=lambda model: [("front", "m")]))
    with pytest.raises(ValueError, match="each of the 4 numbers that observe gives; got 1"):
        wrong(1)


def test_a_robot_that_says_nothing_has_numbers_for_names() -> None:
    worlds = family()(1)
    assert worlds.observation_names == ("0", "1", "2", "3")
    assert worlds.observation_units == ("",) * 4
    assert np.shape(worlds.observe()) == (1, 4)
