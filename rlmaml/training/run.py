"""A training run in a directory: begin or resume it, train, keep checkpoints, end with an evaluation."""

import dataclasses
import io
import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import torch

from rlmaml.base.errors import NonFiniteError, UserError
from rlmaml.base.files import unwritable, write_atomically
from rlmaml.base.provenance import provenance
from rlmaml.base.threads import check_threads, keep_freed_memory
from rlmaml.core.parameters import detach
from rlmaml.core.types import Params, Tasks
from rlmaml.deploy.adaptable import AdaptablePolicy
from rlmaml.evaluation.evaluate import Evaluation, evaluate
from rlmaml.evaluation.figures import DrawEpisodes, adaptation_figure, draw_rewards
from rlmaml.evaluation.video import MakeScene, as_video, film_progress
from rlmaml.policies.policy import GaussianMLP, Policy
from rlmaml.sampling.rollout import TaskEnvironment
from rlmaml.settings.config import TrainConfig, check_resumable
from rlmaml.storage.checkpoint import CHECKPOINT, Checkpoint, check_fits, load_checkpoint, save_checkpoint
from rlmaml.training.initial import initial_theta, make_policy, random_theta
from rlmaml.training.record import METRICS, TENSORBOARD, Recorder, write_outcome
from rlmaml.training.train import meta_train

SETTINGS, EVALUATION, FIGURE = "run.json", "evaluation.json", "adaptation.png"
RUN_FILES = (CHECKPOINT, METRICS, SETTINGS, EVALUATION, FIGURE)
EVALUATION_SEED = 10_000

MakeEnv: TypeAlias = Callable[[int], TaskEnvironment]
"""An environment with the given number of copies."""


class InterruptedRunError(UserError):
    """The user stopped a run; it can be resumed."""


def train(
    config: TrainConfig,
    make_env: MakeEnv,
    run_dir: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    draw: DrawEpisodes = draw_rewards,
    make_scene: MakeScene | None = None,
) -> Evaluation:
    """Meta-train in ``run_dir``, and evaluate on held-out tasks at the end.

    Args:
        config: settings of the run.
        make_env: makes the task environment with a given number of copies.
        run_dir: where everything is kept; made if it does not exist.
        resume: continue the run found there, or begin it if there is none.
        overwrite: delete the run found there, and begin anew.
        draw: draws episodes of one task, for the figures.
        make_scene: makes an environment to be filmed for TensorBoard; None for no videos.

    Raises:
        UserError: the directory holds a run and neither ``resume`` nor ``overwrite`` is given, or it holds one
            with another configuration; it cannot be written; the device is not there; a number became NaN or
            infinite; the user interrupted the run (:class:`InterruptedRunError`).
    """
    check_device(config.device)
    check_threads(config)
    env = make_env(config.num_tasks * config.num_episodes)
    policy = make_policy(config, env)
    theta, start = open_run(config, policy, run_dir, resume=resume, overwrite=overwrite)
    settings = run_settings(config) | earlier_commits(run_dir / SETTINGS)
    write_atomically(run_dir / SETTINGS, json.dumps(settings, indent=2).encode())
    keep_freed_memory()

    latest = train_from(Checkpoint(theta, start, config), env, policy, run_dir, settings, draw, make_scene)
    evaluation = configured_evaluation(latest, make_env, EVALUATION_SEED)
    write_atomically(run_dir / EVALUATION, json.dumps(evaluation.as_json(settings), indent=2).encode())
    write_outcome(run_dir, config, evaluation.summary())
    picture = io.BytesIO()
    adaptation_figure(draw, evaluation.tasks, evaluation.rollouts[:2]).savefig(picture, dpi=150)
    write_atomically(run_dir / FIGURE, picture.getvalue())
    return evaluation


def train_from(
    latest: Checkpoint,
    env: TaskEnvironment,
    policy: GaussianMLP,
    run_dir: Path,
    settings: dict[str, Any],
    draw: DrawEpisodes,
    make_scene: MakeScene | None,
) -> Checkpoint:
    """Meta-train from a checkpoint to the configured number of iterations, and keep checkpoints on the way.

    Raises:
        UserError: see :func:`train`.
    """
    path, config = run_dir / CHECKPOINT, latest.config
    with Recorder(run_dir, latest.iteration, config.iterations, settings) as recorder:
        try:
            for theta, report in meta_train(env, policy, latest.theta, config, latest.iteration):
                recorder.write(theta, report)
                if config.figure_interval and report.iteration % config.figure_interval == 0:
                    figure = adaptation_figure(draw, report.tasks, report.rollouts, num_tasks=2)
                    recorder.figure("adaptation", figure, report.iteration)
                latest = Checkpoint(theta, report.iteration + 1, config)
                if make_scene and config.video_interval and latest.iteration % config.video_interval == 0:
                    make_scene = show_progress(recorder, latest, report.tasks, env, policy, make_scene)
                if latest.iteration % config.checkpoint_interval == 0:
                    save_checkpoint(path, latest)
        except NonFiniteError as error:
            kept = f"{path} holds the last checkpoint." if path.exists() else "No checkpoint was due yet."
            raise UserError(f"Stopped in meta-iteration {latest.iteration}: {error} {kept}") from error
        except KeyboardInterrupt as error:
            save_checkpoint(path, latest)
            raise InterruptedRunError(
                f"Interrupted after {latest.iteration} meta-iterations. {run_dir} is usable as it is; "
                "--resume continues it."
            ) from error
    save_checkpoint(path, latest)
    return latest


def show_progress(
    recorder: Recorder,
    latest: Checkpoint,
    tasks: Tasks,
    env: TaskEnvironment,
    policy: GaussianMLP,
    make_scene: MakeScene,
) -> MakeScene | None:
    """Film the policy on the first of the tasks for TensorBoard.

    Returns:
        ``make_scene``, or None where nothing can be drawn, after a warning that says why.
    """
    current = AdaptablePolicy(policy, detach(latest.theta), latest.config, latest.iteration)
    task = {name: values[0] for name, values in tasks.items()}
    try:
        frames, rate = film_progress(current, env, make_scene(), task, latest.iteration)
    except RuntimeError as error:
        warnings.warn(f"No videos in TensorBoard: {error}", stacklevel=2)
        return None
    except UserError as error:
        warnings.warn(f"No video of meta-iteration {latest.iteration}: {error}", stacklevel=2)
        return make_scene
    recorder.video("video", as_video(frames, rate, ".gif"), latest.iteration)
    return make_scene


def run_settings(config: TrainConfig) -> dict[str, Any]:
    """What is written beside every result: configuration, commit, versions and machine."""
    return {"config": dataclasses.asdict(config), **provenance()}


def earlier_commits(path: Path) -> dict[str, list[str | None]]:
    """The commits at which a run was begun and resumed before, from the settings that it left."""
    try:
        before = json.loads(path.read_text())
        return {"earlier_commits": [*before.get("earlier_commits", []), before["commit"]]}
    except (OSError, KeyError, ValueError):
        return {}


def open_run(
    config: TrainConfig, policy: Policy, run_dir: Path, *, resume: bool, overwrite: bool
) -> tuple[Params, int]:
    """Theta and the number of meta-iterations done so far: those of the run found in ``run_dir``, or a fresh start.

    Raises:
        UserError: see :func:`train`.
    """
    path = run_dir / CHECKPOINT
    if resume and overwrite:
        raise UserError("--resume and --overwrite exclude each other; give one of them.")
    found = [name for name in (*RUN_FILES, TENSORBOARD) if (run_dir / name).exists()]
    if found and not overwrite and not (resume and path.exists()):
        cure = "" if resume else "Continue it with --resume, delete"
        raise UserError(
            f"{run_dir} already holds a run, or files named like those of one: {', '.join(found)}. "
            f"{cure or 'It has no checkpoint to go on from; delete'} it with --overwrite, or choose another --run-dir."
        )
    if resume and path.exists():
        stored = load_checkpoint(path, config.device)
        check_resumable(stored.config, config)
        check_fits(stored, random_theta(config, policy), f"{config.env_id}, {config.variant}")
        if stored.iteration > config.iterations:
            raise UserError(
                f"--iterations is {config.iterations}, but the run in {run_dir} has done {stored.iteration} already; "
                "give a larger number, or evaluate it with scripts/evaluate.py."
            )
        return stored.theta, stored.iteration
    theta = initial_theta(config, policy)
    try:
        if overwrite:
            for name in RUN_FILES:
                (run_dir / name).unlink(missing_ok=True)
            shutil.rmtree(run_dir / TENSORBOARD, ignore_errors=True)
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(run_dir, error) from error
    save_checkpoint(path, Checkpoint(theta, 0, config))
    return theta, 0


def evaluate_run(
    checkpoint: Checkpoint, make_env: MakeEnv, *, num_tasks: int, num_episodes: int, **settings: Any
) -> Evaluation:
    """Evaluate a checkpoint on ``num_tasks`` held-out tasks with ``num_episodes`` each.

    ``settings``, ``steps`` and ``seed`` among them, are those of :func:`rlmaml.evaluation.evaluate.evaluate`.
    """
    keep_freed_memory()
    env = make_env(num_tasks * num_episodes)
    policy = make_policy(checkpoint.config, env)
    check_fits(checkpoint, policy.init(0), f"{checkpoint.config.env_id}, {checkpoint.config.variant}")
    return evaluate(env, policy, checkpoint.theta, checkpoint.config, num_tasks=num_tasks, **settings)


def configured_evaluation(checkpoint: Checkpoint, make_env: MakeEnv, seed: int, *, beyond: bool = False) -> Evaluation:
    """:func:`evaluate_run` with as many tasks, episodes and steps as the checkpoint's configuration says."""
    config = checkpoint.config
    return evaluate_run(
        checkpoint,
        make_env,
        num_tasks=config.evaluation_tasks,
        num_episodes=config.evaluation_episodes,
        steps=config.evaluation_steps,
        seed=seed,
        beyond=beyond,
    )


def check_device(name: str) -> None:
    """Raise a :class:`UserError` unless torch can compute on the device."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UserError(f"--device is {name!r}; it must be cpu, cuda or cuda:N.")
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--device is {name!r}, which is not available here ({reason}). Use cpu.") from error
