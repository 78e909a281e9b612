import numpy as np
import pytest

from rlmaml_envs.locomotion import Locomotion
from rlmaml_envs.model_fields import indices
from rlmaml_envs.rover import BODY, FARTHEST_RANGE, GOAL, OBSTACLES, RING

STRAIGHT = {"distance": 1.0, "direction": 0.0}


def rover(wear: list[list[float]], obstacles: list[list[float]] | None = None) -> Locomotion:
    """Copies with the given wear, facing x exactly, with obstacles out of the way unless they are given."""
    count = len(wear)
    world = GOAL(count)
    places = obstacles or [[-1.5, 1.5], [-1.5, -1.5], [-1.4, 0.0]]
    tasks = {name: np.full(count, value) for name, value in STRAIGHT.items()}
    tasks |= {"obstacles": np.array([places] * count), "wear": np.array(wear)}
    world.set_tasks(np.arange(count), tasks)
    world.reset(np.arange(count), {copy: np.random.default_rng(copy) for copy in range(count)})
    qpos = world.physics.qpos.copy()
    qpos[:, 3:7] = (1.0, 0.0, 0.0, 0.0)
    world.physics.reset(np.arange(count), qpos, world.physics.qvel.copy())
    return world


def drive(world: Locomotion, action: list[float], steps: int = 20) -> None:
    running = np.ones(len(world.physics.qpos), np.bool_)
    for _ in range(steps):
        world.step(np.tile(action, (len(running), 1)), running)


def test_it_observes_eight_ranges_and_two_wheel_speeds_and_has_two_motors() -> None:
    world = rover([[1.0, 1.0]], [[0.81, 0.0], [-1.5, -1.5], [-1.4, 1.0]])
    assert world.observation_space.shape == (10,)
    assert world.action_space.shape == (2,)
    seen = world.observe()[0]
    assert seen[0] == pytest.approx(0.81 - 0.13 - 0.15, abs=0.01)
    assert seen[2] == seen[6] == FARTHEST_RANGE
    drive(world, [0.5, 0.5], 10)
    np.testing.assert_allclose(world.observe()[0, 8:], 10.0, rtol=0.2)


def test_worn_wheels_turn_slower_and_unequal_ones_turn_the_robot() -> None:
    world = rover([[1.0, 1.0], [0.6, 0.6], [0.6, 1.0]])
    drive(world, [0.5, 0.5])
    x, y = world.physics.qpos[:, 0], world.physics.qpos[:, 1]
    assert x[1] == pytest.approx(0.6 * x[0], rel=0.1)
    assert abs(y[0]) < 0.02
    assert y[2] > 0.05
    np.testing.assert_allclose(world.physics.qvel[2, 6:], [6.0, 10.0], rtol=0.15)


def test_an_obstacle_stops_it_and_costs() -> None:
    world = rover([[1.0, 1.0]], [[0.6, 0.0], [-1.5, -1.5], [-1.4, 1.0]])
    drive(world, [1.0, 1.0], 30)
    assert world.physics.qpos[0, 0] < 0.35
    terms = world.step(np.ones((1, 2)), np.ones(1, np.bool_)).terms
    assert -1.0 <= terms["nearness_cost"][0] < -0.5


def test_a_picture_shows_the_obstacles_where_the_task_puts_them() -> None:
    places = [[0.6, 0.0], [-1.5, -1.5], [-1.4, 1.0]]
    world = rover([[1.0, 1.0]], places)
    shown = world.physics.data_of(0).xpos[indices(world.physics.model, "body", OBSTACLES), :2]
    np.testing.assert_allclose(shown, places)


def test_tasks_are_drawn_from_the_data_sheet() -> None:
    world = GOAL(1)
    tasks = [world.sample_task(np.random.default_rng(seed)) for seed in range(300)]
    distances = np.array([np.linalg.norm(task["obstacles"], axis=1) for task in tasks])
    assert (distances.min() >= RING[0]) & (distances.max() <= RING[1])
    assert (np.array([task["distance"] for task in tasks]) < 0.75).mean() == pytest.approx(0.25, abs=0.08)
    assert all(world.task_space.contains(task) for task in tasks)


def test_an_episode_lasts_100_steps() -> None:
    assert GOAL.variants["worn"].horizon == 100


def test_the_body_is_the_robot_that_the_camera_follows() -> None:
    assert BODY.build().body(1).name == "base"
