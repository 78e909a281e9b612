"""Sampling episodes of all tasks at once; one environment step serves every task and episode."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rlmaml.base.errors import NonFiniteError, UserError
from rlmaml.base.random_streams import RandomStreams
from rlmaml.base.regions import region
from rlmaml.core.devices import move
from rlmaml.core.policy import Acting
from rlmaml.core.types import Carry, Memory, Params, Rollout, Seen, Tasks


@runtime_checkable
class TaskEnvironment(Protocol):
    """What a rollout needs of an environment: a vectorised one without autoreset, whose copies share tasks.

    Copy i works on task ``i // (num_envs // num_tasks)``. A copy whose episode is over stays as it is, earns 0
    and keeps its flags until the next reset.
    """

    num_envs: int
    horizon: int
    """Largest number of steps of an episode."""
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
    policy: Acting,
    params: Params,
    *,
    tasks: Sequence[int],
    streams: RandomStreams,
    k: int,
    most_likely: bool = False,
    memory: Memory | None = None,
) -> Rollout:
    """Episodes of every task under the given parameters, from the environment's current tasks.

    The policy acts on the device of its parameters; what comes back is on the CPU, and always ``env.horizon`` steps
    long, padded where every episode ended before.

    Args:
        env: environment with ``len(tasks) × num_episodes`` copies whose tasks have been set.
        policy: who acts.
        params: theta, or task parameters with a leading task axis.
        tasks: indices of the tasks, from which the random streams follow.
        streams: random streams of this iteration.
        k: the stage; distinguishes the rollouts of one iteration.
        most_likely: act with the most likely action, a Gaussian's mean, instead of a sampled one.
        memory: what the policy remembers where the episodes begin; None where it remembers nothing yet.

    Raises:
        NonFiniteError: an observation, action or reward is NaN or infinite.
        UserError: see :func:`check_rests`.
    """
    check_rests(env)
    with region("rollout"), torch.no_grad():
        num_tasks, num_episodes = len(tasks), env.num_envs // len(tasks)
        device = next(iter(params.values())).device
        noise = draw_noise(policy, streams, k, tasks, num_episodes, env.horizon).to(device)

        with region("environment"):
            observation, _ = env.reset(seed=streams.initial_state_seeds(k, tasks, num_episodes))
            track = [tracked_places(env)]
        _check_finite("observation", observation)
        act = policy.act(params)
        carry = policy.start(params, (num_tasks, num_episodes)) if memory is None else memory.carry
        seen = first_seen(_as_tensor(observation, num_tasks, device), noise[0])
        if memory is not None:
            seen = seen._replace(last_action=memory.last_action, last_reward=memory.last_reward)
        later = torch.zeros_like(seen.first_step)
        running = np.ones(env.num_envs, dtype=bool)
        unstable = np.zeros(env.num_envs, dtype=bool)
        terms = np.zeros((env.num_envs, len(env.reward_terms)))
        observations, chosen, distributions, rewards, valid = [], [], [], [], []
        for t in range(env.horizon):
            observations.append(seen.observation)
            distribution, remembered = act(seen, carry)
            carry = kept_where_over(carry, remembered, running, num_tasks)
            actions = distribution.most_likely if most_likely else distribution.sample(noise[t])
            chosen.append(actions)
            distributions.append(distribution)
            commands = actions.flatten(0, 1).cpu().numpy()
            _check_finite("action", commands)
            with region("environment"):
                try:
                    observation, reward, terminated, truncated, info = env.step(commands)
                except FloatingPointError as error:
                    raise NonFiniteError("A number of the environment", str(error)) from error
                track.append(tracked_places(env))
            _check_finite("observation", observation)
            _check_finite("reward", reward)
            rewards.append(_as_tensor(reward, num_tasks, device))
            for column, name in enumerate(env.reward_terms):
                terms[:, column] += info[name]
            if "instability" in info:
                unstable |= info["instability"] != ""
            valid.append(running)
            running = ~(terminated | truncated)
            seen = Seen(_as_tensor(observation, num_tasks, device), actions, rewards[-1], later)
            if not running.any():
                break

        def stack(steps: list[Tensor]) -> Tensor:
            return _padded(torch.stack(steps, 2), env.horizon)

        actions = torch.stack(chosen, 2)
        distribution = type(distributions[0])(*(torch.stack(fields, 2) for fields in zip(*distributions, strict=True)))
        sampled = Rollout(
            observations=stack(observations),
            actions=_padded(actions, env.horizon),
            log_probs=_padded(distribution.log_prob(actions), env.horizon),
            rewards=stack(rewards),
            terminated=_as_tensor(terminated, num_tasks, device),
            truncated=_as_tensor(truncated | running, num_tasks, device),
            valid=stack([_as_tensor(steps & ~unstable, num_tasks, device) for steps in valid]),
            final_observations=_as_tensor(observation, num_tasks, device),
            term_returns=_as_tensor(terms, num_tasks, device),
            unstable=_as_tensor(unstable, num_tasks, device),
            tracked=_padded(_as_tensor(np.stack(track, 1), num_tasks, device), env.horizon + 1),
        )
        return move(sampled, "cpu")


def tracked_places(env: TaskEnvironment) -> npt.NDArray[Any]:
    """Where the environment's robots are, (copy, place): what its method ``tracked`` says; no column without one."""
    tracked = env.tracked() if hasattr(env, "tracked") else None
    return np.zeros((env.num_envs, 0)) if tracked is None else tracked


def task_words(env: TaskEnvironment, tasks: Tasks) -> list[str]:
    """Each of some tasks in words: as the environment's method ``in_words`` says, with units, or name and numbers."""
    if hasattr(env, "in_words"):
        return list(env.in_words(tasks))
    rows = zip(*tasks.values(), strict=True)
    return [", ".join(f"{name} = {values}" for name, values in zip(tasks, row, strict=True)) for row in rows]


def check_rests(env: TaskEnvironment) -> None:
    """Refuse an environment that begins episodes by itself: their steps would count as those of the one before.

    Raises:
        UserError: names its mode and the cure.
    """
    mode = getattr(env, "metadata", {}).get("autoreset_mode")
    if mode is not None and mode.name != "DISABLED":
        raise UserError(
            f"The environment resets its copies by itself (autoreset_mode {mode.name}); episodes of a rollout wait for "
            'each other. Make it with make_tasks_env, or with autoreset_mode="rest".'
        )


def first_seen(observation: Tensor, noise: Tensor) -> Seen:
    """What is seen where a trial begins: no action was taken and nothing earned.

    Args:
        observation: ``[task, episode, obs]``.
        noise: of one step, whose shape is that of the actions.
    """
    nothing = observation.new_zeros(observation.shape[:-1])
    return Seen(observation, torch.zeros_like(noise), nothing, torch.ones_like(nothing, dtype=torch.bool))


def kept_where_over(before: Carry, after: Carry, running: npt.NDArray[np.bool_], num_tasks: int) -> Carry:
    """What is remembered after a step: a copy whose episode is over keeps what it remembered."""
    if isinstance(after, Tensor):
        if running.all():
            return after
        mask = _as_tensor(running, num_tasks, after.device)
        return torch.where(mask.view(*mask.shape, *[1] * (after.dim() - 2)), after, before)
    return tuple(kept_where_over(*parts, running, num_tasks) for parts in zip(before, after, strict=True))


def draw_noise(
    policy: Acting, streams: RandomStreams, k: int, tasks: Sequence[int], num_episodes: int, horizon: int
) -> Tensor:
    """Action noise ``[time, task, episode, ...]``, each task's from its own stream."""
    per_task = [
        policy.draw_noise(generator, (num_episodes, horizon)) for generator in streams.action_generators(k, tasks)
    ]
    return torch.from_numpy(np.stack(per_task)).movedim(2, 0).contiguous()


def _as_tensor(rows: npt.NDArray[Any], num_tasks: int, device: torch.device) -> Tensor:
    """Rows of all copies as ``[task, episode, ...]``; floating point numbers in single precision."""
    dtype = torch.float32 if rows.dtype.kind == "f" else None
    return torch.as_tensor(rows, dtype=dtype, device=device).view(num_tasks, len(rows) // num_tasks, *rows.shape[1:])


def _padded(values: Tensor, horizon: int) -> Tensor:
    """``values[task, episode, time, ...]``, with zeros after the last step up to the horizon."""
    missing = horizon - values.shape[2]
    if not missing:
        return values
    return torch.cat([values, values.new_zeros(*values.shape[:2], missing, *values.shape[3:])], 2)


def _check_finite(what: str, values: npt.NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        raise NonFiniteError(
            f"The {what} in a rollout", "the policy, the simulation or the environment's reward diverged"
        )
