"""Figures of robots' episodes: what the task asks beside what the robot does.

Marks are those of films: what is asked is green, and a goal a green disc.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rlmaml_envs.family import Floats
from rlmaml_envs.mark_colours import ASKED, as_hex
from rlmaml_envs.robot_drawing import Marks
from rlmaml_envs.simulator import mujoco
from rlmaml_envs.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREEN = as_hex(ASKED)
HEIGHT = 4
"""The column of a path that holds the height, m, where it has one."""
AS_FAST_AS_POSSIBLE = "asked: upwards, as fast as possible"
"""Of a task that asks for a direction alone; speeds are those in that direction."""


@dataclass(frozen=True)
class MotionDrawing:
    """Draws episodes of one task: the path over ground, or speed and height over time, as the family tracks them.

    Attributes:
        seconds: per control step.
        marks: what a task asks.
        in_plane: whether the robot moves in x and y; else along x alone.
    """

    seconds: float
    marks: Callable[[Task], Marks]
    in_plane: bool = True

    def __call__(
        self, axes: "Axes", task: Task, paths: Sequence[Floats], *, color: str, label: str | None = None
    ) -> None:
        """Draw; see :class:`rlmaml_envs.family.PathDrawing`."""
        marks = self.marks(task)
        whereto = self.in_plane and marks.heading is not None and marks.speed is None
        over_ground = marks.goal is not None or whereto
        lines = [path[:, :2] if over_ground else self.speed(path, marks.heading) for path in paths]
        for index, line in enumerate(lines):
            name = label if index == 0 and over_ground else None
            faint = 0.6 if over_ground else 0.2
            axes.plot(*line.T, color=color, alpha=faint, linewidth=1.1, label=name, zorder=2)
            axes.plot(*line[-1], "o", color=color, markersize=3.5, zorder=3)
        if lines and not over_ground:
            axes.plot(*mean_line(lines).T, color=color, linewidth=1.8, label=label, zorder=3)
        if not over_ground:
            self.draw_height(axes, paths, color=color)
        direction = "" if marks.heading is None else " that way" if marks.heading else " along x"
        axes.set_xlabel("x, m" if over_ground else "time, s", fontsize=8)
        axes.set_ylabel("y, m" if over_ground else f"speed{direction}, m/s", fontsize=8)
        axes.tick_params(labelsize=7)
        if over_ground:
            axes.set_aspect("equal", adjustable="datalim")
        if not any(str(drawn.get_label()).startswith("asked") for drawn in axes.lines):
            self.draw_asked(axes, marks, over_ground=over_ground)

    def draw_height(self, axes: "Axes", paths: Sequence[Floats], *, color: str) -> None:
        """The mean height over the episodes as a dotted line, by a scale of its own on the right."""
        if not paths or paths[0].shape[1] <= HEIGHT:
            return
        right = next((one for one in axes.figure.axes if one.get_gid() == f"height {id(axes)}"), None)
        if right is None:
            right = axes.twinx()
            right.set_gid(f"height {id(axes)}")
            right.set_ylabel("height, m (dotted)", fontsize=8)
            right.tick_params(labelsize=7)
        heights = [np.stack([self.seconds * np.arange(len(path)), path[:, HEIGHT]], axis=1) for path in paths]
        right.plot(*mean_line(heights).T, ":", color=color, linewidth=1.2)

    def draw_asked(self, axes: "Axes", marks: Marks, *, over_ground: bool) -> None:
        """What the task asks, in green: a place, a direction from the start, or a speed."""
        if not over_ground:
            if marks.speed is not None:
                axes.axhline(marks.speed, color=GREEN, linestyle="--", linewidth=1.4, label="asked", zorder=4)
            elif marks.heading is not None:
                axes.axhline(0.0, color="0.7", linewidth=0.8, zorder=1)
                name, corner = AS_FAST_AS_POSSIBLE, axes.transAxes
                axes.plot(0.05, 0.93, "^", color=GREEN, markersize=9, label=name, zorder=5, transform=corner)
            return
        for number, (x, y, radius) in enumerate(marks.obstacles):
            around = np.linspace(0.0, 2 * np.pi, 40)
            outline = x + radius * np.cos(around), y + radius * np.sin(around)
            axes.fill(*outline, color="0.8", label=None if number else "obstacle", zorder=0)
        if marks.goal is not None:
            axes.plot(*marks.goal, "o", color=GREEN, markersize=11, linestyle="none", label="asked", zorder=1)
        elif marks.heading is not None:
            far = max(float(np.abs(line.get_xydata()).max()) for line in axes.lines)
            end = far * np.array([np.cos(marks.heading), np.sin(marks.heading)])
            axes.plot([0.0, end[0]], [0.0, end[1]], "--", color=GREEN, linewidth=1.4, label="asked", zorder=4)

    def speed(self, path: Floats, heading: float | None) -> Floats:
        """Time (s) and speed (m/s) at each moment of a path, (time, 2): in a direction, or over the ground."""
        speeds = path[:, 2:4]
        along = np.linalg.norm(speeds, axis=1) if heading is None else speeds @ (np.cos(heading), np.sin(heading))
        return np.stack([self.seconds * np.arange(len(path)), along], axis=1)


def moves_in_plane(model: mujoco.MjModel) -> bool:
    """Whether a robot moves in x and y: its root does not slide along x alone."""
    slide = mujoco.mjtJoint.mjJNT_SLIDE.value
    slides = [joint for joint in range(min(2, model.njnt)) if model.jnt_type[joint] == slide]
    along = {int(np.abs(model.jnt_axis[joint]).argmax()) for joint in slides}
    return not along or 1 in along


def height_of_root(model: mujoco.MjModel) -> tuple[int, float] | None:
    """Which position of the state is the root's height, and how many metres it is below that; None where none is."""
    kinds = mujoco.mjtJoint
    for joint in range(min(3, model.njnt)):
        place = int(model.jnt_qposadr[joint])
        if model.jnt_type[joint] == kinds.mjJNT_FREE.value:
            return place + 2, 0.0
        if model.jnt_type[joint] == kinds.mjJNT_SLIDE.value and abs(model.jnt_axis[joint, 2]) > 0.99:
            return place, float(model.body_pos[model.jnt_bodyid[joint], 2] - model.qpos0[place])
    return None


def mean_line(lines: Sequence[Floats]) -> Floats:
    """Mean over episodes (time, 2) of which each goes as long as it does, at every time over those that still go."""
    longest = max(lines, key=len)
    means = [np.mean([line[time, 1] for line in lines if len(line) > time]) for time in range(len(longest))]
    return np.stack([longest[:, 0], np.array(means)], axis=1)
