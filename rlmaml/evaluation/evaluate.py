"""Evaluation: adapt to held-out tasks and report the return after every step."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from rlmaml.base.intervals import finite_or_none, half_interval
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.base.stopwatch import Stopwatch
from rlmaml.core.types import Params, Rollout, Tasks
from rlmaml.policies.policy import Policy
from rlmaml.sampling.episodes import stage_by_stage
from rlmaml.sampling.rollout import TaskEnvironment
from rlmaml.settings.config import TrainConfig


class Evaluation(NamedTuple):
    """Returns on held-out tasks; column k holds the mean over episodes after k steps."""

    tasks: Tasks
    returns: Float[Tensor, "task stage"]
    terms: dict[str, list[float]]
    """Each reward term's share of the mean return, per stage."""
    unstable_episodes: list[int]
    rollouts: list[Rollout]
    """What was sampled at each stage; empty where it was not kept."""

    def summary(self) -> dict[str, list[Any]]:
        """Mean over tasks, standard deviation over tasks, and the 95 % interval of the mean, per stage.

        The interval is Student's t over tasks; with a single task it is not defined and given as null.
        """
        returns = self.returns.double().numpy()
        mean, std = (
            returns.mean(0),
            returns.std(0, ddof=1) if len(returns) > 1 else np.full(returns.shape[1], np.nan),
        )
        half = half_interval(returns)
        lowest, highest = finite_or_none(mean - half), finite_or_none(mean + half)
        return {
            "mean": mean.tolist(),
            "std": finite_or_none(std),
            "ci95": [[low, high] for low, high in zip(lowest, highest, strict=True)],
        }

    def as_json(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Everything a later comparison needs, as plain data."""
        return {
            "returns": self.summary(),
            "terms": self.terms,
            "unstable_episodes": self.unstable_episodes,
            "per_task": self.returns.tolist(),
            "tasks": {name: values.tolist() for name, values in self.tasks.items()},
            "config": dict(settings),
        }


def evaluate(
    env: TaskEnvironment,
    policy: Policy,
    theta: Params,
    config: TrainConfig,
    *,
    num_tasks: int,
    steps: int,
    seed: int,
    beyond: bool = False,
    trust_region: float | None = None,
    keep_rollouts: bool = True,
    progress: bool = False,
) -> Evaluation:
    """Adapt theta to ``num_tasks`` tasks drawn for evaluation alone, with no meta-update.

    Args:
        env: environment with a multiple of ``num_tasks`` copies; their quotient is the number of episodes per stage.
        policy: the policy.
        theta: meta-parameters.
        config: settings of the inner steps, as trained.
        num_tasks: number of held-out tasks.
        steps: number of steps; beyond the trained ones, the last step size is used again.
        seed: seed of the evaluation; its streams are never used in training.
        beyond: draw the tasks outside of the training range.
        trust_region: adapt by trust-region steps of at most this KL instead of inner steps.
        keep_rollouts: keep what was sampled, which takes memory with every step; returns are kept anyway.
        progress: show a progress bar.

    Raises:
        NonFiniteError: an observation, a reward or the baseline is NaN or infinite.
    """
    streams = RandomStreams(seed, Phase.EVALUATION)
    tasks = env.sample_tasks(num_tasks, streams.task_seeds(num_tasks), beyond=beyond)
    env.set_tasks(tasks)
    stages = stage_by_stage(
        env,
        policy,
        theta,
        config,
        streams,
        Stopwatch(),
        num_tasks=num_tasks,
        steps=steps,
        trust_region=trust_region,
    )
    returns, terms, unstable, kept = [], [], [], []
    for sampled, _ in tqdm(stages, total=steps + 1, desc="evaluation", unit="step", leave=False, disable=not progress):
        returns.append(sampled.returns.mean(1))
        terms.append(sampled.term_returns.mean((0, 1)).tolist())
        unstable.append(int(sampled.unstable.sum()))
        if keep_rollouts:
            kept.append(sampled)
    by_term = {name: list(shares) for name, shares in zip(env.reward_terms, zip(*terms, strict=True), strict=True)}
    return Evaluation(tasks, torch.stack(returns, 1).cpu(), by_term, unstable, kept)
