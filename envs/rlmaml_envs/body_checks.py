"""Whether what a robot's body says of itself can be lived with, before anything is trained on it."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from rlmaml_envs.checks import check_numbers, check_words
from rlmaml_envs.outputs import check_outputs
from rlmaml_envs.physics import Physics, stored
from rlmaml_envs.robot_drawing import robot_body
from rlmaml_envs.simulator import mujoco

if TYPE_CHECKING:
    from rlmaml_envs.locomotion import Body, State

SHORTEST = 1e-6
"""Seconds of a control step below which there are none."""
STARTS = 32
"""Initial states that are looked at before a robot is one."""
SHORTEST_QUATERNION = 1e-6
"""Length below which MuJoCo takes a quaternion for that of no turn, whatever was meant."""


def check_body(body: "Body", physics: Physics) -> None:
    """Refuse a robot whose functions do not give what :class:`Body` says, at the state that its model is built in.

    Initial states are drawn from several seeds, each twice.

    Raises:
        ValueError: names the function, what it gave and what is legal; or the model has no actuators, or not the body
            that the camera follows.
    """
    model, copies = physics.model, len(physics.qpos)
    if not model.nu:
        raise ValueError("The model has no actuators, so that nothing can be learned; add some to the MJCF file.")
    if not SHORTEST <= physics.duration < math.inf:
        raise ValueError(
            f"A control step of the model takes {physics.duration} s; it must be a finite time of at least {SHORTEST} "
            "s. Set the timestep in the option of the MJCF file."
        )
    robot_body(model, body.camera.body)
    check_outputs(model, body.simulation.outputs)
    built = stored(model)
    for seed in range(STARTS):
        check_start(body, model, seed)
    if stored(model) != built:
        raise ValueError("initial_state wrote into the model; let it change a copy, model.qpos0.copy().")
    if body.control_units is not None:
        check_words("control_units", body.control_units, model.nu, units=True)
    check_numbers("What observe gives", body.observe(physics), (copies, None), "(copy, observation)")
    if body.observed is not None:
        entries, size = body.observed(model), body.observe(physics).shape[1]
        if len(entries) != size or any(not isinstance(entry, tuple) or len(entry) != 2 for entry in entries):
            raise ValueError(
                f"observed must give a name and a unit, a tuple, for each of the {size} numbers that observe gives; "
                f"got {len(entries)}: {list(entries)!r:.200}."
            )
    check_numbers("What position gives", body.position(physics), (copies, 2), "(copy, 2)")
    if body.velocity is not None:
        check_numbers("What velocity gives", body.velocity(physics), (copies, 2), "(copy, 2)")
    if body.is_healthy is not None:
        check_numbers("What is_healthy gives", body.is_healthy(physics), (copies,), "(copy,)", kinds="b")


def drawn_state(body: "Body", model: mujoco.MjModel, generator: np.random.Generator) -> "State":
    """What the body's ``initial_state`` gives, as arrays of its own: it may fill the same ones anew each time."""
    state: Any = body.initial_state(model, generator)
    return tuple(np.array(part, subok=True) for part in state) if isinstance(state, tuple) else state


def check_start(body: "Body", model: mujoco.MjModel, seed: int) -> None:
    """Refuse a state in which an episode cannot start, or that is not drawn from the generator alone.

    Raises:
        ValueError: names what was received and what is legal.
    """
    states = [drawn_state(body, model, np.random.default_rng(seed)) for _ in range(2)]
    for state in states:
        if not isinstance(state, tuple) or len(state) not in (2, 3):
            got = f"{len(state)} values" if isinstance(state, tuple) else type(state).__name__
            raise ValueError(f"initial_state must give (positions, velocities), or activations as well; got {got}.")
    sizes = {"positions": model.nq, "velocities": model.nv, "activations": model.na}
    for (part, size), first, second in zip(sizes.items(), *states, strict=False):
        axis = {"positions": "nq", "velocities": "nv", "activations": "na"}[part]
        check_numbers(f"The {part} of initial_state", first, (size,), f"({axis},)")
        if not np.array_equal(first, second):
            raise ValueError(
                f"initial_state gave the {part} {np.asarray(first)} and then {np.asarray(second)} for generators of "
                "the same seed. Draw from the generator that it is given, never from numpy.random, and keep nothing."
            )
    for name, place in quaternions(model).items():
        if np.linalg.norm(states[0][0][place]) < SHORTEST_QUATERNION:
            raise ValueError(
                f'The positions of initial_state hold the quaternion of the joint "{name}" at {place.start} to '
                f"{place.stop - 1}, which is 0 and no orientation. Begin with model.qpos0.copy()."
            )


def quaternions(model: mujoco.MjModel) -> dict[str, slice]:
    """Joint that turns freely, by name or number -> where its quaternion is among the positions."""
    starts = {int(mujoco.mjtJoint.mjJNT_FREE): 3, int(mujoco.mjtJoint.mjJNT_BALL): 0}
    free = [index for index in range(model.njnt) if int(model.jnt_type[index]) in starts]
    firsts = {index: int(model.jnt_qposadr[index]) + starts[int(model.jnt_type[index])] for index in free}
    return {model.joint(index).name or str(index): slice(first, first + 4) for index, first in firsts.items()}
