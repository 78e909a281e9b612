"""Pictures of robots: the camera follows the robot, and marks show what its task asks of it."""

import copy
import os
import sys
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module

import numpy as np
import numpy.typing as npt

from rlmaml_envs.mark_colours import ASKED, DAMAGED, as_fractions
from rlmaml_envs.model_fields import indices
from rlmaml_envs.simulator import mujoco

WIDTH, HEIGHT = 480, 360
"""Pixels of a picture."""
CHARACTERS = 60
"""Of a line, that fit into it."""

_ARROW, _GOAL, _DAMAGE = as_fractions(ASKED), as_fractions(ASKED, 0.6), as_fractions(DAMAGED)

ANY_BACKEND = ("", "1", "on", "true", "enable", "enabled")
"""Values of ``MUJOCO_GL`` that leave the choice to us."""

NO_GL = (
    'A picture of a robot needs OpenGL, which could not be reached through "{backend}" here ({error}). Without a '
    "screen, install the package libegl1 (Debian, Ubuntu) or mesa-libEGL (Fedora) and set MUJOCO_GL=egl. "
    "Training never needs it."
)


@dataclass(frozen=True)
class RobotCamera:
    """From where a robot is watched; the camera follows it."""

    distance: float = 4.0
    """Metres from the robot."""
    elevation: float = -15.0
    """Degrees; negative looks down."""
    azimuth: float = 90.0
    """Degrees; 90 looks along y, so that the robot's x is to the right."""
    body: str | None = None
    """The body that is followed; None for the root of what most actuators move."""


@dataclass(frozen=True)
class Marks:
    """What a picture shows of a task."""

    text: str = ""
    """Written in a corner."""
    heading: float | None = None
    """Where to go, radians counter-clockwise from x: an arrow above the robot."""
    speed: float | None = None
    """How fast to go there, m/s; None for as fast as possible."""
    goal: npt.NDArray[np.float64] | None = None
    """A place on the ground, (2,) m."""
    obstacles: tuple[tuple[float, float, float], ...] = ()
    """X, y and radius, m, of what stands in the way: grey discs in figures; films show the robot's own surroundings."""
    damaged: tuple[str, ...] = field(default=())
    """Joints whose limbs are red."""

    def reached(self, position: npt.NDArray[np.float64], velocity: npt.NDArray[np.float64]) -> str:
        """What a robot at a position (2,) m with a velocity (2,) m/s does of what is asked, in words."""
        if self.goal is not None:
            return f"now {np.linalg.norm(position - self.goal):.2f} m from it"
        if self.heading is not None:
            return f"now {velocity @ (np.cos(self.heading), np.sin(self.heading)):.2f} m/s that way"
        return f"now {np.linalg.norm(velocity):.2f} m/s"

    @property
    def legend(self) -> str:
        """What the colours of the marks mean."""
        asked = {"arrow: where to go": self.heading is not None, "disc: the goal": self.goal is not None}
        green = ", ".join(words for words, shown in asked.items() if shown)
        red = ", ".join(self.damaged)
        return "; ".join([*([f"green {green}"] if green else []), *([f"red: {red}, changed"] if red else [])])


@contextmanager
def _own_environment() -> Iterator[None]:
    """Variables that are set in this block, as MuJoCo's backends do when they are imported, are gone afterwards."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]


class RobotPictures:
    """Draws copies of one robot.

    Raises:
        RuntimeError: there is no OpenGL here; the message names the package and the value of ``MUJOCO_GL`` that help.
    """

    def __init__(self, model: mujoco.MjModel, camera: RobotCamera) -> None:
        self._model = copy.copy(model)
        self._model.vis.global_.offwidth, self._model.vis.global_.offheight = WIDTH, HEIGHT
        self._colours, self._materials = self._model.geom_rgba.copy(), self._model.geom_matid.copy()
        chosen = os.environ.get("MUJOCO_GL", "").lower()
        backend = default_backend() if chosen in ANY_BACKEND else chosen
        try:
            with warnings.catch_warnings(record=True) as said:  # GLFW only warns where it has no screen
                warnings.simplefilter("always", UserWarning)
                with _own_environment():
                    window = import_module(f"mujoco.{backend}")
                self._window = window.GLContext(WIDTH, HEIGHT)
            if said:
                raise RuntimeError(said[0].message)
            self._window.make_current()
            self._painter = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        except Exception as error:
            raise RuntimeError(NO_GL.format(backend=backend, error=error)) from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._painter)
        self._scene = mujoco.MjvScene(self._model, maxgeom=most_shapes(model))
        self._frame = mujoco.MjrRect(0, 0, WIDTH, HEIGHT)
        self._view = mujoco.MjvCamera()
        self._robot = robot_body(model, camera.body)
        self._view.type, self._view.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, self._robot
        self._view.distance, self._view.elevation, self._view.azimuth = (
            camera.distance,
            camera.elevation,
            camera.azimuth,
        )

    def draw(self, data: mujoco.MjData, marks: Marks, reached: str = "") -> npt.NDArray[np.uint8]:
        """One picture, (HEIGHT, WIDTH, 3), of a state, what its task asks, and what is reached of that, in words."""
        model, scene, frame, painter = self._model, self._scene, self._frame, self._painter
        model.geom_rgba[:], model.geom_matid[:] = self._colours, self._materials
        for joint in marks.damaged:
            limb = model.geom_bodyid == model.joint(joint).bodyid[0]
            model.geom_rgba[limb], model.geom_matid[limb] = _DAMAGE, -1
        self._window.make_current()
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, data, mujoco.MjvOption(), None, self._view, everything, scene)
        if marks.heading is not None:
            _add_arrow(scene, data.xpos[self._robot] + (0.0, 0.0, 0.7), marks.heading)
        if marks.goal is not None:
            _add_disc(scene, marks.goal)
        mujoco.mjr_render(frame, scene, painter)
        if reached:
            reached += f", {data.xpos[self._robot][2]:.2f} m high"
        corners = mujoco.mjtGridPos.mjGRID_TOPLEFT, mujoco.mjtGridPos.mjGRID_BOTTOMLEFT
        for corner, words in zip(corners, ((marks.text, reached), (marks.legend,)), strict=True):
            lines = [line for part in words for line in textwrap.wrap(part, CHARACTERS)]
            if lines:
                mujoco.mjr_overlay(mujoco.mjtFont.mjFONT_NORMAL, corner, frame, "\n".join(lines), "", painter)
        picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        mujoco.mjr_readPixels(picture, None, frame, painter)
        return np.flipud(picture).copy()


def most_shapes(model: mujoco.MjModel) -> int:
    """How many shapes a picture of a model may need: its own, those of its tendons, and marks."""
    return int(2 * (model.ngeom + model.nsite + model.nwrap + model.nflex + model.nskin) + 200)


def robot_body(model: mujoco.MjModel, name: str | None) -> int:
    """The id of the body that is the robot: the named one, or the root of what most actuators move.

    Raises:
        ValueError: the model has no such body.
    """
    if name is not None:
        return int(indices(model, "body", [name])[0])
    kinds = mujoco.mjtTrn
    roots = []
    for kind, (moved, _) in zip(model.actuator_trntype.tolist(), model.actuator_trnid.tolist(), strict=True):
        if kind == kinds.mjTRN_TENDON.value:
            first = model.tendon_adr[moved]
            on_joint = model.wrap_type[first] == mujoco.mjtWrap.mjWRAP_JOINT.value
            body = (model.jnt_bodyid if on_joint else model.site_bodyid)[model.wrap_objid[first]]
        elif kind in (kinds.mjTRN_SITE.value, kinds.mjTRN_SLIDERCRANK.value):
            body = model.site_bodyid[moved]
        elif kind == kinds.mjTRN_BODY.value:
            body = moved
        else:
            body = model.jnt_bodyid[moved]
        roots.append(int(model.body_rootid[body]))
    return max(roots, key=roots.count, default=min(1, model.nbody - 1))


def default_backend() -> str:
    """How OpenGL is reached where ``MUJOCO_GL`` does not say it: without a window where there is no screen."""
    if sys.platform == "darwin":
        return "cgl"
    has_screen = sys.platform != "linux" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return "glfw" if has_screen else "egl"


def _add_disc(scene: mujoco.MjvScene, position: npt.NDArray[np.float64]) -> None:
    """Mark a place on the ground."""
    _add(scene, mujoco.mjtGeom.mjGEOM_CYLINDER, (0.25, 0.02, 0.0), (*position, 0.02), np.eye(3), _GOAL)


def _add_arrow(scene: mujoco.MjvScene, position: npt.NDArray[np.float64], angle: float) -> None:
    """Mark a direction by an arrow of 0.8 m. MuJoCo's arrows point along their z axis."""
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[0.0, -sin, cos], [0.0, cos, sin], [-1.0, 0.0, 0.0]])
    _add(scene, mujoco.mjtGeom.mjGEOM_ARROW, (0.03, 0.03, 0.8), position, rotation, _ARROW)


def _add(
    scene: mujoco.MjvScene,
    shape: mujoco.mjtGeom,
    size: Sequence[float],
    position: Sequence[float] | npt.NDArray[np.float64],
    rotation: npt.NDArray[np.float64],
    colour: Sequence[float],
) -> None:
    if scene.ngeom == scene.maxgeom:
        return
    marker = scene.geoms[scene.ngeom]
    mujoco.mjv_initGeom(
        marker, shape, np.array(size), np.array(position), rotation.ravel(), np.array(colour, np.float32)
    )
    scene.ngeom += 1
