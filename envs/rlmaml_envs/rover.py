"""Rover: a small differential-drive mobile robot with eight range sensors. RoverGoal-v0.

Model: ``robots/rover.xml``, our own: a chassis of 0.3 m x 0.2 m on two driven wheels and a caster (2.5 kg), three
cylindrical obstacles of 0.15 m radius. Ten physics steps of 0.01 s per control step.

Observation (float64, 10)
    ======  ==========================================  =====  ====================
    0-7     range sensors, counter-clockwise from the   m      range_0 ... range_7
            front; 2 where nothing is nearer
    8-9     speeds of the wheels                        rad/s  left, right
    ======  ==========================================  =====  ====================
    The policy never sees where it is, the goal, or how worn its wheels are.

Observation of variant ``modalities`` (float64, 298: a ``Dict`` of three parts, flattened in this order)
    ==================  ===============================================  =====  ====================
    picture             the ground from above, 4 m x 4 m about the              obstacles and rover,
    (2, 12, 12)         start: how much of each cell is occupied, 0 to          then row (x) and
                        1, by obstacles and by the rover                        column (y)
    ranges (8)          as above                                         m      range_0 ... range_7
    wheels (2)          as above                                         rad/s  left, right
    ==================  ===============================================  =====  ====================
    The picture, of a camera above the ground, says where the rover is; of the goal nothing does. All numbers of the
    part that a task says is missing are 0.

Action (float32, 2; clipped to [-1, 1])
    Commanded speeds of the left and the right wheel, in units of 20 rad/s (1 m/s).

Initial state: at the origin, facing x with a heading + U[-0.1, 0.1] rad, at rest.
Terminated: never.

RoverGoal-v0: ``distance_cost`` = -|x - x_g| - |y - y_g|; ``nearness_cost`` = -(1 - r / 0.15) where the smallest range
    r is below 0.15 m; ``control_cost`` = -0.01 sum(a^2). Task, variant ``worn`` (default): ``distance``, ``direction``:
    the goal, uniform over a disc of 1.5 m, wide 2 m; ``obstacles`` (3 x 2, m): uniform over a ring from 0.5 to 1.5 m
    around the start; ``wear`` (2): share of its commanded speed that each wheel reaches, U[0.6, 1], wide [0.4, 1].
    Variant ``modalities``: also ``missing`` ~ U{0, 1, 2, 3}: which part of the observation is missing: none, the
    ranges, the speeds of the wheels, or the picture.

Horizon: 100 steps.

Version history
    v0: first version; ``modalities`` was added later.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from gymnasium import spaces

from rlmaml_envs.bodies import ground_position, load_model
from rlmaml_envs.changes import blanked, placed, scaled
from rlmaml_envs.family import Floats
from rlmaml_envs.locomotion import Body, LocomotionFamily, LocomotionVariant, Motion, RewardTerm, State
from rlmaml_envs.model_fields import indices
from rlmaml_envs.observation_names import Entry, joint_velocities
from rlmaml_envs.occupancy import occupancy
from rlmaml_envs.parts import flat, part_columns
from rlmaml_envs.physics import Physics, Simulation
from rlmaml_envs.problems import at_goal, control, sample_disc
from rlmaml_envs.robot_drawing import Marks, RobotCamera
from rlmaml_envs.simulator import mujoco
from rlmaml_envs.tasks import Task

MODEL = Path(__file__).parent / "robots" / "rover.xml"
OBSTACLES = ("obstacle_1", "obstacle_2", "obstacle_3")
WHEELS = ("left", "right")
FARTHEST_RANGE = 2.0
"""Metres."""
NEAR = 0.15
"""Metres."""
RING = (0.5, 1.5)
"""Distances of the obstacles from the start, metres."""
CELLS, SEEN_WIDTH = 12, 4.0
"""Of a picture: rows and columns, and metres from its one side to the other."""
RADII = {"obstacles": 0.15, "rover": 0.15}
"""Of what a picture shows, each in a channel of its own, metres; the rover is shown as a disc."""
LARGEST = float(np.finfo(np.float32).max)
PARTS = spaces.Dict(
    {
        "picture": spaces.Box(0.0, 1.0, (len(RADII), CELLS, CELLS), np.float64),
        "ranges": spaces.Box(0.0, FARTHEST_RANGE, (8,), np.float64),
        "wheels": spaces.Box(-LARGEST, LARGEST, (len(WHEELS),), np.float64),
    }
)
MISSING = ("ranges", "wheels", "picture")
"""What may be missing, as the task parameter counts it from 1."""


def start(model: mujoco.MjModel, generator: np.random.Generator) -> State:
    """At rest at the origin, facing x."""
    heading = generator.uniform(-0.1, 0.1)
    qpos = model.qpos0.copy()
    qpos[3:7] = (np.cos(heading / 2), 0.0, 0.0, np.sin(heading / 2))
    return qpos, np.zeros(model.nv)


def ranges(physics: Physics) -> Floats:
    """What the range sensors see, (copy, 8) m."""
    seen = physics.outputs["sensordata"]
    return np.asarray(np.where(seen < 0, FARTHEST_RANGE, seen))


def observe(physics: Physics) -> Floats:
    """Ranges and the speeds of the wheels, (copy, 10)."""
    return np.hstack([ranges(physics), physics.qvel[:, 6:]])


def picture(physics: Physics) -> Floats:
    """The ground from above, (copy, 2, 12, 12): how much of each cell obstacles and rover occupy."""
    places, model = physics.outputs["xpos"][..., :2], physics.model
    of_channel = {"obstacles": indices(model, "body", OBSTACLES), "rover": indices(model, "body", ["base"])}
    return np.stack(
        [occupancy(places[:, of_channel[name]], radius, CELLS, SEEN_WIDTH) for name, radius in RADII.items()], axis=1
    )


def observe_parts(physics: Physics) -> Floats:
    """Picture, ranges and the speeds of the wheels, flattened, (copy, 298)."""
    parts = {"picture": picture(physics), "ranges": ranges(physics), "wheels": physics.qvel[:, 6:]}
    return flat(PARTS, parts)


def names_of_parts(model: mujoco.MjModel) -> list[Entry]:
    """Names and units of these."""
    cells = [(f"picture {name} {row} {column}", "") for name in RADII for row, column in np.ndindex(CELLS, CELLS)]
    return [*cells, *names(model)]


def names(model: mujoco.MjModel) -> list[Entry]:
    """Names and units of ranges and speeds."""
    return [*((f"range_{number}", "m") for number in range(8)), *joint_velocities(model)[6:]]


def nearness_cost(motion: Motion, task: Task) -> Floats:
    """``-(1 - r / 0.15)`` where the smallest range r is below 0.15 m, else 0."""
    return np.asarray(np.minimum(ranges(motion.physics).min(axis=1) / NEAR - 1.0, 0.0))


def sample_task(space: spaces.Dict, generator: np.random.Generator) -> Task:
    """A goal uniform over the disc, obstacles uniform over the ring, wear uniform."""
    task = sample_disc(space, generator)
    nearest, farthest = RING
    distances = np.sqrt(generator.uniform(nearest**2, farthest**2, 3))
    angles = generator.uniform(-np.pi, np.pi, 3)
    return task | {"obstacles": distances[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)}


BODY = Body(
    build=partial(load_model, MODEL),
    simulation=Simulation(substeps=10, outputs=("sensordata",), fresh="velocities"),
    initial_state=start,
    observe=observe,
    observed=names,
    position=ground_position,
    control_range=20.0,
    camera=RobotCamera(distance=3.5, elevation=-20.0),
)


def with_worn_wheels(base: LocomotionVariant) -> LocomotionVariant:
    """The goal problem among obstacles, with wheels that are not what they were."""

    def marks(task: Task) -> Marks:
        places = [(float(x), float(y), RADII["obstacles"]) for x, y in task["obstacles"]]
        return replace(base.marks(task), obstacles=tuple(places))

    return LocomotionVariant(
        body=base.body,
        task_parameters={
            **base.task_parameters,
            "obstacles": spaces.Box(-RING[1], RING[1], (3, 2), np.float64),
            "wear": spaces.Box(0.6, 1.0, (2,), np.float64),
        },
        wide_task_parameters={**base.wide_task_parameters, "wear": spaces.Box(0.4, 1.0, (2,), np.float64)},
        task_units={**base.task_units, "obstacles": "m", "wear": ""},
        task_elements={"obstacles": (OBSTACLES, ("x", "y")), "wear": (WHEELS,)},
        reward_terms=base.reward_terms,
        horizon=100,
        sample_task=sample_task,
        changes={
            "obstacles": placed("body_pos", "body", OBSTACLES, slice(0, 2)),
            "wear": scaled("actuator_gainprm", "actuator", WHEELS, slice(0, 1)),
        },
        marks=marks,
    )


def with_parts(base: LocomotionVariant) -> LocomotionVariant:
    """The problem for a rover that also sees a picture, and for which one part of its observations may be missing."""
    kinds = spaces.Discrete(len(MISSING) + 1)

    def marks(task: Task) -> Marks:
        asked = base.marks(task)
        missing = f", without {MISSING[int(task['missing']) - 1]}" if task["missing"] else ""
        return replace(asked, text=asked.text + missing)

    def sample(space: spaces.Dict, generator: np.random.Generator) -> Task:
        rest = {name: parameter for name, parameter in space.items() if name != "missing"}
        drawn = base.sample_task(spaces.Dict(rest), generator)
        return drawn | {"missing": np.asarray(generator.integers(kinds.n))}

    columns = part_columns(PARTS)
    return replace(
        base,
        body=replace(
            base.body,
            simulation=replace(base.body.simulation, outputs=("sensordata", "xpos")),
            observe=observe_parts,
            observed=names_of_parts,
            dict_space=PARTS,
        ),
        task_parameters={**base.task_parameters, "missing": kinds},
        task_units={**base.task_units, "missing": ""},
        task_labels={"missing": ("none", *MISSING)},
        sample_task=sample,
        readings={"missing": blanked([columns[name] for name in MISSING])},
        marks=marks,
    )


TERMS: dict[str, RewardTerm] = {"nearness_cost": nearness_cost, "control_cost": control(0.01)}

WORN = with_worn_wheels(at_goal(BODY, TERMS, 1.5, 2.0))

GOAL = LocomotionFamily("RoverGoal", {"worn": WORN, "modalities": with_parts(WORN)})
