"""A training run in a directory: begin or resume it, train, keep checkpoints, end with an evaluation."""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import torch

from rlmaml.base.errors import NonFiniteError, UserError
from rlmaml.base.lost_updates import TooManyLostError
from rlmaml.base.provenance import provenance
from rlmaml.base.stopping import Asked, InterruptedRunError, StoppedRunError, check_minutes, stopping
from rlmaml.base.threads import warn_of_fork, warn_of_idle_threads
from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.core.ranks import RankError
from rlmaml.core.task_sums import ALONE, TaskSums
from rlmaml.evaluation.context_range import context_range
from rlmaml.evaluation.evaluate import Evaluation, evaluate
from rlmaml.evaluation.figures import DrawEpisodes, adaptation_figure, draw_rewards, write_figure
from rlmaml.evaluation.video import MakeScene
from rlmaml.rules.adaptation_rule import adaptation_rule, check_goes_on, trained_rule
from rlmaml.rules.search_rule import ContextRange, Search
from rlmaml.sampling.examples import SupervisedFamily
from rlmaml.sampling.rollout import TaskEnvironment
from rlmaml.settings.checks import check_count, option
from rlmaml.settings.memory_needed import check_training_fits
from rlmaml.settings.run import RunSettings
from rlmaml.settings.stages import stage_words
from rlmaml.settings.whole import Settings
from rlmaml.storage.checkpoint import Checkpoint, remembered, save_checkpoint
from rlmaml.storage.family_record import check_same_family
from rlmaml.storage.kept_checkpoints import keep_checkpoint
from rlmaml.storage.range_file import StoredRange, read_context_range, write_context_range
from rlmaml.storage.run_directory import RunDirectory, write_json
from rlmaml.terminal.words import counted
from rlmaml.training.begin import make_method, policy_in, warn_of_first_order
from rlmaml.training.in_progress import reason_of, show_adaptation, show_progress
from rlmaml.training.opening import best_so_far, earlier_commits, opened_together
from rlmaml.training.record import Recorder, write_outcome
from rlmaml.training.train import Learned, MetaLearner, meta_train

EVALUATION_SEED = 10_000
VALIDATION_SEED = 20_000

MakeEnv: TypeAlias = Callable[[int], TaskEnvironment]
"""An environment with the given number of copies."""
Validate: TypeAlias = Callable[[Checkpoint], float]
"""What a checkpoint reaches on validation tasks; more is better."""


@ordinary_torch()
def train(
    settings: Settings,
    make_env: MakeEnv,
    run_dir: Path | str,
    *,
    resume: bool = False,
    overwrite: bool = False,
    draw: DrawEpisodes = draw_rewards,
    make_scene: MakeScene | None = None,
    sums: TaskSums = ALONE,
    stop_after: float | None = None,
    progress: bool = True,
) -> Evaluation | None:
    """Meta-train in ``run_dir``, and evaluate on held-out tasks at the end.

    Args:
        settings: of the run.
        make_env: makes the task environment with a given number of copies.
        run_dir: where everything is kept; made if it does not exist.
        resume: continue the run found there, or begin it if there is none.
        overwrite: delete the run found there, and begin anew.
        draw: draws episodes of one task, for the figures.
        make_scene: makes an environment to be filmed for TensorBoard; None for no videos.
        sums: this process's part of the tasks, where several train together. One of them leads: it alone writes, shows
            progress and evaluates.
        stop_after: minutes of training after which no further meta-iteration is begun; None for as long as it takes.
        progress: show a progress bar.

    Returns:
        The evaluation, or None in processes that do not lead.

    Raises:
        UserError: the directory holds a run and neither ``resume`` nor ``overwrite`` is given, or it holds one
            with other settings; another process trains in it; it cannot be written; a device is not there; a number
            became NaN or infinite; the replayed policies are not those that sampled; the user interrupted the run
            (:class:`rlmaml.base.stopping.InterruptedRunError`) or asked it to end (``StoppedRunError`` of the same).
    """
    run, directory = settings.run, RunDirectory(run_dir)
    check_minutes(stop_after)
    check_devices(run)
    warn_of_idle_threads(threads=run.threads, rollout_threads=run.rollout_threads)
    warn_of_fork(run.threads)
    warn_of_first_order(settings)
    own = len(sums.own(run.num_tasks, settings.task_blocks))
    check_training_fits(settings, own)
    env = make_env(own * run.num_episodes)
    settings = settings.changed(horizon=env.horizon)
    method = make_method(settings, env, sums)
    with ExitStack() as held:
        latest = opened_together(settings, method, env, directory, held, resume=resume, overwrite=overwrite)
        if not sums.leads:
            with stopping(stop_after) as asked:
                start = Learned(latest.meta, latest.state, latest.lost)
                for _ in meta_train(env, method, start, settings, latest.iteration, asked):
                    pass
            return None

        written = run_settings(settings) | {"family": dict(latest.family)} | earlier_commits(directory)
        write_json(directory.settings, written)
        with (
            stopping(stop_after) as asked,
            Recorder(
                directory,
                latest.iteration,
                run.iterations,
                written,
                words=stage_words(settings, in_training=True),
                progress=progress,
            ) as recorder,
        ):
            latest = train_from(
                latest,
                env,
                method,
                directory,
                recorder,
                draw,
                lambda checkpoint: validation_return(checkpoint, make_env),
                make_scene,
                asked,
            )
        with evaluated_later(directory):
            evaluation = configured_evaluation(latest, make_env, EVALUATION_SEED)
        write_json(directory.evaluation, evaluation.as_json(written))
        write_outcome(directory, settings, evaluation.summary())
        try:
            words = stage_words(settings)
            stages, told = evaluation.rollouts[:2], evaluation.task_words
            figure = adaptation_figure(draw, evaluation.tasks, stages, words=words, task_words=told)
            write_figure(directory.figure, figure)
        except Exception as error:
            warnings.warn(f"No figure {directory.figure}: {reason_of(error)}", stacklevel=2)
        return evaluation


def train_from(
    latest: Checkpoint,
    env: TaskEnvironment | SupervisedFamily,
    method: MetaLearner,
    directory: RunDirectory,
    recorder: Recorder,
    draw: DrawEpisodes | None,
    validate: Validate,
    make_scene: MakeScene | None,
    asked_to_end: Asked,
) -> Checkpoint:
    """Meta-train from a checkpoint to the configured number of iterations, and keep checkpoints on the way.

    Raises:
        UserError: see :func:`train`.
    """
    settings, run = latest.settings, latest.settings.run
    drawn: DrawEpisodes | None = draw
    words, best = stage_words(settings, in_training=True), -math.inf
    kept = latest.iteration
    if run.validation_interval and (kept_best := best_so_far(directory)):
        best = validate(kept_best)

    def keep() -> None:
        nonlocal kept
        if latest.iteration > kept:
            recorder.sync()  # the record of what a checkpoint holds is on the disk before it
            keep_checkpoint(directory, latest, run.kept_checkpoints)
            kept = latest.iteration

    def left() -> str:
        return f"{directory.path} holds the run after {counted(kept, 'meta-iteration')}; --resume continues it."

    try:
        start = Learned(latest.meta, latest.state, latest.lost)
        for learned, report in meta_train(env, method, start, settings, latest.iteration, asked_to_end):
            recorder.write(method.policy, learned.meta.params, report)
            due = run.figure_interval and report.iteration % run.figure_interval == 0
            if drawn and report.rollouts and due and not isinstance(env, SupervisedFamily):
                drawn = show_adaptation(recorder, report, env, drawn, words)
            latest = latest._replace(**learned._asdict(), iteration=report.iteration + 1)
            due = run.video_interval and latest.iteration % run.video_interval == 0
            if make_scene and due and not isinstance(env, SupervisedFamily):
                make_scene = show_progress(recorder, latest, report.tasks, env, make_scene)
            if latest.iteration % run.checkpoint_interval == 0:
                keep()
            if run.validation_interval and latest.iteration % run.validation_interval == 0:
                best = keep_best(directory, latest, validate, best)
    except TooManyLostError as error:
        raise UserError(
            f"Stopped in meta-iteration {latest.iteration}: {error} {directory.checkpoint} holds the last checkpoint."
        ) from error
    except RankError as error:
        keep()
        raise UserError(f"Stopped in meta-iteration {latest.iteration}: {error} {left()}") from error
    except KeyboardInterrupt as error:
        keep()
        raise InterruptedRunError(
            f"Interrupted after {counted(latest.iteration, 'meta-iteration')}. {directory.path} is usable as it is; "
            "--resume continues it."
        ) from error
    except UserError:
        raise
    except Exception as error:
        with contextlib.suppress(UserError):
            keep()
        error.add_note(left())
        raise
    keep()
    if (reason := asked_to_end()) or latest.iteration < run.iterations:
        raise StoppedRunError(
            f"Stopped by {reason or 'another process'} after {counted(latest.iteration, 'meta-iteration')}. "
            f"{directory.path} is "
            "usable as it is; --resume continues it."
        )
    return latest


@contextlib.contextmanager
def evaluated_later(directory: RunDirectory) -> Iterator[None]:
    """Say, where the evaluation in this block is interrupted, that the run is whole but for it.

    Raises:
        InterruptedRunError: at the interrupt.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise InterruptedRunError(
            f"Interrupted in the evaluation. {directory.path} is usable as it is; --resume evaluates it."
        ) from error


def keep_best(directory: RunDirectory, latest: Checkpoint, validate: Validate, best: float) -> float:
    """Keep the checkpoint as the best one if it reaches more on the validation tasks than ``best``.

    Returns:
        What the best one reaches.
    """
    reached = validate(latest)
    if reached <= best:
        return best
    save_checkpoint(directory.best, latest)
    return reached


def validation_return(checkpoint: Checkpoint, make_env: MakeEnv) -> float:
    """Mean return on the validation tasks after the last inner step; of steps that diverge, the worst there is."""
    try:
        final = configured_evaluation(checkpoint, make_env, VALIDATION_SEED).returns_with_failed[:, -1].mean()
    except NonFiniteError:
        return -math.inf
    return float(final) if final.isfinite() else -math.inf


def run_settings(settings: Settings) -> dict[str, Any]:
    """What is written beside every result: settings, commit, versions and machine."""
    return {"settings": settings.as_plain(), **provenance()}


@ordinary_torch()
def evaluate_run(
    checkpoint: Checkpoint,
    make_env: MakeEnv,
    *,
    num_tasks: int,
    num_episodes: int,
    trust_region: float | None = None,
    search: Search | None = None,
    teacher: bool = False,
    **options: Any,
) -> Evaluation:
    """Evaluate a checkpoint on ``num_tasks`` held-out tasks with ``num_episodes`` each.

    Args:
        checkpoint: what was learned; its settings say how it adapts.
        make_env: makes the environment.
        num_tasks: held-out tasks.
        num_episodes: episodes per task and stage.
        trust_region: adapt by trust-region steps of at most this KL instead of inner steps.
        search: adapt by this search in the context instead of inner steps; ``steps`` are its attempts.
        teacher: stage 0 is the teacher's, who is told the task, and the further ones are the student's trial.
        options: ``steps`` and ``seed`` among them, those of :func:`rlmaml.evaluation.evaluate.evaluate`.

    Raises:
        UserError: the environment has other observations or actions than the training's, a device is not there, a
            policy that has adapted already would search or have its teacher judged, one that has lived through episodes
            would take steps, or see :func:`rlmaml.rules.adaptation_rule.adaptation_rule`.
    """
    settings = checkpoint.settings
    if search and checkpoint.steps_taken:
        raise UserError("A search starts from a policy as it was trained; this one has adapted since. Give the run.")
    if teacher and checkpoint.steps_taken:
        raise UserError("A teacher is judged as it was trained; this policy has adapted since. Give the run.")
    check_count("num_tasks", num_tasks, 1)
    check_count("num_episodes", num_episodes, 1)
    check_devices(settings.run)
    env = make_env(num_tasks * num_episodes)
    policy = policy_in(checkpoint, env, settings.run.variant)
    check_same_family(checkpoint.family, env)
    rule = adaptation_rule(settings, policy, trust_region, search, teacher=teacher)
    memory = remembered(checkpoint, policy)
    check_goes_on(rule, memory)
    taken = checkpoint.steps_taken
    return evaluate(
        *(env, policy, rule, checkpoint.meta, settings),
        num_tasks=num_tasks,
        steps_taken=taken,
        memory=memory,
        **options,
    )


def trained_context_range(checkpoint: Checkpoint, make_env: MakeEnv, directory: RunDirectory) -> ContextRange:
    """Where a run's contexts are: as its directory says, or else measured once, and written there.

    It is measured on as many tasks and episodes as a meta-iteration of the training has; see
    :func:`rlmaml.evaluation.context_range.context_range`.

    Args:
        checkpoint: of the run, with the settings of its training.
        make_env: makes the environment of the training.
        directory: of the run.

    Raises:
        UserError: the policy has no context, the file cannot be read or written, or as :func:`evaluate_run`.
    """
    stored = read_context_range(directory.context_range)
    if stored is not None and stored.iteration == checkpoint.iteration:
        like = {name: checkpoint.meta.params.get(name) for name in stored.limits.low}
        if all(p is not None and p.shape == stored.limits.low[name].shape for name, p in like.items()):
            return stored.limits
    settings, run = checkpoint.settings, checkpoint.settings.run
    check_devices(run)
    env = make_env(run.num_tasks * run.num_episodes)
    policy = policy_in(checkpoint, env, run.variant)
    check_same_family(checkpoint.family, env)
    rule = trained_rule(settings, policy)
    limits = context_range(env, policy, rule, checkpoint.meta, settings, num_tasks=run.num_tasks)
    write_context_range(directory.context_range, StoredRange(checkpoint.iteration, limits))
    return limits


def configured_evaluation(
    checkpoint: Checkpoint,
    make_env: MakeEnv,
    seed: int,
    *,
    beyond: bool = False,
    search: Search | None = None,
    actions: str = "sampled",
) -> Evaluation:
    """:func:`evaluate_run` with as many tasks, episodes and steps as the checkpoint's settings say.

    A search takes as many steps as it has attempts.
    """
    run = checkpoint.settings.run
    return evaluate_run(
        checkpoint,
        make_env,
        num_tasks=run.evaluation_tasks,
        num_episodes=run.evaluation_episodes,
        steps=search.settings.attempts if search else run.evaluation_steps,
        seed=seed,
        beyond=beyond,
        search=search,
        actions=actions,
    )


def check_devices(run: RunSettings) -> None:
    """Raise a :class:`UserError` unless torch can compute on both devices of a run."""
    for name in ("device", "rollout_device"):
        device = getattr(run, name)
        try:
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{option(name)} is {device!r}, which is not available here ({reason}). Use cpu."
            ) from error
