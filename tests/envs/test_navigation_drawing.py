import matplotlib
import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.figure import Figure

from rlmaml_envs import path_drawing
from rlmaml_envs.mark_colours import ASKED, as_hex
from rlmaml_envs.navigation_drawing import FRAME_SIZE, draw_frame, draw_paths
from rlmaml_envs.navigation_goals import CORNERS

matplotlib.use("Agg")
GOAL = np.array([0.4, 0.4])


def dark_pixels(frame: np.ndarray) -> np.ndarray:
    """Rows and columns where the point is drawn."""
    return np.argwhere((frame[..., 0] < 60) & (frame[..., 2] > 90) & (frame[..., 1] < 90))


def test_the_point_is_drawn_where_it_is_with_y_up() -> None:
    frame = draw_frame(np.array([[0.0, 0.0], [0.4, -0.2]]), GOAL, GOAL[None], 0.8)
    assert frame.shape == (FRAME_SIZE, FRAME_SIZE, 3)
    row, column = dark_pixels(frame).mean(axis=0)
    # x = 0.4 of 0.8 is three quarters of the width; y = -0.2 of 0.8 is five eighths from the top.
    assert column == pytest.approx(0.75 * FRAME_SIZE, abs=2)
    assert row == pytest.approx(0.625 * FRAME_SIZE, abs=2)


def test_a_point_outside_of_the_view_is_drawn_at_its_edge() -> None:
    frame = draw_frame(np.array([[50.0, 0.0]]), GOAL, GOAL[None], 0.8)
    assert dark_pixels(frame)[:, 1].max() > 0.97 * FRAME_SIZE


def test_the_goal_the_corners_and_the_trail_are_visible() -> None:
    still, moved = np.zeros((1, 2)), np.array([[-0.5, 0.0], [0.0, 0.0]])
    plain = draw_frame(still, GOAL, GOAL[None], 3.0)
    assert (plain != draw_frame(still, -GOAL, GOAL[None], 3.0)).any()
    assert (plain != draw_frame(still, GOAL, CORNERS, 3.0)).any()
    assert (plain != draw_frame(moved, GOAL, GOAL[None], 3.0)).any()


def test_a_frame_says_below_what_its_marks_mean() -> None:
    still = np.zeros((1, 2))
    below = slice(-22, None)
    plain, many = (draw_frame(still, GOAL, places, 3.0)[below].astype(int) for places in (GOAL[None], CORNERS))
    written = [(words.min(axis=2) < 150).any(axis=0).nonzero()[0] for words in (plain, many)]
    assert 0 < written[0].max() < written[1].max() < FRAME_SIZE - 4


def test_goals_have_the_same_colour_in_frames_and_figures() -> None:
    frame = draw_frame(np.zeros((1, 2)), GOAL, GOAL[None], 0.8)
    column, row = (GOAL / 0.8 * (1, -1) + 1) * FRAME_SIZE / 2
    assert tuple(frame[int(row), int(column)].tolist()) == ASKED
    axes = Figure().subplots()
    draw_paths(axes, {"goal": GOAL}, [], color="tab:red")
    assert [line.get_color() for line in axes.get_lines() if line.get_label() == "goal"] == [as_hex(ASKED)]


def test_paths_are_drawn_in_the_callers_colour_with_start_and_goal() -> None:
    axes = Figure().subplots()
    paths = [np.array([[0.0, 0.0], [0.1, 0.2], [0.3, 0.3]]), np.array([[0.0, 0.0], [-0.2, 0.1]])]
    draw_paths(axes, {"goal": GOAL}, paths, color="tab:red", label="before")
    lines = axes.get_lines()
    for path in paths:
        (drawn,) = [line for line in lines if np.array_equal(line.get_xydata(), path)]
        assert same_color(drawn.get_color(), "tab:red")
    assert axes.get_legend_handles_labels()[1] == ["before", "goal"]
    starts = [np.asarray(line.get_xydata())[0].tolist() for line in lines if line.get_zorder() >= 4]
    assert starts == [[0.0, 0.0]] * 2
    (goal,) = [line for line in lines if line.get_label() == "goal"]
    assert np.asarray(goal.get_xydata()).tolist() == [[0.4, 0.4]]
    assert (goal.get_marker(), goal.get_color()) == ("o", as_hex(ASKED))
    assert axes.get_aspect() == 1.0


def test_the_family_draws_its_episodes_from_their_observations() -> None:
    draw = path_drawing("Navigation2D-v0")
    assert draw is draw_paths
    axes, observations = Figure().subplots(), np.array([[0.0, 0.0, 7.0], [0.1, 0.2, 7.0]])
    draw(axes, {"goal": GOAL}, [observations], color="tab:red")
    np.testing.assert_array_equal(axes.get_lines()[0].get_xydata(), observations[:, :2])


def test_sparse_tasks_show_all_corners() -> None:
    axes = Figure().subplots()
    draw_paths(axes, {"corner": np.array(2)}, [np.zeros((2, 2))], color="C0")
    drawn = [np.asarray(line.get_xydata()).tolist() for line in axes.get_lines()]
    assert CORNERS.tolist() in drawn
    assert [CORNERS[2].tolist()] in drawn
