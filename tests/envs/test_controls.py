from typing import Any

import mujoco
import numpy as np
import pytest

from rlmaml_envs.controls import Around, Mapped, control_ranges, to_controls
from rlmaml_envs.sheets import family_sheet
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


def test_around_a_pose_no_action_holds_it_and_full_ones_go_as_far_as_the_scale() -> None:
    held = control_ranges(mujoco.MjModel.from_xml_string(BOUND), Around([0.2, 1.3], 0.5))
    np.testing.assert_allclose(to_controls(np.array([[0.0, 0.0], [1.0, -1.0]]), held), [[0.2, 1.3], [0.7, 0.8]])
    assert ranges(SERVOS, Around([0.2, 1.3, 0.0], [0.5, 1.3, 9.0]))[2] == [-9, 9]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            Around([0.2, 0.9], [0.5, 1.0]),
            r"Around 0.9, .* actuator knee to .*\[0.0, 2.6\].*at most 0.9",
        ),
        (Around([0.2, 2.6], 0.1), "beyond its own ctrlrange.*an offset inside"),
        (Around(0.5, [0.1, 0.0]), r"scale must be above 0; got \[0.1, 0.0\]"),
        (Around([0.5], 0.1), r"offset must be finite: one number, or of shape \(2,\); got \[0.5\]"),
        (Around(0.5, np.inf), "scale must be finite"),
    ],
)
def test_around_a_pose_what_would_lose_a_part_of_the_action_is_refused_with_what_fits(
    asked: Around, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        ranges(BOUND, asked)


def together(xp: Any, actions: Any) -> Any:
    """One number bends the knee and leans the hip against it, the other leans it."""
    return xp.stack([0.5 * actions[:, 1] - 0.3 * actions[:, 0], 1.3 + 1.3 * xp.tanh(2 * actions[:, 0])], axis=1)


def test_a_function_makes_controls_of_actions_in_the_simulation() -> None:
    robot = body(BOUND, control_range=Mapped(together, 2))
    world = family(robot, changes={})(2)
    actions = np.array([[0.0, 1.0], [1.0, 0.5]])
    np.testing.assert_allclose(world.controls(actions), [[0.5, 1.3], [-0.05, 1.3 + 1.3 * np.tanh(2)]])
    np.testing.assert_allclose(world.control_range, [[-1.57, 1.57], [0, 2.6]])
    alone = Mapped(lambda xp, a: xp.stack([a[:, 0], 1 + a[:, 0]], axis=1), 1)
    one = family(body(BOUND, control_range=alone), changes={})(3)
    assert one.action_space.shape == (1,)
    one.reset(np.arange(3), {copy: np.random.default_rng(copy) for copy in range(3)})
    outcome = one.step(np.array([[-1.0], [0.0], [1.0]]), np.ones(3, np.bool_))
    np.testing.assert_allclose(outcome.terms["control_cost"], [-0.01, 0.0, -0.01])
    sheet = family_sheet("Legs-v0", "mine", one)
    assert sheet["action"] == {"size": 1}
    assert sheet["controls"]["knee"] == {"low": 0.0, "high": 2.6, "unit": "rad"}


@pytest.mark.parametrize(
    ("function", "size", "words"),
    [
        (lambda xp, a: a[:, :1], 2, r"must be numbers \(copy, control\), here \(\d+, 2\)"),
        (lambda xp, a: a + xp.stack([0 * a[:, 0], 1 + 9 * a[:, 1]], axis=1), 2, "of the actuator knee, beyond"),
        (lambda xp, a: xp.stack([a[:, 0], 1 + 0 * a[:, 1]], axis=1), 2, "the same at 0 and at -1 of number 1"),
        (
            lambda xp, a: xp.stack([a[:, 0], 0.5 * (a[:, 1] + abs(a[:, 1]))], axis=1),
            2,
            "same at 0 and at -1 of number 1",
        ),
        (lambda xp, a: xp.clip(3 * a, -1, 1) * 0.5 + 0.8, 2, r"the same in 50% of the way from 0 to -1 of number 0"),
        (lambda xp, a: 0.5 * xp.sign(a) + 0.8, 2, r"the same in 75% of the way"),
        (lambda xp, a: 0.8 + 0.5 * xp.clip(a @ xp.asarray([[1.0, 0], [3.0, 0.3]]), -1, 1), 2, "the others are full"),
        (lambda xp, a: 0.5 + 0.1 * (a - a.mean(axis=0)), 2, "mixes copies"),
        (lambda xp, a: a * xp.nan, 2, "must be finite"),
        (lambda xp, a: 1 + a, 0, "num_actions must be a positive integer"),
    ],
)
def test_a_function_that_loses_a_part_of_the_action_or_gives_no_controls_is_refused(
    function: Any, size: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        ranges(BOUND, Mapped(function, size))


def test_a_function_needs_to_know_how_far_each_control_may_go() -> None:
    with pytest.raises(ValueError, match="The actuator free has no ctrlrange"):
        ranges(SERVOS, Mapped(lambda xp, a: a, 3))


def test_units_are_the_models_or_those_that_the_body_says() -> None:
    assert family(body(BOUND), changes={})(1).control_units == ("rad", "rad")
    assert family(body(BOUND, control_units=["", "deg"]), changes={})(1).control_units == ("", "deg")
    with pytest.raises(ValueError, match=r"control_units must be 2, one per number; got 1: \['rad'\]"):
        family(body(BOUND, control_units=["rad"]), changes={})(1)


FILTERED = BOUND.replace('kp="200"', 'kp="200" timeconst="10"')


def test_an_episode_starts_with_the_activations_that_hold_its_pose() -> None:
    pose = np.array([0.3, 1.3])
    drift = {}
    for name, start in {
        "told": lambda model, generator: (pose, np.zeros(2), pose),
        "not told": lambda model, generator: (pose, np.zeros(2)),
    }.items():
        world = family(body(FILTERED, initial_state=start, control_range=Around(pose, 0.5)), changes={})(2)
        for _ in range(2):
            world.reset(np.arange(2), {copy: np.random.default_rng(copy) for copy in range(2)})
            for _ in range(20):
                world.step(np.zeros((2, 2)), np.ones(2, np.bool_))
        drift[name] = np.abs(world.physics.qpos - pose).max()
    assert drift["told"] < 0.05
    assert drift["not told"] > 0.2
    with pytest.raises(ValueError, match=r"The activations of initial_state must be numbers \(na,\), here \(2,\)"):
        family(body(FILTERED, initial_state=lambda m, g: (pose, np.zeros(2), np.zeros(3))), changes={})(2)
    with pytest.raises(ValueError, match="or activations as well; got 4 values"):
        family(body(FILTERED, initial_state=lambda m, g: (pose, np.zeros(2), pose, pose)), changes={})(2)
