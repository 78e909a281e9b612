"""Evaluation: adapt to held-out tasks and report the return after every step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.base.intervals import FEWEST, finite_or_none, half_interval
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.base.regions import region
from rlmaml.base.threads import torch_threads
from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.core.devices import move
from rlmaml.core.parameters import detached, for_every_task
from rlmaml.core.policy import Policy
from rlmaml.core.types import Adaptation, Memory, Meta, Params, Rollout, Tasks
from rlmaml.deploy.adaptable import ActionKind, in_copies
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.sampling.collect import Collect, episodes_of
from rlmaml.sampling.outcomes import outcomes, task_returns
from rlmaml.sampling.rollout import TaskEnvironment, rollout, task_words
from rlmaml.settings.checks import check_count
from rlmaml.settings.memory_needed import check_evaluation_fits
from rlmaml.settings.whole import Settings
from rlmaml.terminal.bars import ProgressBar


class AdaptedStage(NamedTuple):
    """Every task's adaptation after some steps, and what was sampled or judged there."""

    adaptation: Adaptation
    seen: Any


class Evaluation(NamedTuple):
    """Returns on held-out tasks; column k holds the mean over the sound episodes after k steps, NaN where none was."""

    tasks: Tasks
    returns: Float[Tensor, "task stage"]
    terms: dict[str, list[float]]
    """Each reward term's share of the mean return, per stage."""
    unstable_episodes: list[int]
    share_unstable: list[float]
    """Share of the episodes whose simulation failed, per stage."""
    returns_with_failed: Float[Tensor, "task stage"]
    """The means with each failed episode at the worst return that any episode of the evaluation had."""
    rollouts: list[Rollout]
    """What was sampled at each stage; empty where it was not kept."""
    adaptations: Sequence[Adaptation] = ()
    """What sampled it: every task's parameters and memory at each stage; empty where they were not kept."""
    task_words: Sequence[str] = ()
    """The tasks in words."""

    def summary(self) -> dict[str, list[Any]]:
        """Mean over tasks, standard deviation over tasks, and the 95 % interval of the mean, per stage.

        The interval is Student's t over tasks; of too few (:data:`rlmaml.base.intervals.FEWEST`) it is given as null.
        So is what failed simulations leave undefined.
        """
        columns = [column[np.isfinite(column)] for column in self.returns.double().numpy().T]
        mean = _of_each(columns, lambda column: column.mean(), least=1)
        half = _of_each(columns, lambda column: float(half_interval(column)), least=FEWEST)
        lowest, highest = finite_or_none(mean - half), finite_or_none(mean + half)
        return {
            "mean": finite_or_none(mean),
            "std": finite_or_none(_of_each(columns, lambda column: column.std(ddof=1), least=2)),
            "ci95": [[low, high] for low, high in zip(lowest, highest, strict=True)],
            "share_unstable": list(self.share_unstable),
            "mean_with_failed": finite_or_none(self.returns_with_failed.double().mean(0).numpy()),
        }

    def as_json(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Everything a later comparison needs, as plain data."""
        return {
            "returns": self.summary(),
            "terms": {name: finite_or_none(np.array(shares)) for name, shares in self.terms.items()},
            "unstable_episodes": self.unstable_episodes,
            "per_task": [finite_or_none(row) for row in self.returns.double().numpy()],
            "per_task_with_failed": [finite_or_none(row) for row in self.returns_with_failed.double().numpy()],
            "tasks": {name: values.tolist() for name, values in self.tasks.items()},
            "config": dict(settings),
        }


def _of_each(columns: list[npt.NDArray[np.float64]], statistic: Any, *, least: int) -> npt.NDArray[np.float64]:
    return np.array([statistic(column) if len(column) >= least else np.nan for column in columns])


@ordinary_torch()
def evaluate(
    env: TaskEnvironment,
    policy: Policy,
    rule: InnerRule,
    meta: Meta,
    settings: Settings,
    *,
    num_tasks: int,
    steps: int,
    seed: int,
    beyond: bool = False,
    choose: Callable[[Tasks], Tasks] | None = None,
    keep_rollouts: bool = True,
    progress: bool = False,
    actions: ActionKind = "sampled",
    steps_taken: int = 0,
    memory: Memory | None = None,
) -> Evaluation:
    """Adapt theta to ``num_tasks`` tasks drawn for evaluation alone, with no meta-update.

    Args:
        env: environment with a multiple of ``num_tasks`` copies; their quotient is the number of episodes per stage.
        policy: the policy.
        rule: how it adapts.
        meta: meta-parameters.
        settings: of the advantages, devices and threads.
        num_tasks: number of held-out tasks.
        steps: number of steps; it may be other than the trained one.
        seed: seed of the evaluation; its streams are never used in training.
        beyond: draw the tasks outside of the training range.
        choose: what becomes of the tasks that were drawn, such as the same with one parameter of one's own choice.
        keep_rollouts: keep what was sampled, and by what, which takes memory with every step; returns are kept anyway.
        progress: show a progress bar.
        actions: with which actions the policies are judged: sampled ones, on the very episodes that they adapt on, or
            the mean, the most likely ones, on others from the same initial states. A memory, which needs no
            exploration, lives through those.
        steps_taken: how many steps ``meta`` has taken since its training, after which it goes on.
        memory: what a policy that remembers has lived through since, with axes for one task and one trial: every
            episode begins with it; None for nothing.

    Raises:
        UserError: a number of tasks or steps, the seed or ``actions`` is illegal, or it needs more memory than there
            is.
        NonFiniteError: an observation, a reward or the baseline is NaN or infinite.
    """
    for name, value, least in (("num_tasks", num_tasks, 1), ("steps", steps, 0), ("seed", seed, 0)):
        check_count(name, value, least)
    if actions not in get_args(ActionKind):
        raise UserError(f"--actions is {actions!r}; it must be one of {', '.join(get_args(ActionKind))}.")
    check_evaluation_fits(settings.run, env.num_envs, num_tasks, steps, kept=keep_rollouts)
    streams = RandomStreams(seed, Phase.EVALUATION, tasks=range(num_tasks))
    drawn = env.sample_tasks(num_tasks, streams.task_seeds(num_tasks), beyond=beyond)
    tasks = choose(drawn) if choose else drawn
    env.set_tasks(tasks)
    run = settings.run
    begun = None if memory is None else in_copies(memory, env.num_envs // num_tasks, num_tasks)
    judges_others = actions == "mean" and not rule.remembers
    collect = episodes_of(
        env,
        policy,
        settings.advantages,
        streams,
        range(num_tasks),
        run.rollout_device,
        most_likely=actions == "mean" and rule.remembers,
    )
    returns, every, terms, unstable, kept, adaptations = [], [], [], [], [], []

    def judged(params: Params, k: int) -> Rollout:
        with torch_threads(1):
            here = move(params, run.rollout_device)
            return rollout(env, policy, here, tasks=range(num_tasks), streams=streams, k=k, most_likely=True)

    with torch_threads(run.threads):
        stages = adapted_in_stages(
            policy,
            rule,
            move(meta, run.device),
            collect,
            streams,
            num_tasks=num_tasks,
            steps=steps,
            device=run.device,
            judged=judged if judges_others else None,
            steps_taken=steps_taken,
            memory=move(begun, run.device),
        )
        bar = ProgressBar(stages, total=steps + 1, desc="evaluation", unit="step", leave=False, disable=not progress)
        for adaptation, sampled in bar:
            seen = outcomes(sampled)
            returns.append(task_returns(sampled))
            every.append(seen.returns)
            terms.append(seen.mean_terms)
            unstable.append(seen.unstable)
            if keep_rollouts:
                kept.append(sampled)
                adaptations.append(Adaptation(detached(adaptation.params), memory=adaptation.memory))
    by_term = {name: list(shares) for name, shares in zip(env.reward_terms, zip(*terms, strict=True), strict=True)}
    return Evaluation(
        tasks=tasks,
        returns=torch.stack(returns, 1),
        terms=by_term,
        unstable_episodes=[int(failed.sum()) for failed in unstable],
        share_unstable=[float(failed.double().mean()) for failed in unstable],
        returns_with_failed=at_the_worst(torch.stack(every)).mean(-1).T,
        rollouts=kept,
        adaptations=adaptations,
        task_words=task_words(env, tasks),
    )


def adapted_in_stages(
    policy: Policy,
    rule: InnerRule,
    meta: Meta,
    collect: Collect,
    streams: RandomStreams,
    *,
    num_tasks: int,
    steps: int,
    device: str = "cpu",
    judged: Callable[[Params, int], Any] | None = None,
    steps_taken: int = 0,
    memory: Memory | None = None,
) -> Iterator[AdaptedStage]:
    """Adaptation before, between and after ``steps`` steps, with the episodes sampled there, or what is judged there.

    Args:
        policy: the policy.
        rule: how it adapts.
        meta: meta-parameters, on the device.
        collect: collects a stage's episodes.
        streams: random streams of the adaptation.
        num_tasks: number of tasks.
        steps: number of steps.
        device: where the steps are computed.
        judged: samples other episodes of a stage, or scores it, which is given in place of what is adapted on.
        steps_taken: how many steps ``meta`` has taken since its training, after which it goes on.
        memory: what every episode of every task begins with; None for nothing.
    """
    per_task = for_every_task(meta, num_tasks)
    adaptation = rule.begin(per_task) if rule.remembers or not steps_taken else Adaptation(per_task.params)
    adaptation = adaptation._replace(memory=memory)
    for k in range(steps + 1):
        if judged is not None:
            yield AdaptedStage(adaptation, judged(adaptation.params, k))
        if judged is None or k < steps:
            stage = collect(adaptation, k)
        if judged is None:
            assert stage.rollout is not None
            yield AdaptedStage(adaptation, stage.rollout)
        if k < steps:
            with region("adapt"):
                adaptation = rule.step(policy, per_task, adaptation, move(stage.data, device), steps_taken + k, streams)


def at_the_worst(returns: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Returns of all episodes, those that failed, NaN, at the worst of the others; NaN where all failed."""
    sound = returns[~returns.isnan()]
    worst = sound.min() if len(sound) else torch.tensor(torch.nan)
    return torch.where(returns.isnan(), worst, returns)
