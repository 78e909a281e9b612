from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from rlmaml_envs import make_tasks_env, path_drawing
from rlmaml_envs.family import PathDrawing
from rlmaml_envs.motion_drawing import AS_FAST_AS_POSSIBLE, GREEN, MotionDrawing, mean_line
from rlmaml_envs.robot_drawing import Marks
from tests.envs.robots import variant

FAST = {"velocity": np.array(1.5)}
PATH = np.array([[0.0, 0.0, 0.0, 1.0, 0.5], [9.0, 9.0, 3.0, 4.0, 0.7], [8.0, 7.0, 4.0, 1.0, 0.9]])
"""x, y, m, the speeds along them, m/s, and the height, m."""


def drawing(marks: Marks, *, in_plane: bool = True) -> MotionDrawing:
    """0.5 s per step."""
    return MotionDrawing(0.5, lambda task: marks, in_plane)


def lines(drawn: PathDrawing, *colours: str, path: Any = PATH) -> Any:
    axes = Figure().subplots()
    for colour in colours:
        drawn(axes, FAST, [path], color=colour, label=colour)
    return axes


def test_a_speed_is_that_in_the_direction_that_is_asked_or_over_the_ground_where_none_is() -> None:
    np.testing.assert_allclose(drawing(Marks()).speed(PATH, np.pi / 2), [[0.0, 1.0], [0.5, 4.0], [1.0, 1.0]])
    np.testing.assert_allclose(drawing(Marks()).speed(PATH, 0.0)[:, 1], [0.0, 3.0, 4.0])
    np.testing.assert_allclose(drawing(Marks()).speed(PATH, None)[:, 1], [1.0, 5.0, np.sqrt(17.0)])
    shown = [drawing(Marks(heading=heading, speed=1.0)) for heading in (None, 0.0, 2.0)]
    labels = [lines(drawn, "grey").get_ylabel() for drawn in shown]
    assert labels == ["speed, m/s", "speed along x, m/s", "speed that way, m/s"]


def test_a_mean_is_over_the_episodes_that_still_go() -> None:
    long, short = np.array([[0.0, 1.0], [0.5, 3.0]]), np.array([[0.0, 2.0]])
    np.testing.assert_allclose(mean_line([short, long]), [[0.0, 1.5], [0.5, 3.0]])


def test_the_target_speed_is_drawn_once_beside_the_speeds_with_units() -> None:
    axes = lines(drawing(Marks(heading=0.0, speed=1.5)), "grey", "red")
    (target,) = [line for line in axes.lines if line.get_color() == GREEN]
    assert set(target.get_ydata()) == {1.5}
    assert axes.get_xlabel() == "time, s"


def test_along_x_alone_a_direction_without_a_speed_is_asked_for_as_fast_as_possible() -> None:
    axes = lines(drawing(Marks(heading=np.pi), in_plane=False), "grey", "red")
    asked = [line for line in axes.lines if line.get_color() == GREEN]
    assert [line.get_label() for line in asked] == [AS_FAST_AS_POSSIBLE]
    assert axes.get_ylabel() == "speed that way, m/s"


def test_in_the_plane_it_is_drawn_from_the_start_of_the_path() -> None:
    axes = lines(drawing(Marks(heading=np.pi / 2)), "grey")
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), PATH[:, :2])
    (asked,) = [line for line in axes.lines if line.get_color() == GREEN]
    np.testing.assert_allclose(asked.get_xydata(), [[0.0, 0.0], [0.0, 9.0]], atol=1e-9)


def test_the_height_is_drawn_beside_the_speed_by_a_scale_of_its_own_with_one_line_for_each_colour() -> None:
    drawn = drawing(Marks())
    axes = lines(drawn, "grey", "red")
    (right,) = [one for one in axes.figure.axes if one is not axes]
    assert right.get_ylabel() == "height, m (dotted)"
    assert [line.get_color() for line in right.lines] == ["grey", "red"]
    np.testing.assert_allclose(right.lines[0].get_xydata(), [[0.0, 0.5], [0.5, 0.7], [1.0, 0.9]])
    both = Figure().subplots(1, 2)
    for one in both:
        drawn(one, FAST, [PATH], color="grey")
    assert len(both[0].figure.axes) == 4
    flat = lines(drawn, "grey", path=PATH[:, :4])
    assert flat.figure.axes == [flat]


def test_obstacles_are_drawn_in_their_places_and_sizes() -> None:
    found = path_drawing("RoverGoal-v0")
    assert isinstance(found, MotionDrawing)
    task = make_tasks_env("RoverGoal-v0", 1).sample_tasks(1, [0])
    axes = Figure().subplots()
    for colour in ("grey", "red"):
        found(axes, {name: values[0] for name, values in task.items()}, [PATH], color=colour, label=colour)
    boxes = np.array([patch.get_path().get_extents().get_points() for patch in axes.patches])
    np.testing.assert_allclose(boxes.mean(axis=1), task["obstacles"][0], atol=0.01)
    np.testing.assert_allclose(boxes[:, 1] - boxes[:, 0], 0.3, atol=0.01)
    assert axes.get_legend_handles_labels()[1] == ["grey", "obstacle", "asked", "red"]


@pytest.mark.parametrize(
    ("env_id", "in_plane", "height"),
    [
        ("HalfCheetahVel-v0", False, 0.7),
        ("HopperParams-v0", False, 1.25),
        ("AntVel-v0", True, 0.55),
        ("SwimmerVel-v0", True, None),
        ("RoverGoal-v0", True, 0.05),
    ],
)
def test_where_a_robot_starts_is_tracked_and_how_high_it_is(env_id: str, in_plane: bool, height: float | None) -> None:
    found = path_drawing(env_id)
    assert isinstance(found, MotionDrawing)
    assert found.in_plane is in_plane
    env = make_tasks_env(env_id, 2)
    env.reset(seed=[0, 1])
    tracked = env.tracked()
    assert tracked is not None
    np.testing.assert_allclose(tracked[:, :4], 0.0, atol=0.3)
    if height is None:
        assert tracked.shape == (2, 4)
    else:
        np.testing.assert_allclose(tracked[:, 4], height, atol=0.11)


def test_what_is_tracked_are_the_places_themselves_and_the_speed_between_them() -> None:
    env = make_tasks_env("RoverGoal-v0", 3)
    env.reset(seed=[0, 1, 2])
    before = env.tracked()
    env.step(np.array([[1.0, 1.0], [1.0, 0.2], [-1.0, -1.0]]))
    after, physics = env.tracked(), env.worlds.physics
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(after[:, [0, 1, 4]], physics.qpos[:, :3])  # type: ignore[union-attr]
    np.testing.assert_allclose(after[:, 2:4], (after[:, :2] - before[:, :2]) / 0.1)
    assert after[0, 2] > 0 > after[2, 2]


def test_a_goal_is_drawn_where_it_is_on_the_ground() -> None:
    axes = lines(drawing(Marks(goal=np.array([1.0, -2.0]))), "grey")
    (goal,) = [line for line in axes.lines if line.get_color() == GREEN]
    assert goal.get_xydata().tolist() == [[1.0, -2.0]]
    assert goal.get_marker() == "o"  # as the disc in films
    assert not axes.patches
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x, m", "y, m")


def test_a_robot_of_ones_own_is_drawn_whatever_it_observes() -> None:
    axes = lines(variant().draw_episodes, "grey")
    assert axes.get_ylabel() == "speed, m/s"
