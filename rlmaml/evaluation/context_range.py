"""Where the contexts of a policy are on the tasks of its training: within that range a search on a robot is bounded."""

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.base.threads import torch_threads
from rlmaml.core.devices import move
from rlmaml.core.parameters import for_every_task
from rlmaml.core.policy import Policy, TaughtPolicy
from rlmaml.core.types import Meta
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.rules.search_rule import ContextRange
from rlmaml.sampling.collect import episodes_of
from rlmaml.sampling.rollout import TaskEnvironment
from rlmaml.settings.whole import Settings

RANGE_SEED = 30_000
"""Of the tasks that a range is measured on; neither those of the training nor those of an evaluation."""


def context_range(
    env: TaskEnvironment, policy: Policy, rule: InnerRule, meta: Meta, settings: Settings, *, num_tasks: int
) -> ContextRange:
    """The smallest and the largest value of every entry of the context, over tasks and stages of the trained rule.

    Stage 0, where the context is 0, is one of them: 0 is in the range. Of a policy with a teacher, the context is added
    to the latent that its student guesses: it may go from any of the teacher's latents to any other, by entry, and
    their smallest and largest values bound the sum.

    Args:
        env: environment with a multiple of ``num_tasks`` copies.
        policy: the policy.
        rule: as it was trained.
        meta: meta-parameters.
        settings: of the advantages, devices and threads.
        num_tasks: tasks, drawn from the training range.

    Raises:
        UserError: the policy has no context.
        NonFiniteError: an observation, a reward or a step is NaN or infinite.
    """
    if not policy.context:
        raise UserError("This policy has no context; train with --algorithm cavia or rma, or with --context above 0.")
    streams, run = RandomStreams(RANGE_SEED, Phase.EVALUATION, tasks=range(num_tasks)), settings.run
    env.set_tasks(env.sample_tasks(num_tasks, streams.task_seeds(num_tasks)))
    collect = episodes_of(env, policy, settings.advantages, streams, range(num_tasks), run.rollout_device)
    per_task = for_every_task(move(meta, run.device), num_tasks)
    if isinstance(policy, TaughtPolicy):
        first = collect(rule.begin(per_task), 0).data.observations[..., :1, :]  # every task's parameters are in it
        return around(policy, policy.taught(move(meta.params, "cpu"), first))
    adaptation = rule.begin(per_task)
    met = [adaptation.params]
    with torch_threads(run.threads):
        for k in range(rule.steps):
            data = move(collect(adaptation, k).data, run.device)
            adaptation = rule.step(policy, per_task, adaptation, data, k, streams)
            met.append(adaptation.params)
    seen = {name: move(torch.cat([params[name].detach() for params in met]), "cpu") for name in policy.context}
    return ContextRange(
        {name: contexts.amin(0) for name, contexts in seen.items()},
        {name: contexts.amax(0) for name, contexts in seen.items()},
    )


def around(policy: TaughtPolicy, told: Float[Tensor, "*axes latent"]) -> ContextRange:
    """The range of what may be added to a guess: as much as teachers' latents differ, which bound the sum."""
    every = told.detach().flatten(0, -2)
    low, high = every.amin(0), every.amax(0)
    (shift,), (lowest, highest) = policy.context, policy.bounds
    return ContextRange({shift: low - high}, {shift: high - low}, {lowest: low, highest: high})
