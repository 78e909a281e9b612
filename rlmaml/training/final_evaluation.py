"""The evaluation that ended a training, which is read again where it is of the very tasks and episodes asked for."""

import numpy as np
import torch

from rlmaml.base.errors import UserError
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.deploy.adaptable import ActionKind
from rlmaml.evaluation.evaluate import Evaluation
from rlmaml.sampling.rollout import TaskEnvironment, task_words
from rlmaml.settings.whole import differences, from_plain
from rlmaml.storage.checkpoint import Checkpoint
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.training.run import EVALUATION_SEED, MakeEnv, evaluate_run


def evaluated_once(
    directory: RunDirectory,
    checkpoint: Checkpoint,
    make_env: MakeEnv,
    *,
    num_tasks: int,
    num_episodes: int,
    steps: int,
    seed: int,
    actions: ActionKind = "sampled",
    keep_rollouts: bool = True,
) -> Evaluation:
    """The evaluation that ended a policy's training where it is of just this, or else a new one.

    Args:
        directory: of the run, or of the policy as :func:`rlmaml.storage.run_directory.beside` says.
        checkpoint: the policy.
        make_env: makes the environment.
        num_tasks: held-out tasks.
        num_episodes: episodes per task and stage.
        steps: of adaptation.
        seed: of the evaluation.
        actions: with which actions the policy is judged.
        keep_rollouts: of a new evaluation; what was sampled at the end of a training was not kept.

    Raises:
        UserError: see :func:`rlmaml.training.run.evaluate_run`.
    """
    run = checkpoint.settings.run
    asked = (run.evaluation_tasks, run.evaluation_episodes, EVALUATION_SEED, "sampled")
    if asked == (num_tasks, num_episodes, seed, actions) and not checkpoint.steps_taken:
        left = final_evaluation(directory, checkpoint, make_env(1))
        if left is not None and left.returns.shape[1] == steps + 1:
            return left
    return evaluate_run(
        *(checkpoint, make_env),
        num_tasks=num_tasks,
        num_episodes=num_episodes,
        steps=steps,
        seed=seed,
        actions=actions,
        keep_rollouts=keep_rollouts,
    )


def final_evaluation(directory: RunDirectory, checkpoint: Checkpoint, env: TaskEnvironment) -> Evaluation | None:
    """What ended the training of a policy, without what was sampled, or terms of the returns.

    Args:
        directory: of the run.
        checkpoint: the policy as it was trained.
        env: draws the tasks, which are to be those of the evaluation.

    Returns:
        None where there is none of this policy on the tasks that the family draws now, or none that can be read.
    """
    run = checkpoint.settings.run
    try:
        report = directory.read_evaluation()
    except (FileNotFoundError, UserError):
        return None
    made = from_plain(report["config"]["settings"])
    if differences(made, checkpoint.settings, counted=True) or made.run.iterations != checkpoint.iteration:
        return None
    streams = RandomStreams(EVALUATION_SEED, Phase.EVALUATION)
    tasks = env.sample_tasks(run.evaluation_tasks, streams.task_seeds(run.evaluation_tasks))
    stored = report.get("tasks")
    if not isinstance(stored, dict) or list(stored) != list(tasks):
        return None
    if not all(np.array_equal(tasks[name], stored[name]) for name in tasks):
        return None
    returns, with_failed = (
        torch.tensor(np.array(report[name], np.float64), dtype=torch.float32)
        for name in ("per_task", "per_task_with_failed")
    )
    return Evaluation(
        tasks=tasks,
        returns=returns,
        terms={},
        unstable_episodes=[],
        share_unstable=report["returns"]["share_unstable"],
        returns_with_failed=with_failed,
        rollouts=[],
        task_words=task_words(env, tasks),
    )
