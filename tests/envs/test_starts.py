import mujoco
import numpy as np
import pytest

from rlmaml_envs.rehearsal import NUM_COPIES, try_out
from rlmaml_envs.starts import said_of_start
from tests.envs.robots import CARTS, body, family

LEG = """<mujoco><compiler angle="radian"/><worldbody><geom name="floor" type="plane" size="9 9 .1"/>
<body pos="0 0 {height}"><freejoint/><geom name="trunk" type="box" size=".2 .1 .1"/>
<body pos="0 0 -.1"><joint name="knee" axis="0 1 0" range="-2.7 -0.9"/><geom name="shin" size=".02" pos="0 0 -.3"/>
</body></body></worldbody><actuator><motor joint="knee"/></actuator></mujoco>"""


def said(height: float, knee: float) -> list[str]:
    model = mujoco.MjModel.from_xml_string(LEG.format(height=height))
    return said_of_start(model, np.r_[model.qpos0[:7], knee])


@pytest.mark.parametrize("knee", [-2.75, -1.0, -0.8])
@pytest.mark.parametrize("height", [0.415, 0.45, 2.0])
def test_nothing_is_said_of_a_start_that_is_within_noise_of_its_ranges_and_of_the_ground(
    height: float, knee: float
) -> None:
    assert said(height, knee) == []


def test_joints_that_start_beyond_their_ranges_are_named_with_both() -> None:
    (words,) = said(2.0, 0.0)
    assert words.startswith(
        'joints start beyond their ranges and are pushed back at once: "knee" at 0, not -2.7 to -0.9'
    )


def test_parts_that_start_inside_each_other_are_named_once_with_their_depth() -> None:
    """A box that is half in the floor touches it at four corners."""
    (words,) = [words for words in said(0.0, -1.0) if "trunk" in words]
    assert 'the geoms "floor" and "trunk" start 0.1 m inside each other' in words


def test_who_makes_an_environment_of_such_a_robot_is_told() -> None:
    limited = CARTS.replace('name="slide"', 'name="slide" range="1 2" limited="true"')
    with pytest.warns(UserWarning, match='Carts-v0: joints start beyond their ranges .*"slide" at'):
        try_out("Carts-v0", family(body(limited))(NUM_COPIES))


def test_a_geom_without_a_name_is_told_by_its_body() -> None:
    """A base without a joint is part of the world: MuJoCo lets it touch its own first link."""
    model = mujoco.MjModel.from_xml_string("""<mujoco><worldbody><body name="base"><geom size=".05"/><body name="link">
    <joint axis="0 1 0"/><geom type="capsule" fromto="0 0 0 .3 0 0" size=".03"/></body></body></worldbody></mujoco>""")
    (words,) = said_of_start(model, model.qpos0)
    assert words.startswith(
        'the geoms number 0 (of the body "base") and number 1 (of the body "link") start 0.08 m inside'
    )
