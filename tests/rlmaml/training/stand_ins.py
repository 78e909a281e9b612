"""Environments and policies in which something happens that should not, and a small environment of choices."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rlmaml.core.policy import Policy
from rlmaml.core.types import Memory, Outputs, Params
from rlmaml.policies.kinds import register_module
from rlmaml.sampling.rollout import TaskEnvironment
from rlmaml.settings.whole import configure
from rlmaml.training.begin import begin, make_method
from rlmaml.training.train import IterationReport, meta_iteration
from rlmaml_envs import make_tasks_env
from tests.rlmaml.delegation import lent

REPORTED = configure(num_tasks=2, num_episodes=3, horizon=6, hidden=(8,), cg_iterations=3, threads=1)


def report(*fails: Mapping[int, int]) -> IterationReport:
    """A report on the first meta-iteration under the settings :data:`REPORTED`; ``fails`` as of failing simulations."""
    env = make_tasks_env("Navigation2D-v0", 6, REPORTED.run.horizon)
    method = make_method(REPORTED, env)
    return meta_iteration(FailingSimulations(env, *fails or ({},)), method, begin(REPORTED, method), REPORTED, 0)[1]


OWN_MODULE = """
import torch

class Bent(torch.nn.Module):
    def __init__(self, observation_size, action_size):
        super().__init__()
        self.into = torch.nn.Linear(observation_size, 6)
        self.out = torch.nn.Linear(6, action_size)

    def forward(self, observations):
        return self.out(torch.nn.functional.softplus(self.into(observations)))
"""
"""A file with a torch module of a user's own."""


def own_module(directory: Path) -> str:
    """The kind FILE.py:NAME of a user's own module, which is written into a directory and may be run."""
    file = directory / "own.py"
    file.write_text(OWN_MODULE)
    kind = f"{file}:Bent"
    register_module(kind)
    return kind


@lent(TaskEnvironment, of="env")
class Wrapped:
    """An environment with the attributes of another."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)


class DisturbedRewards(Wrapped):
    """``disturb`` is called with the number of steps taken so far; it may raise, or say what is added to the reward."""

    def __init__(self, env: Any, disturb: Callable[[int], float]) -> None:
        super().__init__(env)
        self.disturb, self.steps = disturb, 0

    def step(self, actions: npt.NDArray[Any]) -> tuple[Any, ...]:
        self.steps += 1
        observation, reward, *rest = self.env.step(actions)
        return observation, reward + self.disturb(self.steps), *rest


class FailingSimulations(Wrapped):
    """Some simulations fail: ``fails[k][copy]`` is the step of stage k in which a copy's does.

    Stages are counted by resets, and begin again with the first after the last of ``fails``.
    """

    def __init__(self, env: Any, *fails: Mapping[int, int]) -> None:
        super().__init__(env)
        self.fails, self.resets, self.steps = fails, 0, 0
        self.failed = np.zeros(env.num_envs, bool)

    def reset(self, **options: Any) -> Any:
        self.resets, self.steps = self.resets + 1, 0
        self.failed[:] = False
        return self.env.reset(**options)

    def step(self, actions: npt.NDArray[Any]) -> tuple[Any, ...]:
        self.steps += 1
        observation, reward, terminated, truncated, info = self.env.step(actions)
        now = np.zeros_like(self.failed)
        for copy, step in self.fails[(self.resets - 1) % len(self.fails)].items():
            now[copy] = step == self.steps
        self.failed |= now
        if now.any():
            info = {**info, "instability": np.where(now, "exploded", "")}
        return observation, np.where(self.failed, 0.0, reward), terminated | self.failed, truncated, info


@lent(Policy, of="policy")
class DriftingPolicy:
    """A Gaussian policy whose replayed mean is off by ``drift``."""

    def __init__(self, policy: Any, drift: float) -> None:
        self.policy, self.drift = policy, drift

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)

    def unroll(self, params: Params, batch: Any, memory: Memory | None = None) -> tuple[Outputs, Memory | None]:
        outputs, memory = self.policy.unroll(params, batch, memory)
        said = outputs.distribution
        return Outputs(said._replace(mean=said.mean + self.drift)), memory


class Corridor:
    """Copies walk left, stay, or walk right: 1 per step towards the side that is the task, in [-1, 1], and its size.

    Observation: position and the share of the steps taken.
    """

    reward_terms: tuple[str, ...] = ("progress",)
    single_observation_space = spaces.Box(-np.inf, np.inf, (2,))
    single_action_space = spaces.Discrete(3)

    def __init__(self, num_envs: int, horizon: int) -> None:
        self.num_envs, self.horizon = num_envs, horizon
        self.sides = np.zeros(num_envs)

    def sample_tasks(
        self, num_tasks: int, seeds: Sequence[int] | None = None, *, beyond: bool = False
    ) -> dict[str, npt.NDArray[Any]]:
        assert seeds is not None
        return {"side": (1 + beyond) * np.array([np.random.default_rng(seed).uniform(-1, 1) for seed in seeds])}

    def set_tasks(self, tasks: Mapping[str, npt.NDArray[Any]]) -> None:
        self.sides = np.repeat(tasks["side"], self.num_envs // len(tasks["side"]))

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[Any], Mapping[str, Any]]:
        self.positions = np.array([np.random.default_rng(one).uniform(-0.5, 0.5) for one in seed])
        self.steps = 0
        return self.observe(), {}

    def step(
        self, actions: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], Mapping[str, Any]]:
        assert actions.shape == (self.num_envs,)
        assert np.isin(actions, (0, 1, 2)).all()
        self.steps += 1
        self.positions = self.positions + (actions - 1)
        reward = (actions - 1) * self.sides
        over = np.full(self.num_envs, self.steps == self.horizon)
        return self.observe(), reward, np.zeros_like(over), over, {"progress": reward}

    def observe(self) -> npt.NDArray[np.float64]:
        return np.stack([self.positions, np.full(self.num_envs, self.steps / self.horizon)], -1)
