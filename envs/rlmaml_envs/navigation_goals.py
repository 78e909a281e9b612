"""Where the goals of Navigation2D are: shared by its rewards and its pictures."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rlmaml_envs.family import Floats

CORNERS = np.array([[2.0, 2.0], [-2.0, 2.0], [-2.0, -2.0], [2.0, -2.0]])
"""The corners of ``rothfuss2019``, metres, counter-clockwise."""

SHARED_GOAL = np.array([0.3, 0.4])
"""The goal of every ``dynamics`` task, metres: 0.5 m from the start."""


def goal_position(task: Mapping[str, npt.NDArray[Any]]) -> Floats:
    """Where the tasks' goals are, metres: parameters (...) to (..., 2)."""
    if "goal" in task:
        return np.asarray(task["goal"])
    if "corner" in task:
        return np.asarray(CORNERS[task["corner"]])
    return np.broadcast_to(SHARED_GOAL, (*np.shape(task["rotation"]), 2))
