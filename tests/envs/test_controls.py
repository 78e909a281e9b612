from typing import Any

import mujoco
import numpy as np
import pytest

from envs.controls import control_ranges
from envs.family import to_controls
from tests.envs.robots import body, family

SERVOS = """<mujoco><option timestep="0.005"/><worldbody><body pos="0 0 .5"><joint name="a" axis="0 1 0" damping="2"/>
<geom type="capsule" fromto="0 0 0 .2 0 0" size=".02"/><body pos=".2 0 0"><joint name="b" axis="0 1 0" damping="2"/>
<geom type="capsule" fromto="0 0 0 .2 0 0" size=".02"/></body></body></worldbody><actuator>
<position name="hip" joint="a" kp="200" ctrlrange="-1.57 1.57"/>
<position name="knee" joint="b" kp="200" ctrlrange="0 2.6"/>
<motor name="free" joint="b"/></actuator></mujoco>"""

BOUND = SERVOS.replace('<motor name="free" joint="b"/>', "")


def ranges(xml: str, asked: Any) -> list[list[float]]:
    found: list[list[float]] = control_ranges(mujoco.MjModel.from_xml_string(xml), asked).tolist()
    return found


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, [[-1.57, 1.57], [0, 2.6]]),
        (1.0, [[-1, 1], [0, 1]]),
        ([1.57, 2.6], [[-1.57, 1.57], [0, 2.6]]),
        (9.0, [[-1.57, 1.57], [0, 2.6]]),
        ([[-0.5, 0.7], [1.0, 2.0]], [[-0.5, 0.7], [1.0, 2.0]]),
        ([[-2.5, 0.7], [-1.0, 3.0]], [[-1.57, 0.7], [0, 2.6]]),
    ],
)
def test_a_range_is_what_was_asked_for_within_each_actuators_own(asked: Any, expected: list[list[float]]) -> None:
    assert ranges(BOUND, asked) == expected


def test_without_a_range_of_its_own_an_actuator_has_the_one_that_was_asked_for_or_none() -> None:
    assert ranges(SERVOS, 3.0)[2] == [-3, 3]
    with pytest.raises(ValueError, match=r"The actuator free has no ctrlrange.*control_range"):
        ranges(SERVOS, None)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ([1.0, 2.0, 3.0], r"one number, or of shape \(2,\) or \(2, 2\); got \[1.0, 2.0, 3.0\]"),
        (np.nan, "must be finite"),
        (0.0, r"\[-0.0, 0.0\] for the actuator hip, whose own ctrlrange is \[-1.57, 1.57\]"),
        ([[-1, 1], [-2, -1]], r"\[-2.0, -1.0\] for the actuator knee, whose own ctrlrange is \[0.0, 2.6\]"),
    ],
)
def test_a_range_that_is_none_is_refused(asked: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ranges(BOUND, asked)


@pytest.mark.parametrize("asked", [None, [1.57, 2.6]])
def test_full_actions_reach_both_ends_of_each_servos_own_range(asked: Any) -> None:
    made = family(body(BOUND, control_range=asked), changes={})
    world = made(2)
    world.reset(np.arange(2), {0: np.random.default_rng(0), 1: np.random.default_rng(1)})
    for _ in range(60):
        world.step(np.array([[-1.0, -1.0], [1.0, 1.0]]), np.ones(2, np.bool_))
    np.testing.assert_allclose(world.physics.qpos, [[-1.57, 0.0], [1.57, 2.6]], atol=0.05)
    np.testing.assert_allclose(to_controls(np.array([[0.0, -0.5]]), world.control_range), [[0.0, 0.65]])
