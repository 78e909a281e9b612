"""Pictures of Navigation2D: frames for video, and paths of several episodes for figures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rlmaml_envs.family import Floats
from rlmaml_envs.mark_colours import ASKED, as_hex
from rlmaml_envs.navigation_goals import CORNERS, goal_position
from rlmaml_envs.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAME_SIZE = 400
"""Width and height of a frame, pixels."""

_OVERSAMPLING = 2  # frames are drawn larger and scaled down, which smooths their edges
_PAPER, _RULE, _LANDMARK = (252, 252, 250), (228, 228, 224), (176, 176, 172)
_TRAIL, _POINT = (120, 144, 190), (31, 58, 122)
LEGEND = "green disc: goal   blue: the point and its path"
LANDMARKS = "   grey rings: where goals may be"
_WORDS = (90, 96, 108)


def draw_frame(trail: Floats, goal: Floats, landmarks: Floats, view_half_width: float) -> npt.NDArray[np.uint8]:
    """One frame of one episode, (FRAME_SIZE, FRAME_SIZE, 3); it needs no display.

    Args:
        trail: positions so far, the current one last, (n, 2) metres, n >= 1. A point outside of the view is
            drawn at its edge.
        goal: (2,) metres.
        landmarks: places that might be the goal, (k, 2) metres.
        view_half_width: metres from the centre of the picture, which is the origin, to its edge.
    """
    import pygame

    size = FRAME_SIZE * _OVERSAMPLING
    canvas = pygame.Surface((size, size))
    canvas.fill(_PAPER)

    def pixels(positions: Floats) -> list[list[float]]:
        inside = np.clip(positions / view_half_width, -0.98, 0.98)
        corners: list[list[float]] = ((inside * (1, -1) + 1) * (size / 2)).tolist()
        return corners

    centre = size // 2
    pygame.draw.line(canvas, _RULE, (0, centre), (size, centre), 2)
    pygame.draw.line(canvas, _RULE, (centre, 0), (centre, size), 2)
    for landmark in pixels(landmarks):
        pygame.draw.circle(canvas, _LANDMARK, landmark, size / 45, 3)
    path = pixels(trail)
    if len(path) > 1:
        pygame.draw.lines(canvas, _TRAIL, False, path, 5)
    pygame.draw.circle(canvas, ASKED, pixels(goal[None])[0], size / 45)
    pygame.draw.circle(canvas, _POINT, path[-1], size / 60)
    pygame.font.init()
    words = LEGEND + (LANDMARKS if len(landmarks) > 1 else "")
    legend = pygame.font.Font(None, 26).render(words, True, _WORDS)
    canvas.blit(legend, (12, size - 12 - legend.get_height()))

    frame = pygame.transform.smoothscale(canvas, (FRAME_SIZE, FRAME_SIZE))
    return pygame.surfarray.array3d(frame).swapaxes(0, 1)


def draw_paths(axes: "Axes", task: Task, paths: Sequence[Floats], *, color: str, label: str | None = None) -> None:
    """Draw several episodes of one task: their paths and starts, the goal and, for sparse tasks, the corners.

    Marks are those of frames: the goal is a green disc, and other corners are grey rings. Call it once with the paths
    before adaptation and once with those after, in two colours.

    Args:
        axes: matplotlib axes; their aspect becomes equal and their frame and ticks are removed.
        task: one Navigation2D task, without task axis.
        paths: per episode its observations, (steps + 1, observation), the start first; x and y in metres lead each.
        color: matplotlib colour of the paths.
        label: entry of the legend; the caller draws the legend.
    """
    for index, path in enumerate(paths):
        name = label if index == 0 else None
        axes.plot(path[:, 0], path[:, 1], color=color, alpha=0.55, linewidth=1.3, label=name, zorder=2)
        axes.plot(*path[-1], "o", color=color, markersize=3.5, zorder=3)
        axes.plot(*path[0], "o", color="white", markeredgecolor="0.2", markersize=5.5, zorder=4)
    if "corner" in task:
        axes.plot(*CORNERS.T, "o", markerfacecolor="none", markeredgecolor="0.7", markersize=11, zorder=1)
    axes.plot(*goal_position(task), "o", color=as_hex(ASKED), markersize=11, linestyle="none", label="goal", zorder=2.5)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.08)
    axes.set_axis_off()
