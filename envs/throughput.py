"""How fast physics can be stepped: MuJoCo's batch with nothing around it, and EnvPool where it is installed."""

import time
from typing import Any

import numpy as np

from envs.locomotion import LocomotionFamily
from envs.physics import Physics
from envs.registry import find_entry, load_family

ENVPOOL_NAMES = {"half_cheetah": "HalfCheetah-v5", "ant": "Ant-v5", "walker2d": "Walker2d-v5", "hopper": "Hopper-v5"}
ENVPOOL_NAMES |= {"humanoid": "Humanoid-v5", "swimmer": "Swimmer-v5"}
"""Module of a data sheet -> EnvPool's environment with the same body."""


def raw_physics_rate(env_id: str, variant: str, num_copies: int, steps: int, threads: int) -> float | None:
    """Control steps per second of ``Batch.step`` alone: all copies, ``steps`` times, under Gaussian actions.

    The model, the number of physics steps and what is computed after them are those of the variant. Writing the
    controls is part of it; observations, rewards and resets are not. None for a family without physics.
    """
    family = load_family(env_id)
    if not isinstance(family, LocomotionFamily):
        return None
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


def envpool_rate(env_id: str, num_copies: int, steps: int, threads: int) -> tuple[str, float]:
    """The name and the control steps per second of EnvPool's environment with the same body.

    Raises:
        ImportError: EnvPool is not installed.
        ValueError: EnvPool has no such body.
    """
    module = find_entry(env_id).family.split(":")[0].removeprefix("envs.")
    if module not in ENVPOOL_NAMES:
        raise ValueError(f"EnvPool has no body like that of {env_id}. It has: {', '.join(ENVPOOL_NAMES)}.")
    import envpool

    name = ENVPOOL_NAMES[module]
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
    return name, rate
