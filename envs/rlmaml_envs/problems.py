"""Problems that several robots are given: a task distribution and the reward terms that speak of it.

Each function takes a body and the terms that do not depend on the task, and returns a variant.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from gymnasium import spaces

from rlmaml_envs.bodies import scalar_box
from rlmaml_envs.family import Floats
from rlmaml_envs.locomotion import Body, LocomotionVariant, Motion, RewardTerm
from rlmaml_envs.rewards import (
    control_cost,
    distance_cost,
    forward_reward,
    heading,
    survive_reward,
    velocity_error_cost,
)
from rlmaml_envs.robot_drawing import Marks
from rlmaml_envs.tasks import Task, sample_uniform_task


def control(weight: float) -> RewardTerm:
    """The term ``control_cost`` of the normalised actions."""
    return lambda motion, task: control_cost(motion.actions, weight)


def survive(bonus: float) -> RewardTerm:
    """The term ``survive_reward``."""
    return lambda motion, task: survive_reward(motion.healthy, bonus)


def upright(weight: float, bonus: float) -> dict[str, RewardTerm]:
    """The terms of a robot that may fall and that do not depend on the task: effort, and a reward for standing."""
    return {"control_cost": control(weight), "survive_reward": survive(bonus)}


def at_speed(body: Body, terms: Mapping[str, RewardTerm], fastest: float, fastest_wide: float) -> LocomotionVariant:
    """Run at the speed ``velocity`` ~ U[0, fastest] m/s along x; in tests, up to ``fastest_wide``."""

    def velocity_error(motion: Motion, task: Task) -> Floats:
        return velocity_error_cost(motion.velocity[:, 0], task["velocity"])

    return LocomotionVariant(
        body=body,
        task_parameters={"velocity": scalar_box(0.0, fastest)},
        wide_task_parameters={"velocity": scalar_box(0.0, fastest_wide)},
        task_units={"velocity": "m/s"},
        reward_terms={"velocity_error_cost": velocity_error, **terms},
        marks=lambda task: Marks(f"target {task['velocity']:.2f} m/s", heading=0.0, speed=float(task["velocity"])),
    )


def forwards(body: Body, terms: Mapping[str, RewardTerm], weight: float = 1.0) -> LocomotionVariant:
    """Run along x as fast as possible; there is nothing in the task."""

    def forward(motion: Motion, task: Task) -> Floats:
        return forward_reward(motion.velocity[:, 0], weight)

    return LocomotionVariant(
        body=body, task_parameters={}, task_units={}, reward_terms={"forward_reward": forward, **terms}
    )


def forwards_or_backwards(body: Body, terms: Mapping[str, RewardTerm]) -> LocomotionVariant:
    """Run along x, or against it where ``backward`` ~ U{0, 1} is 1."""

    def directed(motion: Motion, task: Task) -> Floats:
        return forward_reward(np.where(task["backward"] == 1, -1.0, 1.0) * motion.velocity[:, 0])

    def marks(task: Task) -> Marks:
        return Marks("backward", heading=np.pi) if task["backward"] else Marks("forward", heading=0.0)

    return replace(
        forwards(body, terms),
        task_parameters={"backward": spaces.Discrete(2)},
        task_units={"backward": ""},
        reward_terms={"forward_reward": directed, **terms},
        marks=marks,
    )


def along_direction(
    body: Body, terms: Mapping[str, RewardTerm], weight: float = 1.0, widest: float = np.pi
) -> LocomotionVariant:
    """Run along ``direction`` ~ U[-widest, widest] rad in the plane; in tests, along any."""

    def along(motion: Motion, task: Task) -> Floats:
        return forward_reward((motion.velocity * heading(task["direction"])).sum(axis=1), weight)

    return LocomotionVariant(
        body=body,
        task_parameters={"direction": scalar_box(-widest, widest)},
        wide_task_parameters={"direction": scalar_box(-np.pi, np.pi)},
        task_units={"direction": "rad"},
        reward_terms={"forward_reward": along, **terms},
        marks=lambda task: Marks(
            f"direction {np.degrees(task['direction']):.0f} deg", heading=float(task["direction"])
        ),
    )


def at_goal(body: Body, terms: Mapping[str, RewardTerm], radius: float, radius_wide: float) -> LocomotionVariant:
    """Be at a goal, uniform over a disc of ``radius`` m: ``distance`` and ``direction`` from the origin."""

    def distance(motion: Motion, task: Task) -> Floats:
        return distance_cost(motion.position, goal_position(task["distance"], task["direction"]))

    def marks(task: Task) -> Marks:
        goal = goal_position(task["distance"][None], task["direction"][None])[0]
        return Marks(f"goal ({goal[0]:.1f}, {goal[1]:.1f}) m", goal=goal)

    return LocomotionVariant(
        body=body,
        task_parameters={"distance": scalar_box(0.0, radius), "direction": scalar_box(-np.pi, np.pi)},
        wide_task_parameters={"distance": scalar_box(0.0, radius_wide)},
        task_units={"distance": "m", "direction": "rad"},
        reward_terms={"distance_cost": distance, **terms},
        sample_task=sample_disc,
        marks=marks,
    )


def goal_position(distance: Floats, direction: Floats) -> Floats:
    """Polar coordinates (copy,) m and rad to positions (copy, 2) m."""
    return distance[:, None] * heading(direction)


def sample_disc(space: spaces.Dict, generator: np.random.Generator) -> Task:
    """A goal uniform over the disc: the squared distance is uniform."""
    task = sample_uniform_task(space, generator)
    radius = float(space["distance"].high)  # type: ignore[attr-defined]
    return task | {"distance": np.asarray(np.sqrt(task["distance"] * radius))}
