"""The meta-training loop."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from rlmaml.algorithms.meta_algorithm import Learner, MetaAlgorithm, Report, check_replay
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
from rlmaml.sampling.collect import episodes_of
from rlmaml.sampling.examples import SupervisedFamily, examples_of
from rlmaml.sampling.outcomes import Outcomes, of_all_tasks, outcomes
from rlmaml.sampling.rollout import TaskEnvironment
from rlmaml.settings.whole import Settings


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
        NonFiniteError: an observation, a reward, the baseline or the update is NaN or infinite.
        ReplayError: the replayed policies are not those that sampled.
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

        learner = Learner(policy, rule, sums, streams)
        meta, state, report = algorithm.update(learner, meta, move(learned.state, run.device), data)
        check_replay(report)
        learned = move(Learned(meta, state), "cpu")
        rollouts = [stage.rollout for stage in stages if stage.rollout is not None]
        seen = [of_all_tasks(outcomes(sampled), sums) for sampled in rollouts]
    terms = getattr(env, "reward_terms", ())
    return learned, IterationReport(iteration, tasks, seen, rollouts, report, dict(seconds), terms)


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
    """
    for iteration in range(start, settings.run.iterations):
        try:
            learned, report = meta_iteration(env, method, learned, settings, iteration)
        except RankError:
            raise
        except Exception:
            method.sums.agree(ok=False)
            raise
        yield learned, report
        if not method.sums.agree(ok=True):
            raise RankError("Another process of this run failed; its message is above.")
        if not method.sums.agree(ok=not asked_to_end()):
            return
