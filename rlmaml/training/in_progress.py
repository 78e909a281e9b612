"""Pictures of a training while it goes on, for TensorBoard: none of them ever ends it."""

import warnings

from rlmaml.base.errors import UserError
from rlmaml.core.types import Tasks
from rlmaml.deploy.adaptable import as_policy
from rlmaml.evaluation.figures import DrawEpisodes, adaptation_figure
from rlmaml.evaluation.video import MakeScene, as_video, film_progress
from rlmaml.sampling.rollout import TaskEnvironment, task_words
from rlmaml.settings.stages import StageWords
from rlmaml.storage.checkpoint import Checkpoint
from rlmaml.training.record import Recorder
from rlmaml.training.train import IterationReport


def show_adaptation(
    recorder: Recorder, report: IterationReport, env: TaskEnvironment, draw: DrawEpisodes, words: StageWords
) -> DrawEpisodes | None:
    """Draw episodes of a meta-iteration for TensorBoard, with words for its stages and, from its environment, tasks.

    Returns:
        ``draw``, or None where it fails, after a warning that says why: a picture never ends a training.
    """
    try:
        told = task_words(env, report.tasks)
        figure = adaptation_figure(draw, report.tasks, report.rollouts, words=words, num_tasks=2, task_words=told)
        recorder.figure("adaptation", figure, report.iteration)
    except UserError:
        raise
    except Exception as error:
        warnings.warn(f"No figures in TensorBoard: {reason_of(error)}", stacklevel=2)
        return None
    return draw


def show_progress(
    recorder: Recorder, latest: Checkpoint, tasks: Tasks, env: TaskEnvironment, make_scene: MakeScene
) -> MakeScene | None:
    """Film the policy on the first of the tasks for TensorBoard.

    Returns:
        ``make_scene``, or None where nothing can be drawn, after a warning that says why: no video ends a training.
    """
    task = {name: values[0] for name, values in tasks.items()}
    try:
        frames, rate = film_progress(as_policy(latest), env, make_scene(), task, latest.iteration)
        video = as_video(frames, rate, ".gif")
    except UserError as error:
        warnings.warn(f"No video of meta-iteration {latest.iteration}: {error}", stacklevel=2)
        return make_scene
    except Exception as error:
        warnings.warn(f"No videos in TensorBoard: {reason_of(error)}", stacklevel=2)
        return None
    recorder.video("video", video, latest.iteration)
    return make_scene


def reason_of(error: Exception) -> str:
    """What went wrong, with the kind of error where its message may not say it."""
    return str(error) if isinstance(error, RuntimeError | UserError) else f"{type(error).__name__}: {error}"
