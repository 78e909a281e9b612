"""How fast physics can be stepped: MuJoCo's batch with nothing around it, and EnvPool where it is installed."""

import time
from typing import Any

import numpy as np

from envs.family import select_variant
from envs.locomotion import LocomotionFamily
from envs.physics import Physics
from envs.registry import find_entry, load_family

ENVPOOL_BODIES = {
    "half_cheetah": ("HalfCheetah-v5", 0.05),
    "ant": ("Ant-v5", 0.05),
    "walker2d": ("Walker2d-v5", 0.008),
    "hopper": ("Hopper-v5", 0.008),
    "humanoid": ("Humanoid-v5", 0.015),
    "swimmer": ("Swimmer-v5", 0.04),
}
"""Module of a data sheet -> EnvPool's environment with the same body, and the seconds of its control step."""


def raw_physics_rate(env_id: str, variant: str, num_copies: int, steps: int, threads: int) -> float:
    """Control steps per second of ``Batch.step`` alone: all copies, ``steps`` times, under Gaussian actions.

    The model, the number of physics steps and what is computed after them are those of the variant. Writing the
    controls is part of it; observations, rewards and resets are not.

    Raises:
        ValueError: the family has no physics.
    """
    family = load_family(env_id)
    if not isinstance(family, LocomotionFamily):
        raise ValueError(f"{env_id} is not simulated by MuJoCo.")
    body = family.variants[variant].body
    physics = Physics(body.build(), num_copies, body.simulation, threads)
    generator = np.random.default_rng(0)
    states = [body.initial_state(physics.model, generator) for _ in range(num_copies)]
    qpos, qvel = (np.stack(rows) for rows in zip(*states, strict=True))
    physics.reset(np.arange(num_copies), qpos, qvel)
    everybody = np.ones(num_copies, np.bool_)
    controls = body.control_range * generator.standard_normal((steps, num_copies, physics.model.nu)).clip(-1.0, 1.0)
    start = time.perf_counter()
    for control in controls:
        physics.advance(control, everybody)
    return num_copies * steps / (time.perf_counter() - start)


def envpool_name(env_id: str, variant: str) -> str:
    """EnvPool's environment with the same body and the same control step.

    Raises:
        ValueError: EnvPool has no such body, or its control step is of another length, so that rates do not compare.
    """
    entry = find_entry(env_id).family
    module = entry.split(":")[0].removeprefix("envs.") if isinstance(entry, str) else ""
    family = load_family(env_id)
    if module not in ENVPOOL_BODIES or not isinstance(family, LocomotionFamily):
        raise ValueError(f"EnvPool has no body like that of {env_id}. It has: {', '.join(ENVPOOL_BODIES)}.")
    name, duration = ENVPOOL_BODIES[module]
    body = select_variant(env_id, family.variants, variant).body
    own = body.simulation.substeps * body.build().opt.timestep
    if not np.isclose(own, duration):
        raise ValueError(
            f"A control step of {env_id}, {variant}, is {own:.3g} s, and one of EnvPool's {name} {duration:.3g} s: "
            "their rates do not compare. Choose a --variant with Gymnasium's control step."
        )
    return name


def envpool_rate(name: str, num_copies: int, steps: int, threads: int) -> float:
    """Control steps per second of one of EnvPool's environments, restarts of finished episodes included.

    Raises:
        ImportError: EnvPool is not installed.
    """
    import envpool

    pool: Any = envpool.make_gymnasium(name, num_envs=num_copies, num_threads=threads)
    pool.reset()
    low, high = pool.action_space.low, pool.action_space.high
    generator = np.random.default_rng(0)
    actions = generator.standard_normal((steps, num_copies, *low.shape)).clip(low, high).astype(low.dtype)
    start = time.perf_counter()
    for action in actions:
        pool.step(action)
    rate = num_copies * steps / (time.perf_counter() - start)
    pool.close()
    return rate
