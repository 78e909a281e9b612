"""What the data sheets of the robots have in common: how models are loaded, started and observed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rlmaml_envs.family import Floats
from rlmaml_envs.physics import GYMNASIUM_MODELS, Physics
from rlmaml_envs.simulator import mujoco

TORSO = 1
"""Id of the first body, whose subtree is the whole robot."""


def load_model(file: str | Path, edit: Callable[[mujoco.MjSpec], None] | None = None) -> mujoco.MjModel:
    """Compile one of Gymnasium's robots, or the MJCF file at an absolute path, after an edit of its specification.

    Raises:
        ValueError: the path is relative and not one of Gymnasium's; or it is, and there is such a file here, too.
    """
    place, known = Path(file), GYMNASIUM_MODELS / file
    if not place.is_absolute():
        cure = f"Give the absolute path of your own, Path({str(file)!r}).resolve()"
        if not known.is_file():
            raise ValueError(f"{file} is a relative path, and none of Gymnasium's robots. {cure}.")
        if place.is_file() and not place.samefile(known):
            raise ValueError(f"{file} is one of Gymnasium's robots and a file in the working directory. {cure}.")
    spec = mujoco.MjSpec.from_file(str(known))
    if edit is not None:
        edit(spec)
    return spec.compile()


def add_sensor(spec: mujoco.MjSpec, kind: Any, body: str) -> None:
    """Add a sensor on a body; what MuJoCo computes for it becomes readable for all bodies."""
    spec.add_sensor(name=f"{body} {kind.name}", type=kind, objtype=mujoco.mjtObj.mjOBJ_BODY, objname=body)


def gaussian_state(
    model: mujoco.MjModel,
    generator: np.random.Generator,
    *,
    position_scale: float,
    velocity_scale: float,
    start: npt.NDArray[np.float64] | None = None,
) -> tuple[Floats, Floats]:
    """Positions and velocities with Gaussian noise, around ``start`` or the model's own state."""
    positions = (model.qpos0 if start is None else start) + position_scale * generator.standard_normal(model.nq)
    return positions, velocity_scale * generator.standard_normal(model.nv)


def gymnasium_state(model: mujoco.MjModel, generator: np.random.Generator, *, scale: float) -> tuple[Floats, Floats]:
    """Gymnasium's half-cheetah and ant: uniform noise on positions, Gaussian noise on velocities."""
    positions = model.qpos0 + generator.uniform(-scale, scale, model.nq)
    return positions, scale * generator.standard_normal(model.nv)


def uniform_state(model: mujoco.MjModel, generator: np.random.Generator, *, scale: float) -> tuple[Floats, Floats]:
    """Gymnasium's other robots: uniform noise on positions and velocities."""
    positions = model.qpos0 + generator.uniform(-scale, scale, model.nq)
    return positions, generator.uniform(-scale, scale, model.nv)


def positions_and_velocities(physics: Physics, *, skipped: int, largest_velocity: float = np.inf) -> Floats:
    """Positions but the first ``skipped``, and velocities clipped to ``±largest_velocity``, (copy, observation)."""
    velocities = physics.qvel if np.isinf(largest_velocity) else physics.qvel.clip(-largest_velocity, largest_velocity)
    return np.hstack([physics.qpos[:, skipped:], velocities])


def centre_of_mass_velocity(physics: Physics) -> Floats:
    """X and y velocity of the robot's centre of mass, (copy, 2) m/s."""
    return physics.outputs["subtree_linvel"][:, TORSO, :2]


def planar_position(physics: Physics) -> Floats:
    """X of the root joint, and 0 for y: a robot that lives in the x-z plane, (copy, 2) m."""
    position = np.zeros((len(physics.qpos), 2))
    position[:, 0] = physics.qpos[:, 0]
    return position


def ground_position(physics: Physics) -> Floats:
    """X and y of the root joint, (copy, 2) m."""
    return physics.qpos[:, :2].copy()


def scalar_box(low: float, high: float) -> spaces.Box:
    """A task parameter that is one number."""
    return spaces.Box(low, high, (), np.float64)


def factor_box(size: int, base: float, largest_exponent: float) -> spaces.Box:
    """``size`` factors between ``base ** -largest_exponent`` and ``base ** largest_exponent``."""
    return spaces.Box(base**-largest_exponent, base**largest_exponent, (size,), np.float64)
