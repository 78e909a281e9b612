"""Walker2d: a planar two-legged robot that falls over. Walker2dVel-v0, Walker2dParams-v0.

Model: Gymnasium's ``walker2d_v5.xml`` (a torso and two legs of a thigh, a leg and a foot; RK4, steps of 0.002 s), both
of its feet with a sliding friction of 1.9; or ``walker2d.xml``, the robot of older versions, whose right foot has 0.9.

Observation (float64, 17)
    ======  ==========================================  =====  ====================
    0       height of the torso                         m      rootz
    1       pitch of the torso                          rad    rooty
    2-7     hinge angles                                rad    thigh leg foot, then those of the left leg
    8-16    velocities of the above and, first, in x,   m/s,   rootx rootz rooty, hinges
            clipped to [-10, 10]                        rad/s
    ======  ==========================================  =====  ====================
    The policy never sees the target speed or what the robot is made of.

Action (float32, 6; clipped to [-1, 1])
    Torques of thigh leg foot thigh_left leg_left foot_left, in units of 100 N m.

Initial state: positions and velocities + U[-0.005, 0.005].
Terminated: the torso's height leaves (0.8, 2.0) m or its pitch (-1, 1) rad.
Reward terms of both: ``control_cost`` = -0.001 sum(a^2), ``survive_reward`` while the robot stands: 1 where it runs
forwards; at a target speed more than the largest error of a robot that stands still, so that falling never pays.
Speed: the change of the torso's x in a control step.

Walker2dVel-v0: ``velocity_error_cost`` = -|v - velocity|. Task ``velocity``, m/s:
    ``gymnasium`` (default) ~ U[0, 3], wide [0, 4], our own: four physics steps per control step, ``survive_reward`` 5.
    ``rothfuss2019`` ~ U[0, 10], wide [0, 12]: eight physics steps per control step, ``survive_reward`` 15.
Walker2dParams-v0: run with a robot whose parameters differ.
    ``rothfuss2019`` (default), forwards: ``forward_reward`` = v. Five physics steps per control step.
    ``rakelly2019``: the same with ``walker2d.xml``, as its returns were published.
    ``velocity``, our own: ``gymnasium``'s Walker2dVel.
    Task of all: factors, log-uniform and independent, on each body's ``mass`` (7) and
    ``inertia`` (7), 1.5^[-3, 3]; on the ``damping`` (6) of the hinges, 1.3^[-3, 3]; on the ``friction`` (8) of the
    floor and the geoms of the robot, 1.5^[-3, 3]. Wide: exponents in [-4, 4]. The
    published robots draw a factor for each component of an inertia and of a friction; here one serves all three, and of
    either only one moves a robot that lives in a plane.

Horizon: 200 steps.

Version history
    v0: first version.

Sources
    Gymnasium's Walker2d-v5; Rothfuss et al. 2019, arXiv:1810.06784, and the random-parameter robots that it and Rakelly
    et al. 2019, arXiv:1903.08254, share.
"""

from functools import partial

from rlmaml_envs.bodies import load_model, planar_position, positions_and_velocities, uniform_state
from rlmaml_envs.changes import random_parameters
from rlmaml_envs.family import Bools
from rlmaml_envs.locomotion import Body, LocomotionFamily
from rlmaml_envs.observation_names import state_without
from rlmaml_envs.physics import Physics, Simulation
from rlmaml_envs.problems import at_speed, forwards, upright

JOINTS = ("thigh_joint", "leg_joint", "foot_joint", "thigh_left_joint", "leg_left_joint", "foot_left_joint")
GEOMS = (
    "floor",
    "torso_geom",
    "thigh_geom",
    "leg_geom",
    "foot_geom",
    "thigh_left_geom",
    "leg_left_geom",
    "foot_left_geom",
)
HEALTHY_HEIGHT = (0.8, 2.0)
"""Metres."""
HEALTHY_PITCH = 1.0
"""Radians to either side."""


def is_healthy(physics: Physics) -> Bools:
    """Whether the torso is up and upright."""
    height, pitch = physics.qpos[:, 1], physics.qpos[:, 2]
    low, high = HEALTHY_HEIGHT
    return (low < height) & (height < high) & (pitch > -HEALTHY_PITCH) & (pitch < HEALTHY_PITCH)


def body(substeps: int, model: str = "walker2d_v5.xml") -> Body:
    """The robot of one of Gymnasium's models with a number of physics steps per control step."""
    return Body(
        build=partial(load_model, model),
        simulation=Simulation(substeps),
        initial_state=partial(uniform_state, scale=0.005),
        observe=partial(positions_and_velocities, skipped=1, largest_velocity=10.0),
        observed=partial(state_without, 1),
        position=planar_position,
        gymnasium_id="Walker2d-v5",
        is_healthy=is_healthy,
    )


terms = partial(upright, 0.001)


VELOCITY = LocomotionFamily(
    "Walker2dVel",
    {
        "gymnasium": at_speed(body(4), terms(5.0), 3.0, 4.0),
        "rothfuss2019": at_speed(body(8), terms(15.0), 10.0, 12.0),
    },
)
changed = partial(random_parameters, num_bodies=7, joints=JOINTS, geoms=GEOMS)
PARAMETERS = LocomotionFamily(
    "Walker2dParams",
    {
        "rothfuss2019": changed(forwards(body(5), terms(1.0))),
        "rakelly2019": changed(forwards(body(5, "walker2d.xml"), terms(1.0))),
        "velocity": changed(VELOCITY.variants["gymnasium"]),
    },
)
