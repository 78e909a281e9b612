"""The meta-training loop."""

import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from rlmaml.algorithms.meta_algorithm import Learner, MetaAlgorithm, Report, check_replay
from rlmaml.base.errors import LostUpdateError
from rlmaml.base.lost_updates import SEVERAL, LostUpdates, check_patience
from rlmaml.base.random_streams import RandomStreams
from rlmaml.base.regions import listening, region
from rlmaml.base.threads import torch_threads
from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.core.devices import move
from rlmaml.core.parameters import for_every_task
from rlmaml.core.policy import Policy
from rlmaml.core.ranks import RankError
from rlmaml.core.task_sums import ALONE, TaskSums
from rlmaml.core.types import Meta, Params, Rollout, Tasks
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.rules.step_check import check_step
from rlmaml.sampling.collect import episodes_of
from rlmaml.sampling.examples import SupervisedFamily, examples_of
from rlmaml.sampling.outcomes import Outcomes, of_all_tasks, outcomes
from rlmaml.sampling.rollout import TaskEnvironment
from rlmaml.settings.whole import Settings
from rlmaml.training.guard import Lost, check_update, nothing_learned


class MetaLearner(NamedTuple):
    """What is fixed over a run: who acts, how it adapts, and how it meta-learns."""

    policy: Policy
    rule: InnerRule
    algorithm: MetaAlgorithm
    sums: TaskSums = ALONE


class Learned(NamedTuple):
    """What a run has learned so far; it is on the CPU."""

    meta: Meta
    state: Params
    """The meta-algorithm's."""
    lost: LostUpdates = LostUpdates()
    """Meta-updates that were lost."""


class IterationReport(NamedTuple):
    """What a meta-iteration saw and did; entry k of a list belongs to the policies after k inner steps."""

    iteration: int
    tasks: Tasks
    outcomes: list[Outcomes]
    """Of the episodes of all tasks; none where tasks are supervised."""
    rollouts: list[Rollout]
    """The episodes of this process's own tasks."""
    update: Report
    seconds: dict[str, float]
    reward_terms: tuple[str, ...]
    lost: LostUpdates = LostUpdates()
    """With this one."""


@ordinary_torch()
def meta_iteration(
    env: TaskEnvironment | SupervisedFamily, method: MetaLearner, learned: Learned, settings: Settings, iteration: int
) -> tuple[Learned, IterationReport]:
    """Sample tasks, adapt to each of them on fresh episodes or its support set, and meta-update.

    What was learned, the settings and the iteration number determine everything that happens.

    Args:
        env: environment with ``num_episodes`` copies for each of this process's own tasks, or a supervised family.
        method: policy, inner rule, meta-algorithm.
        learned: meta-parameters, and the meta-algorithm's state.
        settings: of the run.
        iteration: counted from 0.

    Raises:
        LostUpdateError: an observation, a reward, the baseline, an inner step or the update is NaN or infinite, an
            inner step exploded, the standard deviation collapsed, or the replayed policies are not those that sampled.
    """
    policy, rule, algorithm, sums = method
    run = settings.run
    with listening() as seconds, region("iteration"), torch_threads(run.threads):
        own = sums.own(run.num_tasks, settings.task_blocks)
        rule, streams = rule.during(iteration), RandomStreams(run.seed, iteration=iteration, tasks=own)
        tasks = env.sample_tasks(run.num_tasks, streams.task_seeds(run.num_tasks))
        mine = {name: values[own.start : own.stop] for name, values in tasks.items()}
        given = isinstance(env, SupervisedFamily)  # examples are the same whoever has adapted
        if isinstance(env, SupervisedFamily):
            collect = examples_of(env, mine, streams, own, rule.steps)
        else:
            env.set_tasks(mine)
            collect = episodes_of(env, policy, settings.advantages, streams, own, run.rollout_device)

        meta = move(learned.meta, run.device)
        per_task = for_every_task(meta, len(own))
        adaptation = rule.begin(per_task)
        stages, data = [], []
        for k in range(rule.steps + algorithm.reads_last_stage):
            stages.append(collect(adaptation, k))
            data.append(move(stages[k].data, run.device))
            if k < rule.steps and not given:
                with region("adapt"):
                    adaptation = rule.step(policy, per_task, adaptation, data[k], k, streams)
                    if not rule.remembers:
                        check_step(per_task.params, adaptation.params, k)

        learner = Learner(policy, rule, sums, streams)
        meta, state, report = algorithm.update(learner, meta, move(learned.state, run.device), data)
        check_replay(report)
        check_update(policy, meta, state, report)
        learned = learned._replace(meta=move(meta, "cpu"), state=move(state, "cpu"))
        rollouts = [stage.rollout for stage in stages if stage.rollout is not None]
        seen = [of_all_tasks(outcomes(sampled), sums) for sampled in rollouts]
    terms = getattr(env, "reward_terms", ())
    return learned, IterationReport(iteration, tasks, seen, rollouts, report, dict(seconds), terms)


def guarded_iteration(
    env: TaskEnvironment | SupervisedFamily, method: MetaLearner, learned: Learned, settings: Settings, iteration: int
) -> tuple[Learned, IterationReport]:
    """:func:`meta_iteration`; where its update is lost, what was learned is as before, and counts it.

    Where it is lost in one process of several, it is in all of them.

    Warns:
        Why it was lost; where it changed nothing, of several in a row alone.

    Raises:
        TooManyLostError: as many in a row were lost as ``settings.run.patience`` says.
        RankError: another process failed.
    """
    sums, reason = method.sums, ""
    try:
        after, report = meta_iteration(env, method, learned, settings, iteration)
        well = sums.agree(ok=True)
    except LostUpdateError as error:
        reason, well = str(error), sums.agree(ok=False)
    except RankError:
        well = False
    except Exception:
        sums.agree(ok=False)
        sums.agree(ok=False)  # it is no update that was lost
        raise
    if well:
        reason = nothing_learned(report.update, settings.run.num_tasks)
    elif not sums.agree(ok=True):
        raise RankError("Another process of this run failed; its message is above.")
    else:
        after, report = learned, nothing_known(env, method, settings, iteration)
        reason = reason or "It was lost in another process of this run; its message is above."
    lost = learned.lost.after(lost=bool(reason))
    check_patience(lost, settings.run.patience, reason)
    if reason and (not well or lost.in_a_row == SEVERAL):
        counted = "meta-update was" if not well else f"last {SEVERAL} meta-updates were"
        warnings.warn(f"In meta-iteration {iteration} the {counted} lost. {reason}", stacklevel=2)
    return after._replace(lost=lost), report._replace(lost=lost)


def nothing_known(
    env: TaskEnvironment | SupervisedFamily, method: MetaLearner, settings: Settings, iteration: int
) -> IterationReport:
    """The report on a meta-iteration that was lost: which tasks it had, and returns that are not known."""
    run = settings.run
    tasks = env.sample_tasks(run.num_tasks, RandomStreams(run.seed, iteration=iteration).task_seeds(run.num_tasks))
    if isinstance(env, SupervisedFamily):
        return IterationReport(iteration, tasks, [], [], Lost(), {}, ())
    nan = torch.full((run.num_tasks, run.num_episodes), torch.nan)
    unknown = Outcomes(
        nan, nan, nan.unsqueeze(-1).expand(-1, -1, len(env.reward_terms)), torch.zeros_like(nan, dtype=torch.bool)
    )
    stages = method.rule.steps + method.algorithm.reads_last_stage
    return IterationReport(iteration, tasks, [unknown] * stages, [], Lost(), {}, env.reward_terms)


def meta_train(
    env: TaskEnvironment | SupervisedFamily,
    method: MetaLearner,
    learned: Learned,
    settings: Settings,
    start: int = 0,
    asked_to_end: Callable[[], object] = lambda: None,
) -> Iterator[tuple[Learned, IterationReport]]:
    """What was learned, and a report, after each meta-iteration from ``start`` to ``settings.run.iterations``.

    Where one process of several fails, or is asked to end, all of them end together after the same meta-iteration.

    Args:
        env: as :func:`meta_iteration` takes it.
        method: policy, inner rule, meta-algorithm.
        learned: before the first of these meta-iterations.
        settings: of the run.
        start: meta-iterations that are done already.
        asked_to_end: whether this process is to begin no further meta-iteration.

    Raises:
        RankError: another process failed.
        TooManyLostError: too many meta-updates in a row were lost.
    """
    for iteration in range(start, settings.run.iterations):
        learned, report = guarded_iteration(env, method, learned, settings, iteration)
        yield learned, report
        if not method.sums.agree(ok=not asked_to_end()):
            return
