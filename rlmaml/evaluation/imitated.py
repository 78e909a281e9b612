"""How well a policy imitates: the return in the environment after it adapted to demonstrations of held-out tasks."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rlmaml.base.intervals import finite_or_none, half_interval
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.base.threads import torch_threads
from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.core.devices import move
from rlmaml.core.policy import Policy
from rlmaml.core.types import Meta, Params, Tasks
from rlmaml.evaluation.evaluate import adapted_in_stages
from rlmaml.evaluation.query_scores import QueryScores
from rlmaml.families.imitation import Imitation
from rlmaml.rules.gradient_rule import losses_of
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.sampling.examples import examples_of
from rlmaml.sampling.outcomes import task_returns
from rlmaml.sampling.rollout import TaskEnvironment, rollout
from rlmaml.settings.whole import Settings


class Imitated(NamedTuple):
    """What was reached on every held-out task; column k is after k steps."""

    returns: QueryScores
    """Mean returns of the most likely actions."""
    errors: QueryScores
    """Mean squared errors on the demonstrations that were held out."""


@ordinary_torch()
def imitated(
    env: TaskEnvironment,
    tasks: Tasks,
    family: Imitation,
    policy: Policy,
    rule: InnerRule,
    meta: Meta,
    settings: Settings,
    *,
    steps: int,
    seed: int,
) -> Imitated:
    """Adapt theta to the demonstrations of every task of a family, once each, and act in the environment.

    Args:
        env: environment with a multiple of as many copies as there are tasks; their quotient is the number of episodes.
        tasks: those that were demonstrated, in the order of the family's.
        family: of the demonstrations.
        policy: the policy.
        rule: how it adapts.
        meta: meta-parameters.
        settings: of devices and threads.
        steps: number of steps; it may be other than the trained one.
        seed: of the choice of demonstrations and of initial states, which are the same after every step.

    Raises:
        NonFiniteError: an observation, an action or a reward is NaN or infinite.
    """
    run, every = settings.run, range(family.num_tasks)
    streams = RandomStreams(seed, Phase.EVALUATION, tasks=every)
    collect = examples_of(family, family.every_task(), streams, every, steps)
    meta = move(meta, run.device)
    query = move(collect(rule.begin(meta), steps).data, run.device)
    env.set_tasks(tasks)

    def judged(params: Params, k: int) -> tuple[Tensor, Tensor]:  # noqa: ARG001
        with torch.no_grad():
            errors = losses_of(policy.unroll(params, query)[0], query, family.score).cpu()
        here = move(params, run.rollout_device)
        with torch_threads(1):
            sampled = rollout(env, policy, here, tasks=every, streams=streams, k=0, most_likely=True)
        return task_returns(sampled), errors

    with torch_threads(run.threads):
        stages = adapted_in_stages(
            *(policy, rule, meta, collect, streams),
            num_tasks=family.num_tasks,
            steps=steps,
            device=run.device,
            judged=judged,
        )
        scores = [stage.seen for stage in stages]
    returns, errors = (QueryScores(torch.stack(columns, 1)) for columns in zip(*scores, strict=True))
    return Imitated(returns, errors)


def shares_of_gap(reached: QueryScores, demonstrator: QueryScores) -> dict[str, list[Any]]:
    """``Σ (after − before) / Σ (demonstrator − before)``: how much of its lead is made up for, after every step.

    The 95 % interval is that of a ratio of means: Student's, on the residuals ``(after − before) − share (demonstrator
    − before)`` of the tasks (Cochran, Sampling Techniques, 1977, section 2.11). It is null for too few tasks, and all
    is null where the demonstrator has no lead.

    Args:
        reached: returns on every task before the first step and after each.
        demonstrator: its returns, a single column.
    """
    before = reached.scores[:, :1]
    gained, gap = ((scores - before).double().numpy() for scores in (reached.scores, demonstrator.scores))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = gained.mean(0) / gap.mean()
        half = half_interval(gained - share * gap) / abs(gap.mean())
    lowest, highest = finite_or_none(share - half), finite_or_none(share + half)
    return {"mean": finite_or_none(share), "ci95": [list(pair) for pair in zip(lowest, highest, strict=True)]}
