import json
from pathlib import Path
from typing import Any

import pytest
import torch

import rlmaml.training.final_evaluation
from rlmaml.base.plain_data import read_json
from rlmaml.settings.whole import configure
from rlmaml.storage.checkpoint import load_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.training.final_evaluation import evaluated_once, final_evaluation
from rlmaml.training.run import EVALUATION_SEED, evaluate_run, train
from rlmaml_envs import make_tasks_env

pytestmark = pytest.mark.usefixtures("unchecked", "plain_figures")

SETTINGS = configure(
    iterations=1,
    num_tasks=2,
    num_episodes=3,
    horizon=5,
    hidden=(4,),
    evaluation_tasks=3,
    evaluation_episodes=2,
    evaluation_steps=2,
    threads=1,
    rollout_threads=1,
)
ASKED: dict[str, Any] = {"num_tasks": 3, "num_episodes": 2, "steps": 2, "seed": EVALUATION_SEED}


def make_env(num_envs: int) -> Any:
    return make_tasks_env("Navigation2D-v0", num_envs, 5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    path = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rlmaml.training.run.write_figure", lambda *_: None)
        train(SETTINGS, make_env, path, progress=False)
    return RunDirectory(path)


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is evaluated anew, without being evaluated."""
    asked: list[dict[str, Any]] = []

    def noted(_checkpoint: object, _make_env: object, **how: Any) -> None:
        asked.append(how)

    monkeypatch.setattr(rlmaml.training.final_evaluation, "evaluate_run", noted)
    return asked


def test_what_ended_a_training_is_what_an_evaluation_of_the_same_would_give(
    trained: RunDirectory, anew: list[dict[str, Any]]
) -> None:
    checkpoint = load_checkpoint(trained.checkpoint)
    left, own = evaluated_once(trained, checkpoint, make_env, **ASKED), evaluate_run(checkpoint, make_env, **ASKED)
    assert not anew
    assert torch.equal(left.returns, own.returns)
    assert torch.equal(left.returns_with_failed, own.returns_with_failed)
    assert left.summary() == own.summary()
    assert left.task_words == own.task_words
    assert all((left.tasks[name] == own.tasks[name]).all() for name in own.tasks)
    assert left.rollouts == []


@pytest.mark.parametrize(
    "other", [{"num_tasks": 2}, {"num_episodes": 3}, {"steps": 1}, {"seed": 1}, {"actions": "mean"}], ids=str
)
def test_what_is_asked_of_other_tasks_episodes_steps_or_actions_is_evaluated_anew(
    trained: RunDirectory, anew: list[dict[str, Any]], other: dict[str, Any]
) -> None:
    evaluated_once(trained, load_checkpoint(trained.checkpoint), make_env, **ASKED | other)
    assert [{name: how[name] for name in other} for how in anew] == [other]


def test_a_policy_that_is_not_the_one_that_was_evaluated_is_evaluated_anew(
    trained: RunDirectory, anew: list[dict[str, Any]]
) -> None:
    checkpoint = load_checkpoint(trained.checkpoint)
    others = (
        checkpoint._replace(steps_taken=1),
        checkpoint._replace(iteration=2),  # gone on with, and not yet finished
        checkpoint._replace(settings=checkpoint.settings.changed(seed=1)),
        checkpoint._replace(settings=checkpoint.settings.changed(max_kl=0.5)),
    )
    for other in others:
        evaluated_once(trained, other, make_env, **ASKED)
    assert len(anew) == len(others)


def test_what_was_evaluated_on_other_tasks_than_the_family_draws_or_is_damaged_is_not_taken(
    trained: RunDirectory, tmp_path: Path
) -> None:
    checkpoint, env = load_checkpoint(trained.checkpoint), make_env(1)
    whole = read_json(trained.evaluation)
    goals = [[0.1, 0.2]] * 3
    for wrong in (
        {"tasks": {"goal": goals}},
        {"tasks": whole["tasks"] | {"more": goals}},
        {"tasks": {"goal": "here"}},
        {"tasks": None},
        {"per_task": [[0.0]]},
    ):
        copied = RunDirectory(tmp_path)
        copied.evaluation.write_text(json.dumps(whole | wrong))
        assert final_evaluation(copied, checkpoint, env) is None
    copied.evaluation.write_text(json.dumps(whole))
    assert final_evaluation(copied, checkpoint, env) is not None
    copied.evaluation.unlink()
    assert final_evaluation(copied, checkpoint, env) is None
