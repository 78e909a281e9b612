"""What is to be said of the state in which a robot's episodes start.

Where a joint is beyond its range, or one part is inside another, MuJoCo pushes them apart with all its might in the
first steps: the robot jumps, and every episode begins so, without a word. It happens to whoever starts from
``model.qpos0`` a robot whose file has its pose in a keyframe.
"""

from collections.abc import Iterator

import numpy as np

from rlmaml_envs.family import Floats
from rlmaml_envs.model_fields import name_of
from rlmaml_envs.simulator import mujoco

BEYOND = 0.1
"""Share of a joint's range by which it may be beyond it: starts are drawn with noise."""
INSIDE = 0.3
"""Share of the radius of the smaller of two geoms by which one may be inside the other."""


def said_of_start(model: mujoco.MjModel, positions: Floats) -> list[str]:
    """What is wrong with a start, in words.

    Args:
        model: the robot.
        positions: (nq,).
    """
    return [*joints_beyond(model, positions), *overlaps(model, positions)]


def joints_beyond(model: mujoco.MjModel, positions: Floats) -> list[str]:
    """One sentence about all hinges and slides that start far beyond their ranges, if there are some."""
    kinds = mujoco.mjtJoint.mjJNT_SLIDE.value, mujoco.mjtJoint.mjJNT_HINGE.value
    found = []
    for joint in np.flatnonzero(np.isin(model.jnt_type, kinds) & (model.jnt_limited != 0)).tolist():
        (low, high), place = model.jnt_range[joint].tolist(), float(positions[model.jnt_qposadr[joint]])
        if max(low - place, place - high) > BEYOND * (high - low):
            found.append(f'"{name_of(model, "joint", joint) or joint}" at {place:.3g}, not {low:.3g} to {high:.3g}')
    if not found:
        return []
    return [
        f"joints start beyond their ranges and are pushed back at once: {'; '.join(found)}. Let initial_state begin "
        "inside, such as in a keyframe of the MJCF file, model.key_qpos[0]."
    ]


def overlaps(model: mujoco.MjModel, positions: Floats) -> Iterator[str]:
    """The pairs of geoms that start far inside each other."""
    data = mujoco.MjData(model)
    data.qpos[:] = positions
    mujoco.mj_fwdPosition(model, data)
    said = set()
    for index in range(data.ncon):
        contact = data.contact[index]
        pair = tuple(contact.geom.tolist())
        radii = [model.geom_rbound[geom] for geom in pair if geom >= 0 and model.geom_rbound[geom] > 0]
        if min(pair) < 0 or pair in said or not radii or -contact.dist <= INSIDE * min(radii):
            continue
        said.add(pair)
        names = " and ".join(named_geom(model, geom) for geom in pair)
        yield (
            f"the geoms {names} start {-contact.dist:.3g} m inside each other, and are thrown apart at once. Let "
            "initial_state begin with room between them, or keep them from touching by <exclude> in the MJCF file."
        )


def named_geom(model: mujoco.MjModel, geom: int) -> str:
    """A geom by its name, or by its number and its body's."""
    name, body = name_of(model, "geom", geom), int(model.geom_bodyid[geom])
    return f'"{name}"' if name else f'number {geom} (of the body "{name_of(model, "body", body) or body}")'
