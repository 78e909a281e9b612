from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from rlmaml_envs import path_drawing
from rlmaml_envs.motion_drawing import AS_FAST_AS_POSSIBLE, ASKED, MotionDrawing, mean_line, motion_drawing
from rlmaml_envs.robot_drawing import Marks
from tests.envs.robots import variant

FAST, UNITS = {"velocity": np.array(1.5)}, {"velocity": "m/s"}


def drawing(marks: Marks, places: tuple[int, int] | None = None) -> MotionDrawing:
    """Of a robot whose observation is x, y and its speeds, 0.5 s per step."""
    return MotionDrawing((2, 3), places, 0.5, lambda task: marks, UNITS)


PATH = np.array([[0.0, 0.0, 0.0, 1.0], [9.0, 9.0, 2.0, 1.0], [8.0, 7.0, 4.0, 1.0]])


def lines(drawn: MotionDrawing, *colours: str) -> Any:
    axes = Figure().subplots()
    for colour in colours:
        drawn(axes, FAST, [PATH], color=colour, label=colour)
    return axes


def test_speeds_are_added_up_to_a_path_unless_places_are_observed() -> None:
    heading = Marks(heading=0.0)
    np.testing.assert_allclose(drawing(heading).place(PATH), [[0.0, 0.0], [0.5, 0.5], [2.0, 1.0]])
    np.testing.assert_allclose(drawing(heading, (0, 1)).place(PATH), PATH[:, :2])


def test_a_speed_is_that_in_the_direction_that_is_asked() -> None:
    np.testing.assert_allclose(drawing(Marks()).speed(PATH, np.pi / 2), [[0.0, 1.0], [0.5, 1.0], [1.0, 1.0]])
    np.testing.assert_allclose(drawing(Marks()).speed(PATH, None)[:, 1], [0.0, 2.0, 4.0])


def test_a_mean_is_over_the_episodes_that_still_go() -> None:
    long, short = np.array([[0.0, 1.0], [0.5, 3.0]]), np.array([[0.0, 2.0]])
    np.testing.assert_allclose(mean_line([short, long]), [[0.0, 1.5], [0.5, 3.0]])


def test_the_target_speed_is_drawn_once_beside_the_speeds_with_units_and_the_task() -> None:
    axes = lines(drawing(Marks(heading=0.0, speed=1.5)), "grey", "red")
    (target,) = [line for line in axes.lines if line.get_color() == ASKED]
    assert set(target.get_ydata()) == {1.5}
    assert axes.get_ylabel() == "speed, m/s"
    assert axes.get_xlabel().split("\n") == ["time, s", "velocity\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}1.5 m/s"]


def test_a_direction_without_a_speed_is_asked_for_as_fast_as_possible() -> None:
    axes = lines(MotionDrawing((2, None), None, 0.5, lambda task: Marks(heading=np.pi), UNITS), "grey", "red")
    asked = [line for line in axes.lines if line.get_color() == ASKED]
    assert [line.get_label() for line in asked] == [AS_FAST_AS_POSSIBLE]
    assert axes.get_ylabel() == "speed that way, m/s"


def test_the_height_is_drawn_beside_the_speed_by_a_scale_of_its_own_with_one_line_for_each_colour() -> None:
    drawn = MotionDrawing((2, None), None, 0.5, lambda task: Marks(), UNITS, height=0)
    axes = lines(drawn, "grey", "red")
    (right,) = [one for one in axes.figure.axes if one is not axes]
    assert right.get_ylabel() == "height, m (dotted)"
    assert [line.get_color() for line in right.lines] == ["grey", "red"]
    np.testing.assert_allclose(right.lines[0].get_xydata(), [[0.0, 0.0], [0.5, 9.0], [1.0, 8.0]])
    both = Figure().subplots(1, 2)
    for one in both:
        drawn(one, FAST, [PATH], color="grey")
    assert len(both[0].figure.axes) == 4


@pytest.mark.parametrize(
    ("env_id", "height"), [("Walker2dVel-v0", 0), ("HopperParams-v0", 0), ("AntVel-v0", 2), ("SwimmerVel-v0", None)]
)
def test_where_the_height_is_among_the_observations_follows_from_their_names(env_id: str, height: int | None) -> None:
    found = path_drawing(env_id)
    assert isinstance(found, MotionDrawing)
    assert found.height == height


def test_a_goal_is_drawn_where_it_is_on_the_ground() -> None:
    axes = lines(drawing(Marks(goal=np.array([1.0, -2.0]))), "grey")
    (goal,) = [line for line in axes.lines if line.get_color() == ASKED]
    assert goal.get_xydata().tolist() == [[1.0, -2.0]]
    assert goal.get_marker() == "o"  # as the disc in films
    assert (axes.get_xlabel().split("\n")[0], axes.get_ylabel()) == ("x, m", "y, m")


@pytest.mark.parametrize(
    ("env_id", "named", "speeds", "places"),
    [
        ("HalfCheetahVel-v0", "rothfuss2019", (8, None), None),
        ("AntVel-v0", "finn2017", (15, 16), (0, 1)),
        ("AntDir2D-v0", "gymnasium", (13, 14), None),
        ("SwimmerVel-v0", "gymnasium", (3, 4), None),
    ],
)
def test_where_the_speed_is_among_the_observations_follows_from_their_names(
    env_id: str, named: str, speeds: Any, places: Any
) -> None:
    found = path_drawing(env_id, named)
    assert isinstance(found, MotionDrawing)
    assert (found.speeds, found.places) == (speeds, places)


def test_a_robot_whose_observations_do_not_say_its_speed_is_drawn_by_its_rewards() -> None:
    assert path_drawing("RoverGoal-v0") is None
    assert variant().draw_episodes is None
    model = variant().body.build()
    assert motion_drawing(model, [("back position", "m")], 0.1, lambda task: Marks(), {}) is None
