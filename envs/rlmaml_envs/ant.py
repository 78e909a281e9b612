"""Ant: a four-legged robot that falls over. AntVel-v0, AntDir-v0, AntDir2D-v0, AntGoal-v0, AntChanged-v0.

Model: Gymnasium's ``ant.xml`` (a torso and four legs of a hip and an ankle, RK4).

Observation (float64)
    ``finn2017``, 125: positions (15: x, y, z, quaternion, hips and ankles 1 to 4; m, rad), velocities (14; m/s,
    rad/s), contact forces on each of the 14 bodies clipped to [-1, 1] (84; torque, force; N m, N), the torso's rotation
    matrix (9), the centre of mass of the whole robot (3; m).
    ``rothfuss2019``, 113: positions (15), velocities (14), clipped contact forces on all bodies (84).
    ``gymnasium``, 105: positions without x and y (13), velocities (14), clipped contact forces on
    all bodies but the world (78).
    The policy never sees the target, the direction, the goal or the change.

Action (float32, 8; clipped to [-1, 1])
    Torques of hip_4 ankle_4 hip_1 ankle_1 hip_2 ankle_2 hip_3 ankle_3, in units of 150 N m.

Bodies
    ``finn2017``: one physics step of 0.02 s per control step. Speed: that of the centre of mass. Everything is
        computed after the step. Initial state: the standing pose of the model's ``init_qpos``, 0.55 m high, positions
        + 0.01 N(0, 1), velocities + 0.1 N(0, 1). Contacts as stiff as in the paper's model (``solimp`` 0.8 0.8 0.01).
    ``gymnasium``: five physics steps of 0.01 s. Speed: the change of the torso's position in a control step.
        Initial state: positions + U[-0.1, 0.1], velocities + 0.1 N(0, 1). Contact forces are those at the beginning
        of the last physics step, 0.01 s before those that Gymnasium's Ant-v5 reports.
    ``rothfuss2019``: as ``gymnasium``, but nothing terminates an episode: the reward is never positive, so that
        falling would otherwise pay.
    Terminated, but for ``rothfuss2019``: the torso's height leaves [0.2, 1.0] m.

Reward terms
    ``finn2017``: ``control_cost`` = -0.005 sum(a^2), ``contact_cost`` = -0.0005 sum(clipped forces^2),
        ``survive_reward`` = 0.05 in every step, also in that of a fall.
    ``gymnasium``: ``control_cost`` = -0.5 sum(a^2), ``contact_cost`` = -0.0005 sum(clipped forces^2),
        ``survive_reward`` = 1 while the ant stands. Standing still is a strong optimum: look at the terms. At a
        target above 1 m/s, falling pays more than standing still.

AntVel-v0: ``velocity_error_cost`` = -|v_x - velocity|, and in ``finn2017`` ``goal_reward`` = 1. Task
    ``velocity`` ~ U[0, 3] m/s, wide [0, 4]. Variants ``finn2017`` (default), ``gymnasium``.
AntDir-v0: ``forward_reward`` = d v_x. Task ``backward`` ~ U{0, 1}; nothing is beyond. Variants ``finn2017`` (default),
    ``gymnasium``.
AntDir2D-v0: ``forward_reward`` = v along ``direction``. Task ``direction`` ~ U[-pi, pi] rad; nothing is beyond.
    Variants ``gymnasium`` (default), ``finn2017``, and ``half_plane``: ``gymnasium`` with ``direction`` ~
    U[-pi/2, pi/2] in training, wide [-pi, pi].
AntGoal-v0: ``distance_cost`` = -|x - x_g| - |y - y_g| of the torso, ``control_cost`` = -0.1 sum(a^2), ``contact_cost``
    as above, no bonus. Task ``distance``, ``direction``: uniform over a disc of 3 m, wide 4.5 m. Variant
    ``rothfuss2019`` (default).
AntChanged-v0: ``gymnasium``'s forward problem with a robot that is not what it was. Tasks, by variant:
    ``damaged`` (default): ``dead_joint`` ~ U{1, ..., 7}: the first, ..., seventh of hip_1 ankle_1 hip_2 ankle_2 hip_3
    ankle_3 hip_4 ankle_4 has a dead motor, wide: also the eighth, and 0, the intact robot; ``intact``: 0 in training,
    wide as before; ``payload`` ~ U[0, 0.5] kg at the torso, wide [0, 0.75] (the ant weighs 0.91 kg);
    ``friction`` ~ U[0.4, 1.6] times all sliding friction, wide [0.2, 2]; ``combined``: damage, payload and
    friction; each with ``_velocity``: ``gymnasium``'s AntVel.
    ``any``, ``dead``, ``inverted``, ``swapped``, ``offset``, ``unchanged``, ``any_but_dead``, ``any_but_inverted``,
    ``any_but_swapped``, ``any_but_offset``: as those of HalfCheetahChanged (``half_cheetah.py``), with ``dead_joint``
    ~ U{1, ..., 8} and ``encoder_offset`` (8) in the order of the joints above, and ``motor_gain`` (8) and
    ``motor_permutation`` (8 x 8) in the order of the action.

Horizon: 200 steps.

Version history
    v0: first version.

Sources
    Finn, Abbeel, Levine 2017, arXiv:1703.03400, and the ant of rllab (Duan et al. 2016, arXiv:1604.06778) that it
    used; Gymnasium's Ant-v5; Rothfuss et al. 2019, arXiv:1810.06784 (goals). AntChanged is our own.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from rlmaml_envs.bodies import (
    TORSO,
    add_sensor,
    centre_of_mass_velocity,
    gaussian_state,
    ground_position,
    gymnasium_state,
    load_model,
)
from rlmaml_envs.changes import changed_variants
from rlmaml_envs.family import Bools, Floats
from rlmaml_envs.kinds import one_change_variants
from rlmaml_envs.locomotion import Body, LocomotionFamily, Motion, RewardTerm
from rlmaml_envs.observation_names import CENTRE_OF_MASS, FORCES, ROTATION_MATRIX, of_bodies, state_without
from rlmaml_envs.physics import Physics, Simulation
from rlmaml_envs.problems import along_direction, at_goal, at_speed, control, forwards, forwards_or_backwards, survive
from rlmaml_envs.published import Published
from rlmaml_envs.rewards import contact_cost
from rlmaml_envs.robot_drawing import RobotCamera
from rlmaml_envs.simulator import mujoco
from rlmaml_envs.tasks import Task

JOINTS = ("hip_1", "ankle_1", "hip_2", "ankle_2", "hip_3", "ankle_3", "hip_4", "ankle_4")
MOTORS = ("hip_4", "ankle_4", "hip_1", "ankle_1", "hip_2", "ankle_2", "hip_3", "ankle_3")
"""The joint that each action drives."""
HEALTHY_HEIGHT = (0.2, 1.0)
"""Metres."""
CONTACT_WEIGHT = 5e-4
CAMERA = RobotCamera(distance=4.5, elevation=-20.0)


def build(*, like_finn2017: bool) -> mujoco.MjModel:
    """Gymnasium's model, with sensors that make MuJoCo compute contact forces and the centre of mass's velocity."""

    def edit(spec: mujoco.MjSpec) -> None:
        add_sensor(spec, mujoco.mjtSensor.mjSENS_FRAMELINACC, "torso")
        if like_finn2017:
            add_sensor(spec, mujoco.mjtSensor.mjSENS_SUBTREELINVEL, "torso")
            spec.option.timestep = 0.02
            for geom in spec.geoms:
                geom.solimp[:3] = (0.8, 0.8, 0.01)

    return load_model("ant.xml", edit)


def standing_state(model: mujoco.MjModel, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """The pose that the model keeps as ``init_qpos``, with Gaussian noise."""
    start = model.numeric("init_qpos").data
    return gaussian_state(model, generator, position_scale=0.01, velocity_scale=0.1, start=start)


def clipped_forces(physics: Physics) -> Floats:
    """Contact forces on all bodies, the world first, clipped to [-1, 1], (copy, body, 6)."""
    forces: Floats = physics.outputs["cfrc_ext"].clip(-1.0, 1.0)
    return forces


def observe_everything(physics: Physics) -> Floats:
    """The observation of ``finn2017``, (copy, 125)."""
    forces = clipped_forces(physics).reshape(len(physics.qpos), -1)
    rotation, centre = (physics.outputs[name][:, TORSO] for name in ("xmat", "subtree_com"))
    return np.hstack([physics.qpos, physics.qvel, forces, rotation, centre])


def observe_without_position(physics: Physics) -> Floats:
    """The observation of Gymnasium's Ant-v5, (copy, 105)."""
    forces = clipped_forces(physics)[:, 1:].reshape(len(physics.qpos), -1)
    return np.hstack([physics.qpos[:, 2:], physics.qvel, forces])


def observe_state_and_forces(physics: Physics) -> Floats:
    """The observation of ``rothfuss2019``, where the robot must know its place, (copy, 113)."""
    forces = clipped_forces(physics).reshape(len(physics.qpos), -1)
    return np.hstack([physics.qpos, physics.qvel, forces])


def torso_position(physics: Physics) -> Floats:
    """X and y of the torso as MuJoCo last evaluated them, which is what Ant-v5 differentiates, (copy, 2) m."""
    return physics.outputs["xpos"][:, TORSO, :2].copy()


def is_healthy(physics: Physics) -> Bools:
    """Whether the torso is neither on the ground nor in the air."""
    low, high = HEALTHY_HEIGHT
    return (physics.qpos[:, 2] >= low) & (physics.qpos[:, 2] <= high)


FINN2017 = Body(
    build=partial(build, like_finn2017=True),
    simulation=Simulation(substeps=1, outputs=("cfrc_ext", "xmat", "subtree_com", "subtree_linvel"), fresh="forces"),
    initial_state=standing_state,
    observe=observe_everything,
    observed=lambda model: [
        *state_without(0, model),
        *of_bodies(model, FORCES),
        *ROTATION_MATRIX,
        *CENTRE_OF_MASS,
    ],
    position=ground_position,
    gymnasium_id="Ant-v5",
    velocity=centre_of_mass_velocity,
    is_healthy=is_healthy,
    camera=CAMERA,
)

GYMNASIUM = Body(
    build=partial(build, like_finn2017=False),
    simulation=Simulation(substeps=5, outputs=("cfrc_ext", "xpos")),
    initial_state=partial(gymnasium_state, scale=0.1),
    observe=observe_without_position,
    observed=lambda model: [*state_without(2, model), *of_bodies(model, FORCES, 1)],
    position=torso_position,
    gymnasium_id="Ant-v5",
    is_healthy=is_healthy,
    camera=CAMERA,
)


ROTHFUSS2019 = replace(
    GYMNASIUM,
    observe=observe_state_and_forces,
    observed=lambda model: [*state_without(0, model), *of_bodies(model, FORCES)],
    is_healthy=None,
    camera=RobotCamera(distance=8.0, elevation=-20.0),
)


def _contact(motion: Motion, task: Task) -> Floats:
    return contact_cost(clipped_forces(motion.physics), CONTACT_WEIGHT)


def _always(bonus: float) -> RewardTerm:
    return lambda motion, task: np.full(len(motion.actions), bonus)


FINN2017_TERMS: dict[str, RewardTerm] = {
    "control_cost": control(0.005),
    "contact_cost": _contact,
    "survive_reward": _always(0.05),
}
GYMNASIUM_TERMS: dict[str, RewardTerm] = {
    "control_cost": control(0.5),
    "contact_cost": _contact,
    "survive_reward": survive(1.0),
}


VELOCITY_RETURNS: dict[str, Published] = {
    "MAML, published": Published((30.58, 96.74, 100.06, 101.41), episodes=20),
    "pretrained, published": Published((-1.83, 6.11, 8.47, 9.47), episodes=20),
    "random initialisation, published": Published((-78.64, -62.81, -48.55, -35.56), episodes=20),
    "oracle, published": Published((107.89,), episodes=20),
}
"""Of arXiv 1703.03400, with its published result files."""

DIRECTION_RETURNS: dict[str, Published] = {
    "MAML, 40 episodes, published": Published((8.66, 499.15, 500.68, 499.11), episodes=40),
    "MAML, 20 episodes, published": Published((12.91, 434.36, 425.63, 411.75), episodes=20),
    "pretrained, published": Published((3.16, 1.27, 6.51, 6.86), episodes=20),
    "random initialisation, published": Published((3.11, 9.25, 15.96, 26.11), episodes=20),
    "oracle, published": Published((524.80,), episodes=20),
}
"""Of arXiv 1703.03400, with its published result files."""

VELOCITY = LocomotionFamily(
    "AntVel",
    {
        "finn2017": replace(
            at_speed(FINN2017, {"goal_reward": _always(1.0), **FINN2017_TERMS}, 3.0, 4.0), published=VELOCITY_RETURNS
        ),
        "gymnasium": at_speed(GYMNASIUM, GYMNASIUM_TERMS, 3.0, 4.0),
    },
)
DIRECTION = LocomotionFamily(
    "AntDir",
    {
        "finn2017": replace(forwards_or_backwards(FINN2017, FINN2017_TERMS), published=DIRECTION_RETURNS),
        "gymnasium": forwards_or_backwards(GYMNASIUM, GYMNASIUM_TERMS),
    },
)
PLANE_DIRECTION = LocomotionFamily(
    "AntDir2D",
    {
        "gymnasium": along_direction(GYMNASIUM, GYMNASIUM_TERMS),
        "finn2017": along_direction(FINN2017, FINN2017_TERMS),
        "half_plane": along_direction(GYMNASIUM, GYMNASIUM_TERMS, widest=np.pi / 2),
    },
)
GOAL = LocomotionFamily(
    "AntGoal",
    {"rothfuss2019": at_goal(ROTHFUSS2019, {"control_cost": control(0.1), "contact_cost": _contact}, 3.0, 4.5)},
)

FORWARDS = forwards(GYMNASIUM, GYMNASIUM_TERMS)

CHANGED = LocomotionFamily(
    "AntChanged",
    {
        **changed_variants(FORWARDS, VELOCITY.variants["gymnasium"], joints=JOINTS, heaviest=0.5),
        **one_change_variants(FORWARDS, joints=JOINTS, motors=MOTORS, angles=slice(5, 13)),
    },
)
