"""Sampling episodes of all tasks at once; one environment step serves every task and episode."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from rlmaml.base.errors import NonFiniteError
from rlmaml.base.random_streams import RandomStreams
from rlmaml.base.stopwatch import Stopwatch
from rlmaml.core.types import Params, Rollout, Tasks
from rlmaml.policies.policy import Policy


@runtime_checkable
class TaskEnvironment(Protocol):
    """What a rollout needs of an environment: a vectorised one without autoreset, whose copies share tasks.

    Copy i works on task ``i // (num_envs // num_tasks)``. A copy whose episode is over stays as it is, earns 0
    and keeps its flags until the next reset.
    """

    num_envs: int
    reward_terms: tuple[str, ...]
    """Names of the terms whose sum the reward is."""

    def sample_tasks(self, num_tasks: int, seeds: Sequence[int] | None = None, *, beyond: bool = False) -> Tasks:
        """Tasks drawn from the family, the i-th from ``seeds[i]`` alone; ``beyond`` the training range or in it."""

    def set_tasks(self, tasks: Tasks) -> None:
        """Give each group of ``num_envs / num_tasks`` consecutive copies its task from the next reset on."""

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[Any], Mapping[str, Any]]:
        """Begin an episode in every copy; ``seed`` holds one integer per copy."""

    def step(
        self, actions: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], Mapping[str, Any]]:
        """Observations, rewards, terminated, truncated and information, one row per copy.

        The information holds the reward terms by name and, only in a step in which a simulation failed,
        ``"instability"``: text per copy, empty for the sound ones.
        """


def rollout(
    env: TaskEnvironment,
    policy: Policy,
    params: Params,
    *,
    num_tasks: int,
    horizon: int,
    streams: RandomStreams,
    step: int,
    clock: Stopwatch,
) -> Rollout:
    """Episodes of every task under the given parameters, from the environment's current tasks.

    Args:
        env: environment with ``num_tasks × num_episodes`` copies whose tasks have been set.
        policy: the policy.
        params: theta, or task parameters with a leading task axis.
        num_tasks: number of tasks.
        horizon: largest number of steps; an episode still running then counts as truncated.
        streams: random streams of this iteration.
        step: number of inner steps taken so far; distinguishes the rollouts of one iteration.
        clock: receives ``rollout`` and, within it, ``environment``.

    Raises:
        NonFiniteError: an observation, action or reward is NaN or infinite.
    """
    with clock.part("rollout"), torch.no_grad():
        num_episodes = env.num_envs // num_tasks
        device = next(iter(params.values())).device
        noise = draw_noise(policy, streams, step, num_tasks, num_episodes, horizon).to(device)

        with clock.part("environment"):
            seeds = streams.initial_state_seeds(step, num_tasks, num_episodes)
            observation, _ = env.reset(seed=seeds)
        _check_finite("observation", observation)
        act = policy.bind(params)
        running = np.ones(env.num_envs, dtype=bool)
        unstable = np.zeros(env.num_envs, dtype=bool)
        terms = np.zeros((env.num_envs, len(env.reward_terms)))
        seen, chosen, distributions, rewards, valid = [], [], [], [], []
        for t in range(horizon):
            seen.append(_as_tensor(observation, num_tasks, device))
            distribution = act(seen[-1])
            actions = distribution.sample(noise[t])
            chosen.append(actions)
            distributions.append(distribution)
            commands = actions.flatten(0, 1).cpu().numpy()
            _check_finite("action", commands)
            with clock.part("environment"):
                observation, reward, terminated, truncated, info = env.step(commands)
            _check_finite("observation", observation)
            _check_finite("reward", reward)
            rewards.append(reward)
            for column, name in enumerate(env.reward_terms):
                terms[:, column] += info[name]
            if "instability" in info:
                unstable |= info["instability"] != ""
            valid.append(running & ~unstable)
            running = ~(terminated | truncated)
            if not running.any():
                break

        def stack(arrays: Sequence[npt.NDArray[Any]]) -> torch.Tensor:
            return torch.stack([_as_tensor(array, num_tasks, device) for array in arrays], 2)

        actions = torch.stack(chosen, 2)
        distribution = type(distributions[0])(*(torch.stack(fields, 2) for fields in zip(*distributions, strict=True)))
        return Rollout(
            observations=torch.stack(seen, 2),
            actions=actions,
            log_probs=distribution.log_prob(actions),
            rewards=stack(rewards),
            terminated=_as_tensor(terminated, num_tasks, device),
            truncated=_as_tensor(truncated | running, num_tasks, device),
            valid=stack(valid),
            final_observations=_as_tensor(observation, num_tasks, device),
            term_returns=_as_tensor(terms, num_tasks, device),
            unstable=_as_tensor(unstable, num_tasks, device),
        )


def draw_noise(
    policy: Policy, streams: RandomStreams, step: int, num_tasks: int, num_episodes: int, horizon: int
) -> torch.Tensor:
    """Action noise ``[time, task, episode, ...]``, each task's from its own stream."""
    per_task = [
        policy.draw_noise(generator, (num_episodes, horizon))
        for generator in streams.action_generators(step, num_tasks)
    ]
    return torch.from_numpy(np.stack(per_task)).movedim(2, 0).contiguous()


def _as_tensor(rows: npt.NDArray[Any], num_tasks: int, device: torch.device) -> torch.Tensor:
    """Rows of all copies as ``[task, episode, ...]``; floating point numbers in single precision."""
    dtype = torch.float32 if rows.dtype.kind == "f" else None
    return torch.as_tensor(rows, dtype=dtype, device=device).view(num_tasks, -1, *rows.shape[1:])


def _check_finite(what: str, values: npt.NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        raise NonFiniteError(
            f"The {what} in a rollout", "the policy, the simulation or the environment's reward diverged"
        )
