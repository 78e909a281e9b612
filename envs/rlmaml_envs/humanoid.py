"""Humanoid: a robot with legs and arms that falls over. HumanoidDir2D-v0.

Model: Gymnasium's ``humanoid.xml`` (13 bodies, 17 hinges; RK4, steps of 0.003 s, five per control step).

Observation (float64, 348), as Gymnasium's Humanoid-v5
    positions without x and y (22: height, quaternion, hinges; m, rad), velocities (23; m/s, rad/s), inertia
    (130: ``cinert``, kg, kg m, kg m^2) and velocity (78: ``cvel``, rad/s, m/s) of each body, actuator forces on the
    hinges (17; N m), contact forces on each body (78: ``cfrc_ext``, N m, N).
    The policy never sees the direction.

Action (float32, 17; clipped to [-1, 1])
    Torques of the motors in the order of the MJCF file (abdomen_y abdomen_z abdomen_x, right leg, left leg, right arm,
    left arm), in units of 0.4 times their gear.

Initial state: positions and velocities + U[-0.01, 0.01].
Terminated: the torso's height leaves (1.0, 2.0) m.

HumanoidDir2D-v0: walk in a direction of the plane; variant ``gymnasium`` (default), the constants of Humanoid-v5.
    ``forward_reward`` = 1.25 v along ``direction``, v the change of the centre of mass in a control step;
    ``control_cost`` = -0.1 sum(control^2) with controls of at most 0.4;
    ``contact_cost`` = -min(5e-7 sum(forces^2), 10); ``survive_reward`` = 5 while the robot stands.
    Contact forces are those at the beginning of the last physics step, 0.003 s before those that Humanoid-v5
    reports.
    Task ``direction`` ~ U[-pi, pi] rad; nothing is beyond. Variant ``half_plane``: ``direction`` ~ U[-pi/2, pi/2] in
    training, wide [-pi, pi].

Horizon: 200 steps.

Version history
    v0: first version.

Sources
    Gymnasium's Humanoid-v5; directions in the plane as in Rakelly et al. 2019, arXiv:1903.08254.
"""

from functools import partial

import numpy as np

from rlmaml_envs.bodies import add_sensor, load_model, uniform_state
from rlmaml_envs.family import Bools, Floats
from rlmaml_envs.locomotion import Body, LocomotionFamily, RewardTerm
from rlmaml_envs.observation_names import FORCES, INERTIAS, MOTIONS, joint_forces, of_bodies, state_without
from rlmaml_envs.physics import Physics, Simulation
from rlmaml_envs.problems import along_direction, survive
from rlmaml_envs.rewards import contact_cost, control_cost
from rlmaml_envs.robot_drawing import RobotCamera
from rlmaml_envs.simulator import mujoco

CONTROL_RANGE = 0.4
"""Largest control in the model's units."""
HEALTHY_HEIGHT = (1.0, 2.0)
"""Metres."""


def build() -> mujoco.MjModel:
    """Gymnasium's model, with a sensor that makes MuJoCo compute contact forces."""
    return load_model("humanoid.xml", lambda spec: add_sensor(spec, mujoco.mjtSensor.mjSENS_FRAMELINACC, "torso"))


def observe(physics: Physics) -> Floats:
    """The observation of Humanoid-v5, (copy, 348)."""
    bodies = (physics.outputs[name][:, 1:].reshape(len(physics.qpos), -1) for name in ("cinert", "cvel", "cfrc_ext"))
    inertia, velocity, contact = bodies
    actuators = physics.outputs["qfrc_actuator"][:, 6:]
    return np.hstack([physics.qpos[:, 2:], physics.qvel, inertia, velocity, actuators, contact])


def centre_of_mass(physics: Physics) -> Floats:
    """X and y of the centre of mass as MuJoCo last evaluated it, (copy, 2) m."""
    mass = physics.model.body_mass
    return np.asarray(np.einsum("b,cbj->cj", mass, physics.outputs["xipos"][..., :2]) / mass.sum())


def is_healthy(physics: Physics) -> Bools:
    """Whether the torso is up."""
    low, high = HEALTHY_HEIGHT
    return (low < physics.qpos[:, 2]) & (physics.qpos[:, 2] < high)


BODY = Body(
    build=build,
    simulation=Simulation(substeps=5, outputs=("cinert", "cvel", "qfrc_actuator", "cfrc_ext", "xipos")),
    initial_state=partial(uniform_state, scale=0.01),
    observe=observe,
    observed=lambda model: [
        *state_without(2, model),
        *of_bodies(model, INERTIAS, 1),
        *of_bodies(model, MOTIONS, 1),
        *joint_forces(model)[6:],
        *of_bodies(model, FORCES, 1),
    ],
    position=centre_of_mass,
    gymnasium_id="Humanoid-v5",
    is_healthy=is_healthy,
    control_range=CONTROL_RANGE,
    camera=RobotCamera(distance=5.0, elevation=-20.0),
)

TERMS: dict[str, RewardTerm] = {
    "control_cost": lambda motion, task: control_cost(CONTROL_RANGE * motion.actions, 0.1),
    "contact_cost": lambda motion, task: contact_cost(motion.physics.outputs["cfrc_ext"], 5e-7, 10.0),
    "survive_reward": survive(5.0),
}

PLANE_DIRECTION = LocomotionFamily(
    "HumanoidDir2D",
    {
        "gymnasium": along_direction(BODY, TERMS, weight=1.25),
        "half_plane": along_direction(BODY, TERMS, weight=1.25, widest=np.pi / 2),
    },
)
