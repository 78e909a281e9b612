"""How fast physics can be stepped: MuJoCo's batch with nothing around it, and EnvPool where it is installed."""

import time
from typing import Any

import numpy as np

from rlmaml_envs.family import Bools, Floats, select_variant
from rlmaml_envs.locomotion import Body, LocomotionVariant
from rlmaml_envs.registry import load_family
from rlmaml_envs.vector import TaskVectorEnv

ENVPOOL_STEPS = {
    "HalfCheetah-v5": 0.05,
    "Ant-v5": 0.05,
    "Walker2d-v5": 0.008,
    "Hopper-v5": 0.008,
    "Humanoid-v5": 0.015,
    "Swimmer-v5": 0.04,
}
"""EnvPool's environments, which are named as Gymnasium's, and the seconds of their control steps."""


def replay_seconds(env: TaskVectorEnv, actions: Floats, running: Bools) -> float:
    """Seconds that ``Batch.step`` alone takes for steps that the environment has taken before.

    The copies go through the same states, under the same controls and with the same ones at rest, so that the two
    times compare. Writing the controls is part of it; observations, rewards, checks and resets are not.

    Args:
        env: the environment, reset to the states in which the episodes began.
        actions: (copy, time, action), as they were given to ``env.step``.
        running: (copy, time), whether the copy's episode went on.

    Raises:
        ValueError: the family has no physics.
    """
    worlds = env.worlds
    if worlds.physics is None:
        raise ValueError(
            "This environment is not simulated by MuJoCo; there are no steps of its physics to time. "
            "Ask has_physics of the environment first."
        )
    clipped = np.clip(np.asarray(actions, np.float64), -1.0, 1.0).swapaxes(0, 1)
    controls, moving = [worlds.controls(action) for action in clipped], np.ascontiguousarray(running.swapaxes(0, 1))
    start = time.perf_counter()
    for control, copies in zip(controls, moving, strict=True):
        worlds.physics.advance(control, copies)
    return time.perf_counter() - start


def envpool_name(env_id: str, variant: str) -> str:
    """EnvPool's environment with the same body and the same control step.

    Raises:
        ValueError: EnvPool has no such body, or its control step is of another length, so that rates do not compare.
    """
    variants = load_family(env_id).variants
    body = _body(select_variant(env_id, variants, variant))
    name = None if body is None else body.gymnasium_id
    if body is None or name not in ENVPOOL_STEPS:
        raise ValueError(f"EnvPool has no body like that of {env_id}. It has: {', '.join(ENVPOOL_STEPS)}.")
    if not _keeps_step(body, name):
        alike = [other for other, made in variants.items() if _keeps_step(_body(made), name)]
        raise ValueError(
            f"A control step of {env_id}, {variant}, is {control_step(body):.3g} s, and one of EnvPool's {name} "
            f"{ENVPOOL_STEPS[name]:.3g} s: their rates do not compare. "
            f"Those of these variants do: {', '.join(alike) or 'none'}."
        )
    return name


def _body(variant: Any) -> Body | None:
    """The robot of a variant, where it has one."""
    return variant.body if isinstance(variant, LocomotionVariant) else None


def _keeps_step(body: Body | None, name: str) -> bool:
    """Whether a robot is that of EnvPool's environment ``name``, with a control step of the same length."""
    return body is not None and body.gymnasium_id == name and bool(np.isclose(control_step(body), ENVPOOL_STEPS[name]))


def control_step(body: Body) -> float:
    """Seconds of a body's control step."""
    return body.simulation.duration(body.build())


def envpool_rate(name: str, num_copies: int, steps: int, threads: int, std: float) -> float:
    """Control steps per second of one of EnvPool's environments, restarts of finished episodes included.

    Args:
        name: EnvPool's environment.
        num_copies: how many copies.
        steps: control steps of each.
        threads: EnvPool's threads.
        std: standard deviation of the Gaussian actions, 1 being a full action: small ones leave more contacts to
            be solved, which takes longer.

    Raises:
        ImportError: EnvPool is not installed.
    """
    import envpool

    pool: Any = envpool.make_gymnasium(name, num_envs=num_copies, num_threads=threads)
    pool.reset()
    low, high = pool.action_space.low, pool.action_space.high
    generator = np.random.default_rng(0)
    noise = std * generator.standard_normal((steps, num_copies, *low.shape))
    actions = (high * noise).clip(low, high).astype(low.dtype)
    start = time.perf_counter()
    for action in actions:
        pool.step(action)
    rate = num_copies * steps / (time.perf_counter() - start)
    pool.close()
    return rate
