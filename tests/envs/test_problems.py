from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from gymnasium import spaces

from rlmaml_envs.half_cheetah import GYMNASIUM
from rlmaml_envs.locomotion import LocomotionVariant, Motion
from rlmaml_envs.problems import (
    along_direction,
    at_goal,
    at_speed,
    forwards,
    forwards_or_backwards,
    goal_position,
    sample_disc,
)

VELOCITY = np.array([[1.0, 2.0], [-0.5, 0.25]])


def reward(variant: LocomotionVariant, **task: Any) -> npt.NDArray[np.float64]:
    (term,) = variant.reward_terms.values()
    position, nothing = np.array([[1.0, 0.0], [0.0, 3.0]]), cast(Any, None)
    motion = Motion(VELOCITY, position, actions=VELOCITY, healthy=np.ones(2, np.bool_), physics=nothing)
    return term(motion, {name: np.array(values) for name, values in task.items()})


def test_rewards_by_hand() -> None:
    assert reward(at_speed(GYMNASIUM, {}, 2.0, 3.0), velocity=[3.0, 0.0]).tolist() == [-2.0, -0.5]
    assert reward(forwards(GYMNASIUM, {}, weight=2.0)).tolist() == [2.0, -1.0]
    assert reward(forwards_or_backwards(GYMNASIUM, {}), backward=[0, 1]).tolist() == [1.0, 0.5]
    assert reward(along_direction(GYMNASIUM, {}), direction=[np.pi / 2, 0.0]) == pytest.approx([2.0, -0.5])
    goals = {"distance": [3.0, 2.0], "direction": [0.0, np.pi / 2]}
    assert reward(at_goal(GYMNASIUM, {}, 3.0, 4.5), **goals) == pytest.approx([-2.0, -1.0])


def test_goals_are_uniform_over_the_disc() -> None:
    variant = at_goal(GYMNASIUM, {}, 3.0, 4.5)
    space = spaces.Dict(dict(variant.task_parameters))
    drawn = [sample_disc(space, np.random.default_rng(seed)) for seed in range(4000)]
    assert all(space.contains(task) for task in drawn)
    distance = np.array([task["distance"] for task in drawn])
    goals = goal_position(distance, np.array([task["direction"] for task in drawn]))
    # uniform over a disc of radius R: E|x|^2 = R^2 / 2 = 4.5, with deviation R^2 / sqrt(12 n) = 0.041
    assert np.square(distance).mean() == pytest.approx(4.5, abs=4 * 0.041)
    assert np.abs(goals.mean(axis=0)).max() < 4 * 1.5 / np.sqrt(4000)


def test_the_wide_space_contains_the_space_of_training() -> None:
    for variant in (at_speed(GYMNASIUM, {}, 2.0, 3.0), at_goal(GYMNASIUM, {}, 3.0, 4.5)):
        for name, wide in variant.wide_task_parameters.items():
            narrow = variant.task_parameters[name]
            assert isinstance(narrow, spaces.Box)
            assert isinstance(wide, spaces.Box)
            assert (wide.low <= narrow.low).all()
            assert (wide.high > narrow.high).all()


@pytest.mark.parametrize("direction", [-np.pi / 2, 0.0, np.pi / 2, np.pi])
def test_a_picture_says_where_to_go_from_every_side(direction: float) -> None:
    from rlmaml_envs import ant

    towards = ant.PLANE_DIRECTION.variants["gymnasium"].marks({"direction": np.array(direction)})
    assert towards.text == f"direction {np.degrees(direction):.0f} deg"
    goal = ant.GOAL.variants["rothfuss2019"].marks({"distance": np.array(2.0), "direction": np.array(direction)})
    assert goal.goal is not None
    assert goal.text == f"goal ({goal.goal[0]:.1f}, {goal.goal[1]:.1f}) m"
