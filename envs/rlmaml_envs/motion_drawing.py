"""Figures of robots' episodes: what the task asks beside what the robot does, as far as its observations say that.

Marks are those of films: what is asked is green, and a goal a green disc.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rlmaml_envs.family import Floats
from rlmaml_envs.observation_names import Entry, joint_positions, joint_velocities
from rlmaml_envs.robot_drawing import Marks
from rlmaml_envs.simulator import mujoco
from rlmaml_envs.tasks import Task, describe_task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ASKED = "#2e8b57"
"""What the task asks: the green of the marks in films."""
AS_FAST_AS_POSSIBLE = "asked: upwards, as fast as possible"
"""Of a task that asks for a direction alone; speeds are those in that direction."""
LONGEST_TASK = 150
"""Characters of a task's parameters, above which a figure has the words of its marks instead."""


@dataclass(frozen=True)
class MotionDrawing:
    """Draws episodes of one task: the path over ground, or speed and height over time, that follow from observations.

    Attributes:
        speeds: which numbers of an observation are the robot's speeds in x and y, m/s; None for y where it has none.
        places: which are where it is, m; None where the speeds have to be added up.
        seconds: per control step.
        marks: what a task asks.
        units: of its parameters.
        height: which number of an observation is the height of the robot's root, m; None where none is.
    """

    speeds: tuple[int, int | None]
    places: tuple[int, int] | None
    seconds: float
    marks: Callable[[Task], Marks]
    units: Mapping[str, str]
    height: int | None = None

    def __call__(
        self, axes: "Axes", task: Task, paths: Sequence[Floats], *, color: str, label: str | None = None
    ) -> None:
        """Draw; see :class:`rlmaml_envs.family.PathDrawing`."""
        marks = self.marks(task)
        somewhere = marks.goal is not None or marks.heading is not None
        over_ground = self.speeds[1] is not None and marks.speed is None and somewhere
        lines = [self.place(path) if over_ground else self.speed(path, marks.heading) for path in paths]
        for index, line in enumerate(lines):
            name = label if index == 0 and over_ground else None
            faint = 0.6 if over_ground else 0.2
            axes.plot(*line.T, color=color, alpha=faint, linewidth=1.1, label=name, zorder=2)
            axes.plot(*line[-1], "o", color=color, markersize=3.5, zorder=3)
        if lines and not over_ground:
            axes.plot(*mean_line(lines).T, color=color, linewidth=1.8, label=label, zorder=3)
        if not over_ground:
            self.draw_height(axes, paths, color=color)
        words = describe_task(task, self.units)
        words = marks.text if len(words) > LONGEST_TASK else words
        below = "\n".join(textwrap.wrap(words.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"), 38))
        axes.set_xlabel(f"{'x, m' if over_ground else 'time, s'}\n{below}", fontsize=8)
        that_way = " that way" * (marks.heading not in (None, 0.0))
        axes.set_ylabel("y, m" if over_ground else f"speed{that_way}, m/s", fontsize=8)
        axes.tick_params(labelsize=7)
        if over_ground:
            axes.set_aspect("equal", adjustable="datalim")
        if not any(str(drawn.get_label()).startswith("asked") for drawn in axes.lines):
            self.draw_asked(axes, marks, over_ground=over_ground)

    def draw_height(self, axes: "Axes", paths: Sequence[Floats], *, color: str) -> None:
        """The mean height over the episodes as a dotted line, by a scale of its own on the right."""
        if self.height is None or not paths:
            return
        right = next((one for one in axes.figure.axes if one.get_gid() == f"height {id(axes)}"), None)
        if right is None:
            right = axes.twinx()
            right.set_gid(f"height {id(axes)}")
            right.set_ylabel("height, m (dotted)", fontsize=8)
            right.tick_params(labelsize=7)
        heights = [np.stack([self.seconds * np.arange(len(path)), path[:, self.height]], axis=1) for path in paths]
        right.plot(*mean_line(heights).T, ":", color=color, linewidth=1.2)

    def draw_asked(self, axes: "Axes", marks: Marks, *, over_ground: bool) -> None:
        """What the task asks, in green: a place, a direction from the start, or a speed."""
        if not over_ground:
            if marks.speed is not None:
                axes.axhline(marks.speed, color=ASKED, linestyle="--", linewidth=1.4, label="asked", zorder=4)
            elif marks.heading is not None:
                axes.axhline(0.0, color="0.7", linewidth=0.8, zorder=1)
                name, corner = AS_FAST_AS_POSSIBLE, axes.transAxes
                axes.plot(0.05, 0.93, "^", color=ASKED, markersize=9, label=name, zorder=5, transform=corner)
        elif marks.goal is not None:
            axes.plot(*marks.goal, "o", color=ASKED, markersize=11, linestyle="none", label="asked", zorder=1)
        elif marks.heading is not None:
            far = max(float(np.abs(line.get_xydata()).max()) for line in axes.lines)
            end = far * np.array([np.cos(marks.heading), np.sin(marks.heading)])
            axes.plot([0.0, end[0]], [0.0, end[1]], "--", color=ASKED, linewidth=1.4, label="asked", zorder=4)

    def speed(self, path: Floats, heading: float | None) -> Floats:
        """Time (s) and speed in a direction, x by default (m/s), of each observation (time, observation)."""
        direction = 0.0 if heading is None else heading
        x, y = self.speeds
        along = np.cos(direction) * path[:, x] + (0.0 if y is None else np.sin(direction) * path[:, y])
        return np.stack([self.seconds * np.arange(len(path)), along], axis=1)

    def place(self, path: Floats) -> Floats:
        """Where the robot is at each observation, m, from the start on: as observed, or its speeds added up."""
        if self.places is not None:
            return np.asarray(path[:, self.places])
        speeds = path[:, self.speeds]  # type: ignore[index]
        steps = self.seconds * (speeds[1:] + speeds[:-1]) / 2
        return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])


def motion_drawing(
    model: mujoco.MjModel,
    observed: Sequence[Entry],
    seconds: float,
    marks: Callable[[Task], Marks],
    units: Mapping[str, str],
) -> MotionDrawing | None:
    """The drawing of a robot; None where its observations do not say how fast its root moves along x.

    The root is a free joint, or slides along x and perhaps y, before all other joints.
    """
    sizes = {"free": mujoco.mjtJoint.mjJNT_FREE.value, "slide": mujoco.mjtJoint.mjJNT_SLIDE.value}
    if not model.njnt or model.jnt_type[0] not in sizes.values():
        return None
    along = [abs(model.jnt_axis[joint, joint]) > 0.99 for joint in range(min(2, model.njnt))]
    slides = [model.jnt_type[joint] == sizes["slide"] for joint in range(min(2, model.njnt))]
    free = model.jnt_type[0] == sizes["free"]
    if not free and not along[0]:
        return None
    in_plane = free or (len(along) == 2 and slides[1] and along[1])
    speeds = [_place_of(entry, observed) for entry in joint_velocities(model)[: 2 if in_plane else 1]]
    places = [_place_of(entry, observed) for entry in joint_positions(model)[:2]] if in_plane else []
    if speeds[0] is None:
        return None
    return MotionDrawing(
        speeds=(speeds[0], speeds[1] if in_plane else None),
        places=(places[0], places[1]) if in_plane and None not in places else None,  # type: ignore[arg-type]
        seconds=seconds,
        marks=marks,
        units=units,
        height=_height(model, observed),
    )


def _height(model: mujoco.MjModel, observed: Sequence[Entry]) -> int | None:
    """Which number of an observation is the height of the root: a free joint's, or a slide's along z."""
    if model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE.value:
        return _place_of(joint_positions(model)[2], observed)
    upwards = [
        joint
        for joint in range(min(3, model.njnt))
        if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE.value and abs(model.jnt_axis[joint, 2]) > 0.99
    ]
    return _place_of(joint_positions(model)[int(model.jnt_qposadr[upwards[0]])], observed) if upwards else None


def mean_line(lines: Sequence[Floats]) -> Floats:
    """Mean over episodes (time, 2) of which each goes as long as it does, at every time over those that still go."""
    longest = max(lines, key=len)
    means = [np.mean([line[time, 1] for line in lines if len(line) > time]) for time in range(len(longest))]
    return np.stack([longest[:, 0], np.array(means)], axis=1)


def _place_of(entry: Entry, observed: Sequence[Entry]) -> int | None:
    return observed.index(entry) if entry in observed else None
