"""From normalised actions to controls: each actuator has a range of its own, whose ends are the actions -1 and 1."""

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from envs.simulator import mujoco

Floats: TypeAlias = npt.NDArray[np.float64]


def control_ranges(model: "mujoco.MjModel", asked: float | npt.ArrayLike | None) -> Floats:
    """Lowest and highest control of each actuator, (control, 2), within what the model lets through.

    MuJoCo clips each control to its actuator's ``ctrlrange``; a range beyond it would lose a part of the action.

    Args:
        model: the robot.
        asked: largest control, one number or one per actuator, (control,); or lowest and highest, (control, 2); None
            for the whole ``ctrlrange`` of each actuator.

    Raises:
        ValueError: what was asked for has another shape, is not finite or empty, or has nothing in common with an
            actuator's own range; or nothing was asked for and an actuator has no range.
    """
    owner = np.repeat(np.arange(len(model.actuator_ctrlnum)), model.actuator_ctrlnum)
    limited, limits = model.actuator_ctrllimited[owner], model.actuator_ctrlrange[owner]
    own = np.where(limited[:, None], limits, (-np.inf, np.inf))
    names = [model.actuator(index).name or f"number {index}" for index in owner.tolist()]
    if asked is None:
        free = [name for name, (low, high) in zip(names, own, strict=True) if not np.isfinite(high - low)]
        if free:
            raise ValueError(
                f"The actuator {', '.join(free)} has no ctrlrange, so that nobody knows what a full action is. Give it "
                "one in the MJCF file, or give the body a control_range."
            )
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


def to_controls(actions: Floats, ranges: Floats) -> Floats:
    """``(high + low) / 2 + a (high - low) / 2``: actions (copy, control) in [-1, 1] to controls (copy, control)."""
    return np.asarray((ranges[:, 1] + ranges[:, 0]) / 2 + actions * ((ranges[:, 1] - ranges[:, 0]) / 2))
