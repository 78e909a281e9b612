"""Reward terms of the robots: pure functions over copies. A name ends in ``_cost`` (never positive) or ``_reward``."""

import numpy as np

from rlmaml_envs.family import Bools, Floats


def velocity_error_cost(speed: Floats, target: Floats) -> Floats:
    """``-|v - g|``, m/s: (copy,) and (copy,) to (copy,)."""
    return -np.abs(speed - target)


def forward_reward(speed: Floats, weight: float = 1.0) -> Floats:
    """``w v``: speed in the direction of the task, (copy,) m/s."""
    return np.asarray(weight * speed)


def distance_cost(position: Floats, goal: Floats) -> Floats:
    """``-|x - x_g| - |y - y_g|``, m: (copy, 2) and (copy, 2) to (copy,)."""
    return np.asarray(-np.abs(position - goal).sum(axis=1))


def control_cost(actions: Floats, weight: float) -> Floats:
    """``-w sum(a^2)``: (copy, action) to (copy,)."""
    return np.asarray(-weight * np.square(actions).sum(axis=1))


def contact_cost(forces: Floats, weight: float, largest: float = np.inf) -> Floats:
    """``-min(w sum(f^2), largest)``: forces (copy, body, 6) in N and N m to (copy,)."""
    return np.asarray(-np.minimum(weight * np.square(forces).sum(axis=(1, 2)), largest))


def survive_reward(healthy: Bools, bonus: float) -> Floats:
    """``bonus`` where the robot stands, 0 where it fell: (copy,)."""
    return np.asarray(bonus * healthy, np.float64)


def heading(angle: Floats) -> Floats:
    """The unit vector of an angle in radians, counter-clockwise from x: (copy,) to (copy, 2)."""
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)
