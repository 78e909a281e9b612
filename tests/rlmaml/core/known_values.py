"""Processes whose values are known exactly, and the 200 of them on which the bootstrapped baseline is measured."""

from collections.abc import Sequence
from math import erf
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rlmaml.core.types import Rollout
from tests.rlmaml.makers import where_valid

Array = npt.NDArray[Any]

DISTRACTORS = ("noise", "drifting", "per episode", "clock", "walk")
SIZES = ((20, 100, 0.99), (10, 200, 0.99), (20, 50, 0.995), (20, 100, 0.9))
"""Episodes, horizon and discount."""
TILTING_TASKS = 8


class Known(NamedTuple):
    """Episodes, the exact value of the process at each of their steps, and the discount."""

    rollout: Rollout
    values: Tensor
    discount: float


def two_hundred_problems() -> list[Known]:
    """Per kind of distractor: 8 linear processes of each of 4 sizes, and 8 that tilt until they fall.

    Of 8 linear processes 4 never terminate; 4 earn the same in every step, 4 what their observations say.
    """
    problems = []
    for seed, kind in enumerate(DISTRACTORS):
        for size, (episodes, horizon, discount) in enumerate(SIZES):
            problems.append(
                linear_process(
                    seed=10 * seed + size,
                    episodes=episodes,
                    horizon=horizon,
                    discount=discount,
                    fall_rates=(0.0, 0.002, 0.005, 0.02) * 2 if size % 2 else (0.0, 0.0, 0.003, 0.01) * 2,
                    slopes=(0.0,) * 4 + (0.15,) * 4,
                    distractors=6,
                    kind=kind,
                )
            )
        problems.append(tilting_process(seed=10 * seed + 9, kind=kind))
    return problems


def linear_process(
    *,
    seed: int,
    episodes: int,
    horizon: int,
    discount: float,
    fall_rates: Sequence[float],
    slopes: Sequence[float],
    levels: Sequence[float] | float | None = None,
    distractors: int = 6,
    kind: str = "noise",
) -> Known:
    """``x' = ρx + √(1 − ρ²) ε`` in two dimensions; a step earns ``l + b·x + q·x²`` and terminates with a fixed chance.

    With ``g = discount · (1 − chance)`` the value is ``a·x + e·x² + d`` where, entry by entry, ``a = b/(1 − gρ)``,
    ``e = q/(1 − gρ²)`` and ``d = (l + g Σ e (1 − ρ²))/(1 − g)``. Each task has its own ρ, l, b and q; what a slope
    multiplies has deviation of about 1. The observation is x and ``distractors`` numbers that say nothing.
    """
    generator = np.random.default_rng(seed)
    tasks = len(fall_rates)
    rho = generator.uniform(0.5, 0.98, (tasks, 1, 2))
    x = np.empty((tasks, episodes, horizon + 1, 2))
    x[:, :, 0] = generator.standard_normal((tasks, 1, 2)) + 0.3 * generator.standard_normal((tasks, episodes, 2))
    for t in range(horizon):
        x[:, :, t + 1] = rho * x[:, :, t] + np.sqrt(1 - rho**2) * generator.standard_normal((tasks, episodes, 2))

    chance, slope = np.array(fall_rates)[:, None, None], np.array(slopes)[:, None, None]
    b, q = slope * generator.standard_normal((tasks, 1, 2)) / 2, slope * generator.standard_normal((tasks, 1, 2)) / 4
    drawn = generator.uniform(0.2, 0.6, tasks)
    level = (drawn if levels is None else np.broadcast_to(levels, tasks))[:, None, None]
    g = discount * (1 - chance)
    a, e = b / (1 - g * rho), q / (1 - g * rho**2)
    d = (level + g * (e * (1 - rho**2)).sum(-1, keepdims=True)) / (1 - g)

    def polynomial(constant: Array, linear: Array, quadratic: Array) -> Array:
        shaped = (x * linear[:, :, None] + x**2 * quadratic[:, :, None]).sum(-1)
        return np.asarray(constant + shaped)[:, :, :-1]

    ends = np.ceil(np.log(generator.random((tasks, episodes))) / np.log1p(-np.maximum(chance[..., 0], 1e-300)))
    ends = np.where(chance[..., 0] > 0, ends, np.inf)
    observations = np.concatenate([x, distracting(generator, (tasks, episodes, horizon), distractors, kind)], -1)
    return known(observations, polynomial(level, b, q), ends, polynomial(d, a, e), discount)


def tilting_process(*, seed: int, kind: str = "noise", discount: float = 0.99, distractors: int = 6) -> Known:
    """A tilt between −1 and 1 that wanders and falls beyond; 1 per step. Values solve ``V = 1 + discount · P V``."""
    generator = np.random.default_rng(seed)
    tasks, episodes, horizon, size = TILTING_TASKS, 20, 100, 41
    tilts = np.linspace(-1, 1, size)
    width = tilts[1] - tilts[0]
    edges = np.linspace(-1 - width / 2, 1 + width / 2, size + 1)
    normal = np.vectorize(lambda z: 0.5 * (1 + erf(z / 2**0.5)))
    below = normal((edges - 0.95 * tilts[:, None]) / 0.12)
    transitions = np.diff(below, axis=1)
    values = np.linalg.solve(np.eye(size) - discount * transitions, np.ones(size))

    state = np.empty((tasks, episodes, horizon + 1), dtype=int)
    state[:, :, 0] = size // 2
    ends = np.full((tasks, episodes), np.inf)
    for t in range(horizon):
        arrival = (generator.random((tasks, episodes, 1)) > below[state[:, :, t]]).sum(-1) - 1
        fell = (arrival < 0) | (arrival >= size)
        ends = np.where(fell & np.isinf(ends), t + 1, ends)
        state[:, :, t + 1] = arrival.clip(0, size - 1)
    more = distracting(generator, (tasks, episodes, horizon), distractors, kind)
    observations = np.concatenate([tilts[state][..., None], more], -1)
    return known(observations, np.ones((tasks, episodes, horizon)), ends, values[state[:, :, :-1]], discount)


def distracting(generator: np.random.Generator, shape: tuple[int, int, int], count: int, kind: str) -> Array:
    """Observations ``[task, episode, time + 1, count]`` that say nothing about rewards or terminations."""
    tasks, episodes, horizon = shape
    noise = generator.standard_normal((tasks, episodes, horizon + 1, count))
    if kind == "noise":
        return noise
    if kind == "drifting":
        for t in range(1, horizon + 1):
            noise[:, :, t] = 0.95 * noise[:, :, t - 1] + np.sqrt(1 - 0.95**2) * noise[:, :, t]
        return noise
    if kind == "per episode":
        return np.repeat(noise[:, :, :1], horizon + 1, 2)
    if kind == "clock":
        speeds = 0.03 * np.abs(generator.standard_normal((tasks, 1, 1, count)))
        return np.arange(horizon + 1)[:, None] * speeds + 0.05 * noise
    assert kind == "walk"
    return np.cumsum(0.1 * noise, 2)


def known(observations: Array, rewards: Array, ends: Array, values: Array, discount: float) -> Known:
    """Episodes that terminate after ``ends[task, episode]`` steps, or are cut at the horizon."""
    horizon = rewards.shape[-1]
    lengths = np.minimum(ends, horizon).astype(int)
    valid = torch.from_numpy(np.arange(horizon) < lengths[..., None])
    terminated = torch.from_numpy(ends <= horizon)
    final = np.take_along_axis(observations, lengths[..., None, None], 2)[:, :, 0]
    zeros = torch.zeros(rewards.shape, dtype=torch.float64)
    rollout = Rollout(
        observations=where_valid(valid, torch.from_numpy(observations[:, :, :-1].copy()), zeros[0, 0, 0]),
        actions=zeros.unsqueeze(-1),
        log_probs=zeros,
        rewards=torch.from_numpy(rewards) * valid,
        terminated=terminated,
        truncated=~terminated,
        valid=valid,
        final_observations=torch.from_numpy(final),
        term_returns=zeros[..., :1],
        unstable=torch.zeros_like(terminated),
        tracked=torch.zeros(*terminated.shape, 0, 0),
    )
    return Known(rollout, torch.from_numpy(values), discount)
