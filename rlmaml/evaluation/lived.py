"""What is reached after so many episodes lived on a new task, whatever a method makes of them."""

from collections.abc import Callable, Sequence
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.base.threads import torch_threads
from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.core.devices import move
from rlmaml.core.parameters import for_every_task
from rlmaml.core.policy import Policy
from rlmaml.core.types import Adaptation, Meta
from rlmaml.deploy.adaptable import ActionKind
from rlmaml.evaluation.evaluate import at_the_worst, evaluate
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.sampling.collect import episodes_of
from rlmaml.sampling.rollout import TaskEnvironment, rollout
from rlmaml.settings.whole import Settings


@ordinary_torch()
def returns_after_living(
    make_env: Callable[[int], TaskEnvironment],
    policy: Policy,
    rule_for: Callable[[int], InnerRule],
    meta: Meta,
    settings: Settings,
    *,
    lived: Sequence[int],
    num_tasks: int,
    num_episodes: int,
    seed: int,
    beyond: bool = False,
    actions: ActionKind = "sampled",
) -> Float[Tensor, "task budget"]:
    """Mean return per task after every number of episodes lived on it, a failed episode at the worst return of all.

    What steps take parameters from shares the episodes among its trained steps, and is judged on others, which begin in
    the same states whatever was lived before. A search spends them on attempts, which share them. A memory lives
    through them with the actions that are asked for, and is judged on the very next episode; a rule without steps is
    what it is.

    Args:
        make_env: makes an environment of so many copies.
        policy: the policy.
        rule_for: how it adapts when it has so many episodes.
        meta: meta-parameters.
        settings: of the advantages, devices and threads.
        lived: numbers of episodes, in any order; 0 is before anything is known.
        num_tasks: held-out tasks.
        num_episodes: episodes over which each return is averaged.
        seed: of the evaluation.
        beyond: draw the tasks outside of the training range.
        actions: with which the policies are judged.

    Raises:
        UserError: see :func:`rlmaml.evaluation.evaluate.evaluate`.
        NonFiniteError: an observation, a reward or a step is NaN or infinite.
    """
    longest = max(lived)
    if rule_for(longest).remembers and rule_for(longest).steps:
        env = make_env(num_tasks * num_episodes)
        found = evaluate(
            *(env, policy, rule_for(longest), meta, settings),
            num_tasks=num_tasks,
            steps=longest,
            seed=seed,
            beyond=beyond,
            keep_rollouts=False,
            actions=actions,
        )
        return found.returns_with_failed[:, list(lived)]
    run, tasks = settings.run, range(num_tasks)
    streams = RandomStreams(seed, Phase.EVALUATION, tasks=tasks)

    @cache
    def env_of(episodes: int) -> TaskEnvironment:
        env = make_env(num_tasks * episodes)
        env.set_tasks(env.sample_tasks(num_tasks, streams.task_seeds(num_tasks), beyond=beyond))
        return env

    @cache
    def judged(budget: int) -> Float[Tensor, "task episode"]:
        per_task = for_every_task(move(meta, run.device), num_tasks)
        adaptation = live_through(budget, per_task)
        with torch_threads(1):
            params = move(adaptation.params, run.rollout_device)
            env = env_of(num_episodes)
            stage = longest + 1  # of which no adaptation has episodes
            sampled = rollout(env, policy, params, tasks=tasks, streams=streams, k=stage, most_likely=actions == "mean")
        return sampled.returns

    def live_through(budget: int, per_task: Meta) -> Adaptation:
        rule = rule_for(budget)
        adaptation = rule.begin(per_task)
        for k, episodes in enumerate(shared(budget, rule.steps)):
            collect = episodes_of(env_of(episodes), policy, settings.advantages, streams, tasks, run.rollout_device)
            data = move(collect(adaptation, k).data, run.device)
            adaptation = rule.step(policy, per_task, adaptation, data, k, streams)
        return adaptation

    with torch_threads(run.threads):
        every = [judged(budget if rule_for(budget).steps else 0) for budget in lived]
    return at_the_worst(torch.stack(every)).mean(-1).T


def shared(episodes: int, steps: int) -> list[int]:
    """So many episodes for so many steps, as evenly as goes, more for the earlier ones; no step without an episode."""
    if not steps:
        return []
    each, more = divmod(episodes, steps)
    return [count for k in range(steps) if (count := each + (k < more))]
