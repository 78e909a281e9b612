"""A training on supervised tasks in a run directory: the same loop, checkpoints and record as of episodes."""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.base.errors import NonFiniteError
from rlmaml.base.stopping import check_minutes, stopping
from rlmaml.base.threads import warn_of_fork, warn_of_idle_threads
from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.core.losses import InnerLoss
from rlmaml.core.types import Examples, Outputs
from rlmaml.evaluation.query_scores import QueryScores, Says, judged_queries, scores_as_json
from rlmaml.sampling.examples import Sets, SupervisedFamily, first_task
from rlmaml.settings.memory_needed import check_examples_fit, check_scores_fit
from rlmaml.settings.whole import Settings
from rlmaml.storage.checkpoint import Checkpoint
from rlmaml.storage.run_directory import RunDirectory, write_json
from rlmaml.storage.scores_file import BETTER, HeldOut
from rlmaml.training.begin import check_predicts_distribution, make_method
from rlmaml.training.fine_tuning import fine_tuned, fine_tuning
from rlmaml.training.opening import earlier_commits, opened_together
from rlmaml.training.record import Recorder, write_outcome
from rlmaml.training.run import (
    EVALUATION_SEED,
    VALIDATION_SEED,
    check_devices,
    evaluated_later,
    run_settings,
    train_from,
)
from rlmaml.training.train import MetaLearner

TUNING_TASKS = 100
"""Validation tasks, at most, by which step sizes are chosen: the candidates are far from each other."""


class Trained(NamedTuple):
    """A finished training, as it was scored."""

    method: MetaLearner
    checkpoint: Checkpoint
    config: dict[str, Any]
    """Settings, commit, versions and machine, as they are written beside every result."""
    scores: QueryScores
    """On held-out tasks."""


class SupervisedTasks(NamedTuple):
    """What a model is trained on, and scored on."""

    settings: Settings
    """Of the run, with what follows from the tasks, such as the size of images."""
    family: SupervisedFamily
    """Of the tasks that are trained on."""
    held_out: SupervisedFamily
    """Of those that are scored on."""
    what: str
    """What the score is, such as ``errors``: its name in the written evaluation."""
    validation: SupervisedFamily | None = None
    """Of the tasks by which the best checkpoint is found, where ``validation_interval`` asks for it, and the step sizes
    of what was not meta-trained; None for other tasks of ``family``."""
    split: Mapping[str, Sequence[str]] | None = None
    """Part -> its classes, where some are held out; it is written beside the run."""
    judges: Mapping[str, InnerLoss] = MappingProxyType({})
    """Of further scores that the written evaluation has, by name."""


@ordinary_torch()
def train_supervised(
    tasks: SupervisedTasks,
    run_dir: Path | str,
    *,
    made_by: Mapping[str, Any] = MappingProxyType({}),
    resume: bool = False,
    overwrite: bool = False,
    stop_after: float | None = None,
    progress: bool = True,
) -> Trained:
    """Meta-train in ``run_dir``, and score on held-out tasks at the end.

    What was not meta-trained is scored by :func:`as_scored`'s steps.

    Args:
        tasks: what is trained on and scored on, with the settings, whose variant is the family's.
        run_dir: where everything is kept; made if it does not exist.
        made_by: options by which the tasks are made again, as plain data; the run's settings alone have them, which may
            say where on a machine its data lie.
        resume: continue the run found there, or begin it if there is none.
        overwrite: delete the run found there, and begin anew.
        stop_after: minutes of training after which no further meta-iteration is begun; None for as long as it takes.
        progress: show a progress bar.

    Raises:
        UserError: as :func:`rlmaml.training.run.train`; or the method learns from episodes, or needs a distribution
            that is predicted, and the family's loss is that of none.
    """
    family, held_out, what = tasks.family, tasks.held_out, tasks.what
    settings = tasks.settings.changed(variant=family.variant)
    run, directory = settings.run, RunDirectory(run_dir)
    check_minutes(stop_after)
    check_devices(run)
    warn_of_idle_threads(threads=run.threads)
    warn_of_fork(run.threads)
    method = make_method(settings, family)
    one_task = first_task(family)
    check_predicts_distribution(settings, family, method.policy, one_task.query)
    check_tasks_fit(settings, one_task, run.num_tasks, "A meta-iteration on")
    one_held_out = one_task if held_out is family else first_task(held_out)
    check_tasks_fit(settings, one_held_out, run.evaluation_tasks, "Scoring")
    check_scores_fit(run)
    with ExitStack() as held:
        latest = opened_together(settings, method, family, directory, held, resume=resume, overwrite=overwrite)
        config = run_settings(settings) | {"family": dict(latest.family)} | earlier_commits(directory)
        write_json(directory.settings, config | ({"made_by": dict(made_by)} if made_by else {}))
        if tasks.split is not None:
            write_json(directory.split, tasks.split)

        def validate(checkpoint: Checkpoint) -> float:
            return -validation_loss(method, checkpoint, tasks.validation or family)

        with (
            stopping(stop_after) as asked,
            Recorder(directory, latest.iteration, run.iterations, config, progress=progress) as recorder,
        ):
            latest = train_from(latest, family, method, directory, recorder, None, validate, None, asked)
        with evaluated_later(directory):
            method, latest = as_scored(method, latest, tasks, progress=progress)
            if tried := fine_tuning(settings):
                config |= {"settings": latest.settings.as_plain(), "fine_tuning": tried}
            scores = score_run_by(method, latest, held_out, {what: held_out.score, **tasks.judges}, EVALUATION_SEED)
        judged_on = HeldOut(run.env_id, held_out.variant, EVALUATION_SEED)
        write_json(directory.evaluation, scores_as_json(scores, judged_on, config))
        write_outcome(directory, settings, scores[what].summary(), what)
    return Trained(method, latest, config, scores[what])


def as_scored(
    method: MetaLearner, latest: Checkpoint, tasks: SupervisedTasks, *, progress: bool = True
) -> tuple[MetaLearner, Checkpoint]:
    """A run as it is scored: what was not meta-trained takes steps of the sizes that are best on validation tasks.

    Args:
        method: of the run.
        latest: what it has learned; its settings say how many steps it takes.
        tasks: whose settings have the configured sizes.
        progress: show a progress bar while sizes are tried.
    """
    if fine_tuning(latest.settings) is None:
        return method, latest
    configured = latest._replace(
        settings=latest.settings.changed(inner_step_sizes=tasks.settings.inner.inner_step_sizes)
    )
    tuned = fine_tuned(configured, partial(validation_score, tasks=tasks), progress=progress)
    return make_method(tuned.settings, tasks.family), tuned


def check_tasks_fit(settings: Settings, one_task: Sets, num_tasks: int, what: str) -> None:
    """Refuse what takes so many tasks like this one at once and needs more memory than there is.

    Raises:
        UserError: names what needs how much, and how much there is.
    """
    num_bytes = sum(part.observations.nbytes + part.targets.nbytes for part in one_task)
    check_examples_fit(settings, num_tasks, num_bytes, sum(part.valid.numel() for part in one_task), what)


def score_run_by(
    method: MetaLearner,
    latest: Checkpoint,
    held_out: SupervisedFamily,
    judges: Mapping[str, InnerLoss],
    seed: int,
) -> dict[str, QueryScores]:
    """Scores by several judges, by name, of one adaptation to every task; see :func:`score_run`."""

    def judge(outputs: Outputs, data: Examples) -> Float[Tensor, " judge"]:
        return torch.stack([one(outputs, data) for one in judges.values()])

    judged = judge_run(method, latest, held_out, judge, seed)
    return {name: QueryScores(judged[..., index]) for index, name in enumerate(judges)}


def score_run(
    method: MetaLearner,
    latest: Checkpoint,
    held_out: SupervisedFamily,
    judge: InnerLoss,
    seed: int,
    *,
    said: Says | None = None,
) -> QueryScores:
    """What a checkpoint reaches on as many held-out tasks, after as many steps, as its settings say.

    Another than its own model may say what is judged, by the parameters that this one has adapted.
    """
    return QueryScores(judge_run(method, latest, held_out, judge, seed, said=said))


def judge_run(
    method: MetaLearner,
    latest: Checkpoint,
    held_out: SupervisedFamily,
    judge: InnerLoss,
    seed: int,
    *,
    said: Says | None = None,
) -> Float[Tensor, "task stage *part"]:
    """The same by a judge of several numbers."""
    run = latest.settings.run
    check_scores_fit(run)
    return judged_queries(
        *(held_out, method.policy, method.rule, latest.meta, latest.settings),
        judge=judge,
        num_tasks=run.evaluation_tasks,
        steps=run.evaluation_steps,
        seed=seed,
        said=said,
    )


def validation_loss(method: MetaLearner, checkpoint: Checkpoint, family: SupervisedFamily) -> float:
    """Mean query loss on the validation tasks after the trained steps; of steps that diverge, infinity."""
    trained = checkpoint._replace(settings=checkpoint.settings.changed(evaluation_steps=method.rule.steps))
    return last_on_validation(method, trained, family, family.loss, worst=math.inf)


def validation_score(checkpoint: Checkpoint, tasks: SupervisedTasks) -> float:
    """Mean score on validation tasks after the last step, negative where lower ones are better: more is better.

    Of a score of which that is not known it is the loss. It is on no more than ``TUNING_TASKS``.
    """
    family, settings = tasks.validation or tasks.family, checkpoint.settings
    few = settings.changed(evaluation_tasks=min(settings.run.evaluation_tasks, TUNING_TASKS))
    judge = family.score if tasks.what in BETTER else family.loss
    sign = 1 if BETTER.get(tasks.what) == "higher" else -1
    method = make_method(few, tasks.family)
    return sign * last_on_validation(method, checkpoint._replace(settings=few), family, judge, worst=-sign * math.inf)


def last_on_validation(
    method: MetaLearner, checkpoint: Checkpoint, family: SupervisedFamily, judge: InnerLoss, worst: float
) -> float:
    """Mean of what a judge says of validation tasks after the last step; of steps that diverge, the worst there is."""
    try:
        final = score_run(method, checkpoint, family, judge, VALIDATION_SEED).scores[:, -1].mean()
    except NonFiniteError:
        return worst
    return float(final) if final.isfinite() else worst
