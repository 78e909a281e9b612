"""From normalised actions to controls: each actuator has a range of its own, whose ends are the actions -1 and 1.

Or its controls go as far around a pose as is said, :class:`Around`, or are a function of all actions, :class:`Mapped`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rlmaml_envs.checks import check_numbers, unlike
from rlmaml_envs.reading import read_only

if TYPE_CHECKING:
    from rlmaml_envs.simulator import mujoco

Floats: TypeAlias = npt.NDArray[np.float64]

ControlFunction: TypeAlias = Callable[[Any, Any], Any]
"""``function(xp, actions)``: actions (copy, action) in [-1, 1] to controls (copy, control).

``xp`` is numpy where the robot is simulated, and torch where its policy is exported: written with what both have,
operators, ``xp.stack``, ``xp.tanh`` and so on, it is the same in both. Arrays of its own are ``xp.asarray(numbers,
dtype=actions.dtype)``."""


@dataclass(frozen=True)
class Around:
    """Controls around a pose, ``offset + scale * a``, as suits position servos: the action 0 holds the pose."""

    offset: npt.ArrayLike
    """What the action 0 commands: one number, or one per actuator, (control,)."""
    scale: npt.ArrayLike
    """How much more a full action commands, above 0, likewise."""


@dataclass(frozen=True)
class Mapped:
    """Controls that are a function of all actions, of which there may be fewer or more than actuators."""

    function: ControlFunction
    num_actions: int


Controlled: TypeAlias = float | npt.ArrayLike | Around | Mapped | None
"""What is asked of a robot's controls; see :func:`control_ranges`."""


def control_ranges(model: "mujoco.MjModel", asked: Controlled) -> Floats:
    """Lowest and highest control of each actuator, (control, 2), within what the model lets through.

    MuJoCo clips each control to its actuator's ``ctrlrange``; a range beyond it would lose a part of the action.

    Args:
        model: the robot.
        asked: largest control, one number or one per actuator, (control,); or lowest and highest, (control, 2); or
            around a pose, all of which must be within the actuators' own ranges; None, or a function, for the whole
            ``ctrlrange`` of each actuator.

    Raises:
        ValueError: what was asked for has another shape, is not finite or empty, or has nothing in common with an
            actuator's own range; or, around a pose, goes beyond it; or an actuator whose whole range was asked for has
            none; or see :func:`check_function`.
    """
    owner = np.repeat(np.arange(len(model.actuator_ctrlnum)), model.actuator_ctrlnum)
    limited, limits = model.actuator_ctrllimited[owner], model.actuator_ctrlrange[owner]
    own = np.where(limited[:, None], limits, (-np.inf, np.inf))
    names = [model.actuator(index).name or f"number {index}" for index in owner.tolist()]
    if isinstance(asked, Around):
        return _around(asked, own, names)
    if asked is None or isinstance(asked, Mapped):
        free = [name for name, (low, high) in zip(names, own, strict=True) if not np.isfinite(high - low)]
        if free:
            raise ValueError(
                f"The actuator {', '.join(free)} has no ctrlrange, so that nobody knows what a full action is. Give it "
                "one in the MJCF file, or give the body a control_range."
            )
        if isinstance(asked, Mapped):
            check_function(asked, own, names)
        return own
    wanted = np.asarray(asked, np.float64)
    legal = ((), (model.nu,), (model.nu, 2))
    if wanted.shape not in legal or not np.isfinite(wanted).all():
        raise ValueError(
            f"control_range must be finite: one number, or of shape {legal[1]} or {legal[2]}; got {asked!r}."
        )
    ends = wanted if wanted.ndim == 2 else np.stack([-wanted, wanted], axis=-1)
    ranges = np.stack([np.maximum(ends[..., 0], own[:, 0]), np.minimum(ends[..., 1], own[:, 1])], axis=1)
    empty = np.flatnonzero(ranges[:, 0] >= ranges[:, 1])
    if empty.size:
        first = int(empty[0])
        given = np.broadcast_to(ends, own.shape)[first].tolist()
        raise ValueError(
            f"control_range is {given} for the actuator {names[first]}, whose own ctrlrange is {own[first].tolist()}: "
            "no control is in both. Leave control_range away for the whole of each actuator's own."
        )
    return ranges


def _around(asked: Around, own: Floats, names: list[str]) -> Floats:
    """Lowest and highest controls around a pose, (control, 2)."""
    parts = {"offset": np.asarray(asked.offset, np.float64), "scale": np.asarray(asked.scale, np.float64)}
    for what, values in parts.items():
        if values.shape not in ((), (len(own),)) or not np.isfinite(values).all():
            raise ValueError(f"{what} must be finite: one number, or of shape ({len(own)},); got {values.tolist()}.")
    offset, scale = (np.broadcast_to(values, len(own)) for values in parts.values())
    if (scale <= 0).any():
        raise ValueError(f"scale must be above 0; got {scale.tolist()}. Turn an actuator's direction by its gear.")
    ranges = np.stack([offset - scale, offset + scale], axis=1)
    slack = 1e-9 * scale
    beyond = np.flatnonzero((ranges[:, 0] < own[:, 0] - slack) | (ranges[:, 1] > own[:, 1] + slack))
    if beyond.size:
        first = int(beyond[0])
        most = min(offset[first] - own[first, 0], own[first, 1] - offset[first])
        cure = f"Give it a scale of at most {most:.6g}" if most > 0 else "Give it an offset inside"
        raise ValueError(
            f"Around {offset[first]:.6g}, a scale of {scale[first]:.6g} takes the actuator {names[first]} to "
            f"{ranges[first].tolist()}, beyond its own ctrlrange {own[first].tolist()}: a part of the action would be "
            f"lost. {cure}, or lowest and highest per actuator, which need no middle."
        )
    return ranges


TRIED, FULL = 64, 16
"""Random actions on which a function is tried, and how many of those at the ends are held while one number changes."""


def check_function(mapped: Mapped, own: Floats, names: list[str]) -> None:
    """Refuse a function that gives no controls, mixes copies, or loses a part of an action.

    It is tried on full actions, of each number alone and of all, and on random ones.

    Args:
        mapped: the function.
        own: each actuator's own range, (control, 2).
        names: of the actuators.

    Raises:
        ValueError: its controls have the wrong shape, are not finite, depend on other copies, or are beyond an
            actuator's own range; or see :func:`check_used`.
    """
    size = mapped.num_actions
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"num_actions must be a positive integer; got {size!r}.")
    alone = np.concatenate([-np.eye(size), np.zeros((1, size)), np.eye(size)])
    corners = np.sign(np.random.default_rng(0).uniform(-1, 1, (TRIED, size)))
    actions = np.concatenate([alone, corners, np.random.default_rng(1).uniform(-1, 1, (TRIED, size))])
    controls = np.asarray(mapped.function(np, read_only(actions)))
    check_numbers("What the function of control_range gives", controls, (len(actions), len(own)), "(copy, control)")
    single = np.concatenate([np.asarray(mapped.function(np, read_only(row[None]))) for row in actions])
    if unlike(controls, single):
        raise ValueError("The function of control_range mixes copies: each row must follow from its own actions.")
    slack = 1e-9 * (own[:, 1] - own[:, 0])
    beyond = np.argwhere((controls < own[:, 0] - slack) | (controls > own[:, 1] + slack))
    if beyond.size:
        row, which = beyond[0].tolist()
        raise ValueError(
            f"The function of control_range commands {controls[row, which]:.6g} of the actuator {names[which]}, beyond "
            f"its own ctrlrange {own[which].tolist()}, at the action {actions[row].tolist()}: a part of the action "
            "would be lost. Keep it inside."
        )
    for number in range(size):
        check_used(mapped, number, corners[:FULL])


QUARTERS = np.linspace(-1.0, 1.0, 9)
"""Values of a number of an action; between neighbours is a quarter of the way from 0 to an end."""
MOST_LOST = 0.5
"""The largest share of a number's range in which it may command nothing, where the others are at their ends."""


def check_used(mapped: Mapped, number: int, full: Floats) -> None:
    """Refuse a function that loses a part of a number of the action: while the number changes, the controls stay.

    Args:
        mapped: the function.
        number: which one.
        full: actions (n, action) at the ends, whose other numbers are held meanwhile.

    Raises:
        ValueError: nothing changes in a quarter of the way from 0 to an end where the other numbers are 0; or, on
            average over full ones, in more than ``MOST_LOST`` of the range.
    """
    held = np.concatenate([np.zeros((1, full.shape[1])), full])
    actions = np.repeat(held[:, None], len(QUARTERS), axis=1)
    actions[..., number] = QUARTERS
    controls = np.asarray(mapped.function(np, actions.reshape(-1, full.shape[1]))).reshape(*actions.shape[:2], -1)
    lost = np.isclose(controls[:, 1:], controls[:, :-1], rtol=1e-6, atol=1e-9).all(axis=-1)
    middle = len(QUARTERS) // 2
    for end, part in ((-1, lost[0, :middle]), (1, lost[0, middle:])):
        if part.all():
            raise ValueError(
                f"The function of control_range commands the same at 0 and at {end} of number {number} of the "
                "action: a part of it is lost. Let each number command something, or reduce num_actions."
            )
        if part.any():
            raise ValueError(
                f"The function of control_range commands the same in {part.mean():.0%} of the way from 0 to {end} of "
                f"number {number} of the action: a part of it is lost. Scale in place of clipping; xp.tanh is smooth."
            )
    if lost[1:].mean() > MOST_LOST:
        raise ValueError(
            f"The function of control_range commands the same in {lost[1:].mean():.0%} of the range of number {number} "
            "of the action where the others are full: a part of it is lost. Clip less."
        )


def described_function(function: ControlFunction, num_actions: int) -> dict[str, Any]:
    """What a function of actions is, as plain data: its name, and what it commands at some actions.

    Two functions that command the same there are one to whoever trained on either, however they are written; numbers
    that a function takes from elsewhere, which its text does not show, are in it.
    """
    whole, alone = np.random.default_rng(2).uniform(-1, 1, (2, num_actions)), np.eye(num_actions)
    actions = {"nothing": np.zeros(num_actions)}
    actions |= {f"{end} of number {number}": end * row for number, row in enumerate(alone) for end in (-1, 1)}
    actions |= {f"random action {number}": row for number, row in enumerate(whole)}
    controls = np.asarray(function(np, np.stack(list(actions.values()))), np.float64)
    inner = getattr(function, "func", function)
    return {
        "name": getattr(inner, "__qualname__", type(inner).__qualname__),
        "commands": {
            what: [float(f"{number:.6g}") for number in row]
            for what, row in zip(actions, controls.tolist(), strict=True)
        },
    }


def to_controls(actions: Floats, ranges: Floats) -> Floats:
    """``(high + low) / 2 + a (high - low) / 2``: actions (copy, control) in [-1, 1] to controls (copy, control)."""
    return np.asarray((ranges[:, 1] + ranges[:, 0]) / 2 + actions * ((ranges[:, 1] - ranges[:, 0]) / 2))


def commanded(actions: Floats, ranges: Floats, function: ControlFunction | None) -> Floats:
    """What actions (copy, action) command, (copy, control): by a function, or from end to end of ranges."""
    if function is None:
        return to_controls(actions, ranges)
    return np.asarray(function(np, read_only(actions)), np.float64)
