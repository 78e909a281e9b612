"""A small robot for tests of what its family hands in: a cart on a rail and one that follows."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
from gymnasium import spaces

from rlmaml_envs.bodies import planar_position, scalar_box
from rlmaml_envs.changes import scaled
from rlmaml_envs.locomotion import Body, LocomotionFamily, LocomotionVariant
from rlmaml_envs.physics import Physics, Simulation
from rlmaml_envs.problems import control

CARTS = """<mujoco><option timestep="0.01" gravity="0 0 0"/><worldbody><light pos="0 0 3"/>
<body name="front"><joint name="slide" type="slide" axis="1 0 0" damping="1"/><geom size=".1" mass="1"/></body>
<body name="back" pos="-1 0 0"><joint name="follow" type="slide" axis="1 0 0" damping="1"/><geom size=".1" mass="1"/></body>
</worldbody><actuator><motor name="pull" joint="slide" ctrlrange="-1 1"/><motor name="push" joint="follow" ctrlrange="-1 1"/>
</actuator></mujoco>"""  # noqa: E501


def start(model: mujoco.MjModel, generator: np.random.Generator) -> tuple[Any, Any]:
    return model.qpos0 + generator.uniform(-0.1, 0.1, model.nq), np.zeros(model.nv)


def put(physics: Physics, copy: int, positions: Mapping[int, float], velocities: Mapping[int, float] = {}) -> None:
    """Put one copy elsewhere: number of qpos or qvel -> its value."""
    qpos, qvel, act = (values[[copy]].copy() for values in (physics.qpos, physics.qvel, physics.act))
    for row, numbers in ((qpos, positions), (qvel, velocities)):
        row[0, list(numbers)] = list(numbers.values())
    physics.reset(np.array([copy]), qpos, qvel, act)


def body(xml: str = CARTS, **changed: Any) -> Body:
    return replace(
        Body(
            build=lambda: mujoco.MjModel.from_xml_string(xml),
            simulation=Simulation(substeps=5),
            initial_state=start,
            observe=lambda physics: np.hstack([physics.qpos, physics.qvel]),
            position=planar_position,
        ),
        **changed,
    )


def speed_error_cost(motion: Any, task: Any) -> Any:
    return -np.abs(motion.velocity[:, 0] - task["speed"])


def variant(robot: Body | None = None, **changed: Any) -> LocomotionVariant:
    return replace(
        LocomotionVariant(
            body=body() if robot is None else robot,
            task_parameters={"speed": scalar_box(0.1, 0.8), "load": spaces.Box(1.0, 2.0, (1,), np.float64)},
            task_units={"speed": "m/s", "load": ""},
            reward_terms={"speed_error_cost": speed_error_cost, "control_cost": control(0.01)},
            changes={"load": scaled("body_mass", "body", ["front"])},
        ),
        **changed,
    )


def family(robot: Body | None = None, **changed: Any) -> LocomotionFamily:
    return LocomotionFamily("Carts", {"mine": variant(robot, **changed)})


def paying(term: Callable[..., Any], name: str = "own_reward") -> LocomotionFamily:
    """The carts with one term more."""
    return family(reward_terms={"speed_error_cost": speed_error_cost, name: term})
