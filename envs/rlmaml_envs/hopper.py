"""Hopper: a planar one-legged robot that falls over. HopperParams-v0.

Model: Gymnasium's ``hopper.xml`` (a torso, a thigh, a leg and a foot; RK4, steps of 0.002 s).

Observation (float64, 11)
    ======  ==========================================  =====  ====================
    0       height of the torso                         m      rootz
    1       pitch of the torso                          rad    rooty
    2-4     hinge angles                                rad    thigh_joint leg_joint foot_joint
    5-10    velocities of the above and, first, in x,   m/s,   rootx rootz rooty, hinges
            clipped to [-10, 10]                        rad/s
    ======  ==========================================  =====  ====================
    The policy never sees the target speed or what the robot is made of.

Action (float32, 3; clipped to [-1, 1])
    Torques of thigh_joint leg_joint foot_joint, in units of 200 N m.

Initial state: positions and velocities + U[-0.005, 0.005].
Terminated: the torso's height is not above 0.7 m, its pitch leaves (-0.2, 0.2) rad, or any state but x and height
leaves (-100, 100).

HopperParams-v0: hop with a robot whose parameters differ. Four physics steps per control step.
    v is the change of the torso's x in a control step; ``control_cost`` = -0.001 sum(a^2).
    ``rothfuss2019`` (default), forwards: ``forward_reward`` = v, ``survive_reward`` = 1 while the robot stands.
    ``velocity``, our own: ``velocity_error_cost`` = -|v - velocity| with ``velocity`` ~ U[0, 2] m/s, wide [0, 3];
        ``survive_reward`` = 4, more than the largest error of a robot that stands still.
    Task of both: factors, log-uniform and independent, on each body's ``mass`` (4) and
    ``inertia`` (4), 1.5^[-3, 3]; on the ``damping`` (3) of the hinges, 1.3^[-3, 3]; on the ``friction`` (5) of the
    floor and the geoms of the robot, 1.5^[-3, 3]. Wide: exponents in [-4, 4]. The
    published robots draw a factor for each component of an inertia and of a friction; here one serves all three, and of
    either only one moves a robot that lives in a plane.

Horizon: 200 steps.

Version history
    v0: first version.

Sources
    Gymnasium's Hopper-v5; Rothfuss et al. 2019, arXiv:1810.06784, and the random-parameter robots that it and Rakelly
    et al. 2019, arXiv:1903.08254, share.
"""

from functools import partial

import numpy as np

from rlmaml_envs.bodies import load_model, planar_position, positions_and_velocities, uniform_state
from rlmaml_envs.changes import random_parameters
from rlmaml_envs.family import Bools
from rlmaml_envs.locomotion import Body, LocomotionFamily
from rlmaml_envs.observation_names import state_without
from rlmaml_envs.physics import Physics, Simulation
from rlmaml_envs.problems import at_speed, forwards, upright

JOINTS = ("thigh_joint", "leg_joint", "foot_joint")
GEOMS = ("floor", "torso_geom", "thigh_geom", "leg_geom", "foot_geom")
LOWEST_HEIGHT = 0.7
"""Metres."""
HEALTHY_PITCH = 0.2
"""Radians to either side."""
LARGEST_STATE = 100.0


def is_healthy(physics: Physics) -> Bools:
    """Whether the torso is up and upright, and nothing moves absurdly fast."""
    height, pitch = physics.qpos[:, 1], physics.qpos[:, 2]
    moderate = (np.abs(physics.qpos[:, 2:]) < LARGEST_STATE).all(axis=1)
    moderate &= (np.abs(physics.qvel) < LARGEST_STATE).all(axis=1)
    upright = (pitch > -HEALTHY_PITCH) & (pitch < HEALTHY_PITCH)
    return np.asarray((height > LOWEST_HEIGHT) & upright & moderate)


BODY = Body(
    build=partial(load_model, "hopper.xml"),
    simulation=Simulation(substeps=4),
    initial_state=partial(uniform_state, scale=0.005),
    observe=partial(positions_and_velocities, skipped=1, largest_velocity=10.0),
    observed=partial(state_without, 1),
    position=planar_position,
    gymnasium_id="Hopper-v5",
    is_healthy=is_healthy,
)


terms = partial(upright, 0.001)


changed = partial(random_parameters, num_bodies=4, joints=JOINTS, geoms=GEOMS)
PARAMETERS = LocomotionFamily(
    "HopperParams",
    {
        "rothfuss2019": changed(forwards(BODY, terms(1.0))),
        "velocity": changed(at_speed(BODY, terms(4.0), 2.0, 3.0)),
    },
)
