"""A deterministic task environment in numpy, whose every number says where and when it was made."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], Mapping[str, Any]]


class ScriptedEnvironment:
    """Copies whose observation is (copy, steps taken, first entry of the last action).

    The reward of copy c for its step t, counted from 1, is ``100 (c + 1) + t + goal``; its two terms are
    ``100 (c + 1) + t`` and ``goal``.

    Args:
        num_envs: number of copies.
        ends: copy -> (steps until its episode ends, ``"terminated"``, ``"truncated"`` or ``"unstable"``); the others
            never end. An unstable copy is terminated with no reward, and does not move, in its last step.
        poison: (``"observation"`` or ``"reward"``, steps until it is NaN in the last copy).
        earns: what every step of every copy earns instead, all of it in the first term.
    """

    def __init__(
        self,
        num_envs: int,
        ends: Mapping[int, tuple[int, str]] | None = None,
        poison: tuple[str, int] | None = None,
        earns: float | None = None,
    ) -> None:
        self.num_envs, self.ends, self.poison, self.earns = num_envs, ends or {}, poison, earns
        self.goals = np.zeros(num_envs)
        self.seeds: list[list[int]] = []
        self.actions: list[npt.NDArray[Any]] = []

    horizon: int = 10
    reward_terms: tuple[str, ...] = ("step_reward", "goal_reward")

    def sample_tasks(
        self, num_tasks: int, seeds: Sequence[int] | None = None, *, beyond: bool = False
    ) -> dict[str, npt.NDArray[Any]]:
        assert seeds is not None
        assert len(seeds) == num_tasks
        return {"goal": beyond + np.array([np.random.default_rng(seed).random() for seed in seeds])}

    def set_tasks(self, tasks: Mapping[str, npt.NDArray[Any]]) -> None:
        self.goals = np.repeat(tasks["goal"], self.num_envs // len(tasks["goal"]))

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[Any], Mapping[str, Any]]:
        assert len(seed) == self.num_envs
        self.seeds.append(list(seed))
        self.elapsed = np.zeros(self.num_envs, int)
        self.last = np.zeros(self.num_envs)
        self.over = {kind: np.zeros(self.num_envs, bool) for kind in ("terminated", "truncated")}
        self.actions = []
        return self.observe(), {}

    def step(self, actions: npt.NDArray[Any]) -> Arrays:
        running = ~(self.over["terminated"] | self.over["truncated"])
        self.actions.append(actions.copy())
        self.elapsed += running
        self.last = np.where(running, actions.reshape(self.num_envs, -1)[:, 0], self.last)
        instability = np.full(self.num_envs, "", "<U8")
        for copy, (steps, kind) in self.ends.items():
            if kind == "unstable":
                failed = running[copy] and self.elapsed[copy] == steps
                instability[copy] = "exploded" if failed else ""
                self.elapsed[copy] -= failed
            self.over["truncated" if kind == "truncated" else "terminated"][copy] |= self.elapsed[copy] == steps
        self.over["terminated"] |= instability != ""
        counted = running & (instability == "")
        terms = {
            "step_reward": np.where(counted, 100.0 * (np.arange(self.num_envs) + 1) + self.elapsed, 0.0),
            "goal_reward": np.where(counted, self.goals, 0.0),
        }
        if self.earns is not None:
            terms = {"step_reward": np.where(counted, self.earns, 0.0), "goal_reward": np.zeros(self.num_envs)}
        info = terms | ({"instability": instability} if (instability != "").any() else {})
        rewards = terms["step_reward"] + terms["goal_reward"]
        if self.poison and self.poison[0] == "reward" and len(self.actions) == self.poison[1]:
            rewards[-1] = np.nan
        return self.observe(), rewards, self.over["terminated"].copy(), self.over["truncated"].copy(), info

    def observe(self) -> npt.NDArray[np.float64]:
        observation = np.stack([np.arange(self.num_envs), self.elapsed, self.last], -1).astype(np.float64)
        if self.poison and self.poison[0] == "observation" and len(self.actions) == self.poison[1]:
            observation[-1, 0] = np.nan
        return observation
