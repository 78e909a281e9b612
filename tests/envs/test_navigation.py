from typing import Any

import numpy as np
import pytest

from rlmaml_envs import TaskVectorEnv, make_tasks_env
from rlmaml_envs.navigation import VARIANTS, actuation, distance_cost, is_reached, progress_reward
from rlmaml_envs.navigation_goals import CORNERS, SHARED_GOAL


def navigation(variant: str, **task: Any) -> TaskVectorEnv:
    env = make_tasks_env("Navigation2D-v0", num_envs=1, variant=variant)
    env.set_tasks({name: np.array([value]) for name, value in task.items()})
    return env


def test_an_episode_lasts_100_steps_as_published() -> None:
    assert make_tasks_env("Navigation2D-v0", num_envs=1).max_episode_steps == 100
    assert [variant.horizon for variant in VARIANTS.values()] == [100, 100, 100]


def test_finn2017_by_hand() -> None:
    env = navigation("finn2017", goal=[0.3, 0.4])
    start, _ = env.reset(seed=0)
    assert start.tolist() == [[0.0, 0.0]]
    # Half of the range in x: 0.05 m; twice the range in y is clipped to 0.1 m.
    position, reward, terminated, _, info = env.step(np.array([[0.5, 2.0]]))
    np.testing.assert_allclose(position, [[0.05, 0.1]])
    # |(0.05, 0.1) - (0.3, 0.4)| = sqrt(0.25^2 + 0.3^2) = sqrt(0.1525)
    np.testing.assert_allclose(reward, [-np.sqrt(0.1525)])
    np.testing.assert_allclose(info["distance_cost"], reward)
    assert not terminated[0]
    # (0.3, 0.4) - (0.05, 0.1) = (0.25, 0.3) in three steps.
    for _ in range(3):
        position, reward, terminated, *_ = env.step(np.array([[0.25 / 0.3, 1.0]]))
    np.testing.assert_allclose(position, [[0.3, 0.4]])
    np.testing.assert_allclose(reward, [0.0], atol=1e-12)
    assert terminated[0]


@pytest.mark.parametrize(
    ("position", "reached"),
    [
        ((0.3, 0.4), True),
        ((0.3099, 0.3901), True),  # further than 0.01 m away, but inside of the square
        ((0.3101, 0.4), False),
        ((0.3, 0.3899), False),
        ((-0.3, 0.4), False),
    ],
)
def test_an_episode_ends_in_a_square_around_the_goal(position: tuple[float, float], reached: bool) -> None:
    assert is_reached(np.array(position), np.array([0.3, 0.4]), 0.01) == reached


def test_distance_cost_is_the_distance_and_not_its_square() -> None:
    far = distance_cost(np.zeros(2), np.array([3.0, 0.0]), np.array([0.0, 4.0]))
    assert far == -5.0


def test_rothfuss2019_starts_in_a_square_around_the_origin() -> None:
    env = make_tasks_env("Navigation2D-v0", num_envs=2000, variant="rothfuss2019")
    starts, _ = env.reset(seed=0)
    assert (abs(starts) <= 0.2).all()
    assert starts.min() < -0.19
    assert starts.max() > 0.19
    # The mean of 2000 uniform draws over [-0.2, 0.2] has standard deviation 0.4 / sqrt(12 * 2000) = 0.0026.
    assert (abs(starts.mean(axis=0)) < 4 * 0.0026).all()


def test_rothfuss2019_by_hand() -> None:
    env = navigation("rothfuss2019", corner=0)
    start, _ = env.reset(seed=4)
    before = start[0]
    for _ in range(12):
        position, reward, terminated, _, info = env.step(np.array([[1.0, 1.0]]))
        after = before + 0.2
        np.testing.assert_allclose(position[0], after)
        # Towards (2, 2) along the diagonal; without reward while x + y < 0.5.
        progress = np.hypot(*(before - 2.0)) - np.hypot(*(after - 2.0))
        expected = float(progress) if after.sum() >= 0.5 else 0.0
        np.testing.assert_allclose(reward, [expected])
        np.testing.assert_allclose(info["progress_reward"], [expected])
        assert not terminated[0]
        before = after
    assert (before > 2.0).all()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        # |x| + |y| = 0.49 is too near to the origin, 0.5 is not.
        ((0.2, 0.2), (0.24, 0.25), 0.0),
        ((0.2, 0.25), (0.25, 0.25), np.hypot(1.8, 1.75) - np.hypot(1.75, 1.75)),
        # Only the position after the move is judged.
        ((1.0, 0.1), (1.0, -0.1), 0.0),
        ((1.0, -0.1), (1.0, 0.1), np.hypot(1.0, 2.1) - np.hypot(1.0, 1.9)),
        # Another corner is nearer, although the distance to (2, 2) falls.
        ((-1.0, 1.0), (-0.8, 1.0), 0.0),
        ((-1.0, -1.0), (-0.8, -0.8), 0.0),
        # A tie counts as nearest.
        ((0.0, 0.9), (0.0, 1.1), np.hypot(2.0, 1.1) - np.hypot(2.0, 0.9)),
        # Walking away costs.
        ((1.2, 1.0), (1.0, 1.0), np.hypot(0.8, 1.0) - np.hypot(1.0, 1.0)),
        # Far outside, where |x| + |y| is large.
        ((-0.1, 5.0), (0.1, 5.0), np.hypot(2.1, 3.0) - np.hypot(1.9, 3.0)),
    ],
)
def test_the_sparse_reward_of_the_corner_at_2_2(before: Any, after: Any, expected: float) -> None:
    reward = progress_reward(np.array(before), np.array(after), CORNERS[0])
    np.testing.assert_allclose(reward, expected, atol=1e-15)


def test_the_sparse_reward_looks_for_the_nearest_corner() -> None:
    generator = np.random.default_rng(0)
    before, after = generator.uniform(-4.0, 4.0, (2, 1000, 2))
    nearest = np.linalg.norm(after[:, None] - CORNERS, axis=-1).argmin(axis=1)
    has_left = np.linalg.norm(after, ord=1, axis=1) >= 0.5
    assert 0 < has_left.sum() < 1000
    for corner, goal in enumerate(CORNERS):
        rewarded = progress_reward(before, after, np.tile(goal, (1000, 1))) != 0
        np.testing.assert_array_equal(rewarded, has_left & (nearest == corner))


def test_every_corner_rewards_the_walk_towards_it() -> None:
    assert {tuple(corner) for corner in CORNERS.tolist()} == {(2, 2), (-2, 2), (-2, -2), (2, -2)}
    for goal in CORNERS:
        rewards = [progress_reward(0.5 * corner, 0.6 * corner, goal) for corner in CORNERS]
        # 0.1 * |(2, 2)| = 0.2 * sqrt(2) towards the own corner.
        np.testing.assert_allclose(rewards, 0.2 * np.sqrt(2) * (goal == CORNERS).all(axis=1))


def test_dynamics_by_hand() -> None:
    env = navigation("dynamics", wind=[0.01, -0.02], gain=1.5, rotation=np.pi / 2)
    env.reset(seed=0)
    # A quarter turn maps the action (1, 0.5) to (-0.5, 1); times 0.1 m times 1.5 is (-0.075, 0.15);
    # with the wind (-0.065, 0.13).
    position, reward, *_ = env.step(np.array([[1.0, 0.5]]))
    np.testing.assert_allclose(position, [[-0.065, 0.13]])
    # |(-0.065, 0.13) - (0.3, 0.4)| = sqrt(0.365^2 + 0.27^2)
    np.testing.assert_allclose(reward, [-np.hypot(0.365, 0.27)])
    # Doing nothing drifts with the wind; the gain does not act on it.
    position, *_ = env.step(np.zeros((1, 2)))
    np.testing.assert_allclose(position, [[-0.055, 0.11]])


def test_actuation_rotates_counter_clockwise_and_scales() -> None:
    matrix = actuation(np.array([1.0, 0.5]), np.array([0.0, np.pi / 6]), 0.1)
    half, root = 0.5, np.sqrt(3) / 2
    np.testing.assert_allclose(
        matrix, [[[0.1, 0.0], [0.0, 0.1]], [[0.05 * root, -0.05 * half], [0.05 * half, 0.05 * root]]]
    )


def test_the_goal_is_within_reach_of_every_dynamics_task() -> None:
    variant = VARIANTS["dynamics"]
    space: Any = variant.task_parameters
    weakest = variant.max_displacement * float(space["gain"].low)
    strongest_wind = np.hypot(*space["wind"].high)
    steps = np.hypot(*SHARED_GOAL) / (weakest - strongest_wind)
    assert strongest_wind < weakest
    assert steps < 50


@pytest.mark.parametrize(("rotation", "arrives"), [(0.0, True), (1.0, True), (2.0, False), (np.pi, False)])
def test_one_feedback_policy_copes_with_less_than_a_quarter_turn_only(rotation: float, arrives: bool) -> None:
    env = navigation("dynamics", wind=[0.0, 0.0], gain=1.0, rotation=rotation)
    position, _ = env.reset()
    terminated = np.array([False])
    for _ in range(100):
        position, _, terminated, _, _ = env.step(3.0 * (SHARED_GOAL - position))
    assert terminated[0] == arrives


def test_a_picture_shows_the_whole_path_even_if_it_is_the_first() -> None:
    seldom, always = (make_tasks_env("Navigation2D-v0", 2, 20, render_mode="rgb_array") for _ in range(2))
    for env in (seldom, always):
        env.set_tasks({"goal": np.array([[0.5, 0.5]])})
        env.reset(seed=0)
    for step in range(8):
        actions = np.array([[0.3, 0.0], [0.0, 0.3]])
        always.step(actions)
        always.render()
        seldom.step(actions)
        if step == 3:
            for env in (seldom, always):
                env.reset(options={"reset_mask": np.array([False, True])})
    for one, other in zip(seldom.render(), always.render(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (seldom.render()[0] != seldom.render()[1]).any()
    assert seldom.render()[0].std() > 0
