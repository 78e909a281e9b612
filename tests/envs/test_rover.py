import numpy as np
import pytest

from rlmaml_envs.locomotion import Locomotion
from rlmaml_envs.model_fields import indices
from rlmaml_envs.parts import part_columns, part_shapes
from rlmaml_envs.rover import (
    BODY,
    CELLS,
    FARTHEST_RANGE,
    GOAL,
    MISSING,
    OBSTACLES,
    PARTS,
    RING,
    SEEN_WIDTH,
)

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


def in_parts(missing: list[int]) -> tuple[Locomotion, dict[str, np.ndarray]]:
    """Copies on one task but for what is missing, after some steps, and their observations in parts."""
    count = len(missing)
    world = GOAL(count, variant="modalities")
    task = world.sample_task(np.random.default_rng(4))
    tasks = {name: np.repeat(values[None], count, axis=0) for name, values in task.items()}
    world.set_tasks(np.arange(count), tasks | {"missing": np.array(missing)})
    world.reset(np.arange(count), {copy: np.random.default_rng(0) for copy in range(count)})
    drive(world, [0.6, 0.4])
    seen = world.observe()
    shapes = part_shapes(PARTS)
    return world, {name: seen[:, of].reshape(-1, *shapes[name]) for name, of in part_columns(PARTS).items()}


def test_what_is_missing_is_exactly_0_and_nothing_else_is() -> None:
    _, parts = in_parts([0, 1, 2, 3])
    for name, values in parts.items():
        assert (values[0] != 0).any()
        for copy, missing in enumerate(("none", *MISSING)):
            np.testing.assert_array_equal(values[copy], 0.0 if name == missing else values[0])


def test_a_picture_from_above_shows_rover_and_obstacles_where_they_are() -> None:
    world, parts = in_parts([0])
    (obstacles, rover), cell = parts["picture"][0], SEEN_WIDTH / CELLS
    for picture, places in ((obstacles, world._tasks["obstacles"][0]), (rover, world.physics.qpos[:, :2])):
        for place in places:
            row, column = np.floor((place + SEEN_WIDTH / 2) / cell).astype(int)
            assert picture[row, column] > 0.2
        assert picture.sum() < 3 * len(places)
    # the centre of mass of a disc is its centre
    centres = (np.arange(CELLS) + 0.5) * cell - SEEN_WIDTH / 2
    where = [float(rover.sum(1 - axis) @ centres / rover.sum()) for axis in (0, 1)]
    np.testing.assert_allclose(where, world.physics.qpos[0, :2], atol=0.1)


def test_with_all_parts_there_it_sees_and_earns_what_the_worn_rover_does_and_more() -> None:
    world, parts = in_parts([0])
    worn = GOAL(1)
    worn.set_tasks(np.arange(1), {name: values for name, values in world._tasks.items() if name != "missing"})
    worn.reset(np.arange(1), {0: np.random.default_rng(0)})
    drive(worn, [0.6, 0.4])
    np.testing.assert_array_equal(np.hstack([parts["ranges"], parts["wheels"]]), worn.observe())
    ours, theirs = (robot.step(np.full((1, 2), 0.3), np.ones(1, np.bool_)).terms for robot in (world, worn))
    for name, term in theirs.items():
        np.testing.assert_array_equal(ours[name], term)


def test_what_is_missing_is_drawn_uniformly_and_said_in_pictures() -> None:
    world = GOAL(1, variant="modalities")
    tasks = [world.sample_task(np.random.default_rng(seed)) for seed in range(400)]
    shares = np.bincount([int(task["missing"]) for task in tasks]) / len(tasks)
    np.testing.assert_allclose(shares, 0.25, atol=0.06)
    assert all(world.task_space.contains(task) for task in tasks)
    marks = GOAL.variants["modalities"].marks
    said = {int(task["missing"]): marks(task).text.partition(", without ")[2] for task in tasks}
    assert said == {0: "", 1: "ranges", 2: "wheels", 3: "picture"}


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
