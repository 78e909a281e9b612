"""What a program on a robot must know of its numbers: those that an exported policy reads, and those that it gives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Actuation(NamedTuple):
    """What actions command of a robot's actuators."""

    range: npt.NDArray[np.float64]
    """Lowest and highest control of each, (control, 2); without a function, what the actions -1 and 1 command."""
    function: Callable[[Any, Any], Any] | None = None
    """``function(torch, actions)``: actions (batch, action) within [-1, 1] to controls (batch, control)."""
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    output: str = "control"
    """What the numbers are: the robot's controls, actions that an environment makes controls of, or predictions."""
    clipped: bool = True
    """Whether actions are clipped to [-1, 1] first; predictions are not."""

    @property
    def middle(self) -> npt.NDArray[np.float64]:
        """What no action commands, (control,)."""
        return np.asarray(self.range.sum(axis=1) / 2, np.float64)

    @property
    def half_width(self) -> npt.NDArray[np.float64]:
        """How much more a full one does, (control,)."""
        return np.asarray((self.range[:, 1] - self.range[:, 0]) / 2, np.float64)


class Robot(NamedTuple):
    """A robot and its task, as its family says of them."""

    actuation: Actuation
    """What an exported policy gives."""
    observation_names: tuple[str, ...] = ()
    """What each number of an observation is."""
    observation_units: tuple[str, ...] = ()
    seconds_per_step: float | None = None
    """Of one control step; None where nobody said."""
    task_units: dict[str, str] = {}  # noqa: RUF012 (never written)
    """Task parameter -> unit."""
    commanded: Actuation | None = None
    """What an environment makes of actions that are given to it; None where the policy itself commands actuators."""


def robot_of(env: Any, *, normalised: bool = False) -> Robot:
    """The robot of an environment, for files that command its actuators, or give actions for the environment's step."""
    return Robot(
        actuation=normalised_actuation(*env.single_action_space.shape) if normalised else actuation_of(env),
        observation_names=tuple(env.observation_names),
        observation_units=tuple(env.observation_units),
        seconds_per_step=env.sheet.get("seconds_per_step"),
        task_units=dict(env.task_units),
        commanded=actuation_of(env) if normalised else None,
    )


def actuation_of(env: Any) -> Actuation:
    """What actions command of an environment's robot."""
    return Actuation(env.control_range, env.control_function, env.control_names, env.control_units)


def normalised_actuation(num_actions: int) -> Actuation:
    """Actions in [-1, 1] as they are, for an environment that makes controls of them itself."""
    whole = np.tile((-1.0, 1.0), (num_actions, 1))
    names = tuple(map(str, range(num_actions)))
    return Actuation(whole, names=names, units=("",) * num_actions, output="action")


def as_predicted(num_targets: int) -> Actuation:
    """The predictions of a model of supervised tasks, as they are."""
    return normalised_actuation(num_targets)._replace(output="prediction", clipped=False)


def described_interface(robot: Robot, num_observed: int, num_actions: int) -> dict[str, Any]:
    """Both ends of an exported policy, as plain data.

    Args:
        robot: whose.
        num_observed: how many numbers of an observation the policy reads.
        num_actions: of the policy.

    Returns:
        ``observation``, ``control``, ``seconds_per_step``, ``task_units`` and, for actions that an environment takes,
        ``actuators``: what that makes of them.
    """
    actuation = robot.actuation
    behind = {} if robot.commanded is None else {"actuators": _described(robot.commanded)}
    return {
        "observation": {
            "size": num_observed,
            "names": list(robot.observation_names[:num_observed]),
            "units": list(robot.observation_units[:num_observed]),
        },
        "control": {
            "is": actuation.output,
            **_described(actuation),
            "meaning": _meaning(actuation, num_actions),
        },
        **behind,
        "seconds_per_step": robot.seconds_per_step,
        "task_units": robot.task_units,
    }


def _described(actuation: Actuation) -> dict[str, Any]:
    """Names, units, ends, and what actions are multiplied by and added to, of each control."""
    stretched = actuation.function is None
    return {
        "size": len(actuation.range),
        "names": list(actuation.names),
        "units": list(actuation.units),
        "range": actuation.range.tolist(),
        "offset": actuation.middle.tolist() if stretched else None,
        "scale": actuation.half_width.tolist() if stretched else None,
    }


def _meaning(actuation: Actuation, num_actions: int) -> str:
    """What was done to the policy's actions, in words."""
    begin = "most likely action, clipped to [-1, 1]"
    if actuation.output == "action":
        return f"{begin}, as env.step of an environment takes it, which scales it itself"
    if actuation.function is None:
        return f"{begin}, times scale, plus offset: the actuator's own units, which an env.step does not take"
    return f"{begin}, of {num_actions} numbers, through the robot's function from actions to controls"
