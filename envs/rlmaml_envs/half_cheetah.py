"""Half-cheetah: a planar two-legged runner. HalfCheetahVel-v0, HalfCheetahDir-v0, HalfCheetahChanged-v0.

Model: Gymnasium's ``half_cheetah.xml`` (14 kg, hinges back and front: thigh, shin, foot).

Observation (float64)
    ========  =====================================  =============  ====================
    17 or 20  what                                   unit           MJCF names
    ========  =====================================  =============  ====================
    0         height of the torso                    m              rootz
    1         pitch of the torso                     rad            rooty
    2-7       hinge angles                           rad            bthigh bshin bfoot fthigh fshin ffoot
    8-9       speed of the torso in x and z          m/s            rootx rootz
    10        pitch rate of the torso                rad/s          rooty
    11-16     hinge rates                            rad/s          bthigh bshin bfoot fthigh fshin ffoot
    17-19     centre of mass of the whole robot      m              (``finn2017`` only)
    ========  =====================================  =============  ====================
    The policy never sees the target, the direction, the change, the payload or the friction.

Action (float32, 6; clipped to [-1, 1])
    Torque of bthigh bshin bfoot fthigh fshin ffoot, in units of 120, 90, 60, 120, 60, 30 N m.

Bodies
    ``finn2017``: one physics step of 0.01 s per control step. Speed: that of the centre of mass, after the step.
        Initial state: the model's, positions + 0.01 N(0, 1), velocities + 0.1 N(0, 1).
    ``rothfuss2019``, ``raghu2020`` and every variant of HalfCheetahChanged: five physics steps of 0.01 s. Speed: the
        change of the torso's x in a control step. Initial state: Gymnasium's, positions + U[-0.1, 0.1], velocities
        + 0.1 N(0, 1).
    Never terminated, but for a simulation that goes unstable.

HalfCheetahVel-v0: run at a speed
    ``velocity_error_cost`` = -|v - velocity|, ``control_cost`` = -0.05 sum(a^2).
    Task ``velocity``, m/s: ``finn2017`` (default) ~ U[0, 2], wide [0, 3]; ``rothfuss2019`` ~ U[0, 3], wide [0, 4];
    ``raghu2020`` ~ U[0, 2], wide [0, 3].

HalfCheetahDir-v0: run forwards or backwards
    ``forward_reward`` = d v with d = 1 or -1, ``control_cost`` as above.
    Task ``backward`` ~ U{0, 1}, the same in both variants. All tasks are seen in training: nothing is beyond.

HalfCheetahChanged-v0: run forwards with a robot that is not what it was
    ``forward_reward`` = v, ``control_cost`` as above. Tasks, by variant:
    ``damaged`` (default): ``dead_joint`` ~ U{1, ..., 5}: the first, ..., fifth joint in the order above has a dead
        motor; wide: also 6, the front foot, and 0, the intact robot, which training never sees.
    ``intact``: ``dead_joint`` = 0 in training; wide: as above. For policies that know no damage.
    ``payload``: ``payload`` ~ U[0, 6] kg at the torso's centre of mass; wide [0, 9].
    ``friction``: ``friction`` ~ U[0.4, 1.6] times all sliding friction; wide [0.2, 2].
    ``combined``: damage, payload and friction.
    Each of these with ``_velocity`` after its name: the same with
        HalfCheetahVel's reward and ``velocity`` ~ U[0, 3] m/s, wide [0, 4].
    ``any``: one change of one of four kinds, each as likely. A task has the parameter of every kind; the others are
        as in the intact robot: 0, 1, the identity, 0.
        ``dead``: ``dead_joint`` ~ U{1, ..., 6}, as above. ``inverted``: ``motor_gain`` (6, in the order of the
        action) is -1 for one or two motors, and 1 for the others; legal in [-1, 1]. ``swapped``:
        ``motor_permutation`` (6 x 6, in that order) swaps two motors; any other permutation is legal. ``offset``:
        ``encoder_offset`` (6, in the order of the hinges) ~ U[-0.3, 0.3] rad, added to the observed angles alone.
    ``dead``, ``inverted``, ``swapped``, ``offset``: that kind alone; ``unchanged``: the intact robot.
    ``any_but_dead``, ``any_but_inverted``, ``any_but_swapped``, ``any_but_offset``: any kind but one. For these and the
        five before, wide: all tasks of ``any``, so that beyond the training range of ``any_but_dead`` motors are dead.
    The actuators get the actions permuted, then times the gains; ``control_cost`` is of the actions as commanded.
    What a change costs is a policy's return in ``intact`` (one that is told the task: in ``unchanged``) less its return
        under the change before it adapts: column 0 of ``evaluate.py RUN_DIR --variant NAME`` for each of the two.

Horizon: 200 steps of 0.01 s for ``finn2017``, of 0.05 s for ``raghu2020``; 100 of 0.05 s for ``rothfuss2019`` and
HalfCheetahChanged.

Version history
    v0: first version.

Sources
    Finn, Abbeel, Levine 2017, arXiv:1703.03400; Rothfuss et al. 2019, arXiv:1810.06784 (it divides the policy's output
    by 10, for which ``--initial-std`` is the setting here); Raghu et al. 2020, arXiv:1909.09157, which states
    neither control step nor horizon: Gymnasium's and the one of ``finn2017`` are our reading. HalfCheetahChanged is our
    own; dead motors: Nagabandi et al. 2019, arXiv:1803.11347.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from rlmaml_envs.bodies import (
    TORSO,
    add_sensor,
    centre_of_mass_velocity,
    gaussian_state,
    gymnasium_state,
    load_model,
    planar_position,
    positions_and_velocities,
)
from rlmaml_envs.changes import changed_variants
from rlmaml_envs.family import Floats
from rlmaml_envs.kinds import one_change_variants
from rlmaml_envs.locomotion import Body, LocomotionFamily, RewardTerm
from rlmaml_envs.observation_names import CENTRE_OF_MASS, state_without
from rlmaml_envs.physics import Physics, Simulation
from rlmaml_envs.problems import at_speed, control, forwards, forwards_or_backwards
from rlmaml_envs.published import Published
from rlmaml_envs.simulator import mujoco

JOINTS = MOTORS = ("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot")
"""The hinges, and the one that each action drives."""
TOTAL_MASS = 14.0
"""kg."""


def build(*, with_centre_of_mass_velocity: bool = False) -> mujoco.MjModel:
    """Gymnasium's model, with its deprecated way to set the total mass replaced by MuJoCo's function."""

    def edit(spec: mujoco.MjSpec) -> None:
        spec.compiler.settotalmass = -1
        if with_centre_of_mass_velocity:
            add_sensor(spec, mujoco.mjtSensor.mjSENS_SUBTREELINVEL, "torso")

    model = load_model("half_cheetah.xml", edit)
    mujoco.mj_setTotalmass(model, TOTAL_MASS)
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def observe_with_centre_of_mass(physics: Physics) -> Floats:
    """Positions without x, velocities, and the centre of mass, (copy, 20)."""
    return np.hstack([physics.qpos[:, 1:], physics.qvel, physics.outputs["subtree_com"][:, TORSO]])


FINN2017 = Body(
    build=partial(build, with_centre_of_mass_velocity=True),
    simulation=Simulation(substeps=1, outputs=("subtree_com", "subtree_linvel"), fresh="velocities", persistent=True),
    initial_state=partial(gaussian_state, position_scale=0.01, velocity_scale=0.1),
    observe=observe_with_centre_of_mass,
    observed=lambda model: [*state_without(1, model), *CENTRE_OF_MASS],
    position=planar_position,
    gymnasium_id="HalfCheetah-v5",
    velocity=centre_of_mass_velocity,
)

GYMNASIUM = Body(
    build=build,
    simulation=Simulation(substeps=5),
    initial_state=partial(gymnasium_state, scale=0.1),
    observe=partial(positions_and_velocities, skipped=1),
    observed=partial(state_without, 1),
    position=planar_position,
    gymnasium_id="HalfCheetah-v5",
)

TERMS: dict[str, RewardTerm] = {"control_cost": control(0.05)}

VELOCITY_RETURNS: dict[str, Published] = {
    "MAML, published": Published((-129.53, -78.57, -66.62, -60.78), episodes=20),
    "pretrained, published": Published((-158.00, -135.39, -128.47, -133.61), episodes=20),
    "random initialisation, published": Published((-254.83, -254.33, -246.79, -230.83), episodes=20),
    "oracle, published": Published((-54.47,), episodes=20),
}
"""Of arXiv 1703.03400, with its published result files."""

DIRECTION_RETURNS: dict[str, Published] = {
    "MAML, published": Published((-50.69, 293.19, 313.48, 315.65), episodes=20),
    "pretrained, published": Published((-43.03, -24.75, -12.85, 19.57), episodes=20),
    "random initialisation, published": Published((-35.73, 21.83, 62.32, 86.18), episodes=20),
    "oracle, published": Published((442.69,), episodes=20),
}
"""Of arXiv 1703.03400, with its published result files."""

VELOCITY = LocomotionFamily(
    "HalfCheetahVel",
    {
        "finn2017": replace(at_speed(FINN2017, TERMS, 2.0, 3.0), published=VELOCITY_RETURNS),
        "rothfuss2019": replace(at_speed(GYMNASIUM, TERMS, 3.0, 4.0), horizon=100),
        "raghu2020": at_speed(GYMNASIUM, TERMS, 2.0, 3.0),
    },
)
DIRECTION = LocomotionFamily(
    "HalfCheetahDir",
    {
        "finn2017": replace(forwards_or_backwards(FINN2017, TERMS), published=DIRECTION_RETURNS),
        "rothfuss2019": replace(forwards_or_backwards(GYMNASIUM, TERMS), horizon=100),
    },
)

FORWARDS = replace(forwards(GYMNASIUM, TERMS), horizon=100)

CHANGED = LocomotionFamily(
    "HalfCheetahChanged",
    {
        **changed_variants(FORWARDS, VELOCITY.variants["rothfuss2019"], joints=JOINTS, heaviest=6.0),
        **one_change_variants(FORWARDS, joints=JOINTS, motors=MOTORS, angles=slice(2, 8)),
    },
)
