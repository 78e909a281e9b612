"""Swimmer: three links in a viscous fluid. SwimmerVel-v0.

Model: Gymnasium's ``swimmer.xml`` (two hinges; RK4, four physics steps of 0.01 s per control step).

Observation (float64, 8)
    ======  ==========================================  =====  ====================
    0       angle of the first link                     rad    free_body_rot
    1-2     hinge angles                                rad    motor1_rot motor2_rot
    3-4     speed of the tip in x and y                 m/s    slider1 slider2
    5-7     rates of the angles                         rad/s  free_body_rot motor1_rot motor2_rot
    ======  ==========================================  =====  ====================
    The policy never sees the target speed.

Action (float32, 2; clipped to [-1, 1])
    Torques of motor1_rot motor2_rot, in units of 150 N m.

Initial state: positions and velocities + U[-0.1, 0.1]. Never terminated, but for a simulation that goes unstable.

SwimmerVel-v0: swim at a speed along x; variant ``gymnasium`` (default), the constants of Swimmer-v5.
    ``velocity_error_cost`` = -|v - velocity|, v the change of the tip's x in a control step;
    ``control_cost`` = -0.0001 sum(a^2).
    Task ``velocity`` ~ U[0, 0.2] m/s, wide [0, 0.3]; our own range.
    One published version rewards +|v - velocity|, a sign error that is not copied.

Horizon: 200 steps.

Version history
    v0: first version.

Sources
    Gymnasium's Swimmer-v5.
"""

from functools import partial

from rlmaml_envs.bodies import ground_position, load_model, positions_and_velocities, uniform_state
from rlmaml_envs.locomotion import Body, LocomotionFamily, RewardTerm
from rlmaml_envs.observation_names import state_without
from rlmaml_envs.physics import Simulation
from rlmaml_envs.problems import at_speed, control
from rlmaml_envs.robot_drawing import RobotCamera

BODY = Body(
    build=partial(load_model, "swimmer.xml"),
    simulation=Simulation(substeps=4),
    initial_state=partial(uniform_state, scale=0.1),
    observe=partial(positions_and_velocities, skipped=2),
    observed=partial(state_without, 2),
    position=ground_position,
    gymnasium_id="Swimmer-v5",
    camera=RobotCamera(distance=5.0, elevation=-14.0),
)

TERMS: dict[str, RewardTerm] = {"control_cost": control(1e-4)}

VELOCITY = LocomotionFamily("SwimmerVel", {"gymnasium": at_speed(BODY, TERMS, 0.2, 0.3)})
