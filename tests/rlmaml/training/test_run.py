import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import rlmaml.training.run
from envs import TaskVectorEnv, make_tasks_env
from rlmaml.base.errors import UserError
from rlmaml.evaluation.evaluate import Evaluation
from rlmaml.settings.config import TrainConfig
from rlmaml.storage.checkpoint import CHECKPOINT, Checkpoint, load_checkpoint, save_checkpoint
from rlmaml.training.initial import make_policy
from rlmaml.training.record import TENSORBOARD
from rlmaml.training.run import EVALUATION, FIGURE, InterruptedRunError, check_device, evaluate_run, open_run, train

ROOT = Path(__file__).parents[3]
CONFIG = TrainConfig(
    iterations=6,
    num_tasks=3,
    num_episodes=4,
    horizon=8,
    hidden=(8,),
    evaluation_tasks=2,
    evaluation_episodes=3,
    evaluation_steps=1,
    checkpoint_interval=2,
    figure_interval=4,
    learn_step_sizes=True,
    inner_loss="likelihood_ratio",
)


def make_env(num_envs: int) -> TaskVectorEnv:
    return make_tasks_env("Navigation2D-v0", num_envs, CONFIG.horizon, variant="finn2017")


class FailingEnv:
    """Navigation in which ``fail`` is called with the number of steps taken so far, and may change the reward."""

    def __init__(self, num_envs: int, fail: Callable[[int], float]) -> None:
        self._env, self._fail, self._steps = make_env(num_envs), fail, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def step(self, actions: npt.NDArray[Any]) -> tuple[Any, ...]:
        self._steps += 1
        observation, reward, *rest = self._env.step(actions)
        return observation, reward + self._fail(self._steps), *rest


def lines(run_dir: Path) -> list[dict[str, float]]:
    """Metrics without the times, which no two runs share."""
    return [
        {name: value for name, value in json.loads(line).items() if not name.startswith("seconds/")}
        for line in (run_dir / "metrics.jsonl").read_text().splitlines()
    ]


def same_theta(one: Path, other: Path) -> bool:
    a, b = load_checkpoint(one / CHECKPOINT).theta, load_checkpoint(other / CHECKPOINT).theta
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


STEPS_PER_ITERATION = 2 * CONFIG.horizon


def interrupt_after(iterations: float) -> Callable[[int], float]:
    def fail(steps: int) -> float:
        if steps == int(iterations * STEPS_PER_ITERATION):
            raise KeyboardInterrupt
        return 0.0

    return fail


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluation]:
    run_dir = tmp_path_factory.mktemp("runs") / "uninterrupted"
    return run_dir, train(CONFIG, make_env, run_dir)


def test_a_run_leaves_everything_a_user_looks_for(uninterrupted: tuple[Path, Evaluation]) -> None:
    run_dir, evaluation = uninterrupted
    assert (run_dir / FIGURE).read_bytes().startswith(b"\x89PNG")
    settings = json.loads((run_dir / "run.json").read_text())
    assert settings["config"]["num_tasks"] == 3
    assert settings["versions"]["torch"] == torch.__version__
    assert "commit" in settings
    stored = json.loads((run_dir / EVALUATION).read_text())
    assert np.allclose(np.mean(stored["per_task"], 0), stored["returns"]["mean"])
    assert stored["returns"]["mean"] == evaluation.summary()["mean"]
    assert len(stored["tasks"]["goal"]) == 2
    events = EventAccumulator(str(run_dir / "tensorboard")).Reload()
    assert len(events.Scalars("return/after_1_steps")) == 6
    assert [event.step for event in events.Images("adaptation")] == [0, 4]


def test_the_same_seed_gives_the_same_run(tmp_path: Path, uninterrupted: tuple[Path, Evaluation]) -> None:
    evaluation = train(CONFIG, make_env, tmp_path / "again")
    assert same_theta(tmp_path / "again", uninterrupted[0])
    assert lines(tmp_path / "again") == lines(uninterrupted[0])
    assert torch.equal(evaluation.returns, uninterrupted[1].returns)
    train(dataclasses.replace(CONFIG, seed=1), make_env, tmp_path / "other")
    assert not same_theta(tmp_path / "other", uninterrupted[0])


@pytest.mark.parametrize("iterations", [0.5, 3.5, 5.9])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(
    tmp_path: Path, uninterrupted: tuple[Path, Evaluation], iterations: float
) -> None:
    run_dir = tmp_path / "run"
    with pytest.raises(InterruptedRunError, match=f"Interrupted after {int(iterations)} meta-iterations"):
        train(CONFIG, lambda n: FailingEnv(n, interrupt_after(iterations)), run_dir)
    assert load_checkpoint(run_dir / CHECKPOINT).iteration == int(iterations)
    evaluation = train(CONFIG, make_env, run_dir, resume=True)
    assert same_theta(run_dir, uninterrupted[0])
    assert lines(run_dir) == lines(uninterrupted[0])
    assert torch.equal(evaluation.returns, uninterrupted[1].returns)


def test_a_crash_costs_at_most_the_iterations_since_the_last_checkpoint(
    tmp_path: Path, uninterrupted: tuple[Path, Evaluation]
) -> None:
    def fail(steps: int) -> float:
        if steps == int(3.5 * STEPS_PER_ITERATION):
            raise MemoryError
        return 0.0

    with pytest.raises(MemoryError):
        train(CONFIG, lambda n: FailingEnv(n, fail), tmp_path)
    assert load_checkpoint(tmp_path / CHECKPOINT).iteration == 2
    assert len(lines(tmp_path)) == 3
    train(CONFIG, make_env, tmp_path, resume=True)
    assert same_theta(tmp_path, uninterrupted[0])
    assert lines(tmp_path) == lines(uninterrupted[0])


def test_a_resumed_run_may_go_on_for_longer(tmp_path: Path, uninterrupted: tuple[Path, Evaluation]) -> None:
    train(dataclasses.replace(CONFIG, iterations=4), make_env, tmp_path)
    train(CONFIG, make_env, tmp_path, resume=True)
    assert same_theta(tmp_path, uninterrupted[0])


def test_an_interrupted_run_can_be_evaluated(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        train(CONFIG, lambda n: FailingEnv(n, interrupt_after(3.5)), tmp_path)
    checkpoint = load_checkpoint(tmp_path / CHECKPOINT)
    evaluation = evaluate_run(checkpoint, make_env, num_tasks=2, num_episodes=3, steps=2, seed=5)
    assert evaluation.returns.shape == (2, 3)


def test_a_reward_that_is_nan_stops_the_run_names_the_iteration_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    def fail(steps: int) -> float:
        return float("nan") if steps == int(3.5 * STEPS_PER_ITERATION) else 0.0

    with pytest.raises(UserError, match=r"meta-iteration 3: The reward in a rollout became NaN .* last checkpoint"):
        train(CONFIG, lambda n: FailingEnv(n, fail), tmp_path)
    assert load_checkpoint(tmp_path / CHECKPOINT).iteration == 2


def test_a_directory_that_holds_a_run_is_refused_and_left_alone(
    tmp_path: Path, uninterrupted: tuple[Path, Evaluation]
) -> None:
    run_dir = uninterrupted[0]
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"already holds a run.*Continue it with --resume, delete it with --overwrite"):
        train(CONFIG, make_env, run_dir)
    with pytest.raises(UserError, match=r"--max-kl was 0.01 and is now 0.02"):
        train(dataclasses.replace(CONFIG, max_kl=0.02), make_env, run_dir, resume=True)
    with pytest.raises(UserError, match="exclude each other"):
        train(CONFIG, make_env, run_dir, resume=True, overwrite=True)
    assert before == {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}


def test_overwrite_begins_anew_and_spares_files_that_are_not_the_runs(tmp_path: Path) -> None:
    train(CONFIG, make_env, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    train(dataclasses.replace(CONFIG, iterations=2, max_kl=0.02), make_env, tmp_path, overwrite=True)
    assert load_checkpoint(tmp_path / CHECKPOINT).iteration == 2
    assert len(lines(tmp_path)) == 2
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_resume_without_a_run_begins_one(tmp_path: Path, uninterrupted: tuple[Path, Evaluation]) -> None:
    train(CONFIG, make_env, tmp_path / "new", resume=True)
    assert same_theta(tmp_path / "new", uninterrupted[0])


def test_a_run_directory_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="Cannot write"):
        train(CONFIG, make_env, tmp_path / "file" / "run")


def test_a_disk_that_fills_up_stops_the_run_and_keeps_the_earlier_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def save(path: Path, checkpoint: Checkpoint) -> None:
        if checkpoint.iteration == 4:
            monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, os.strerror(28))))
        save_checkpoint(path, checkpoint)

    monkeypatch.setattr(rlmaml.training.run, "save_checkpoint", save)
    with pytest.raises(UserError, match=r"No space left on device. What was saved before is intact"):
        train(CONFIG, make_env, tmp_path)
    assert load_checkpoint(tmp_path / CHECKPOINT).iteration == 2


def test_a_device_that_is_not_there_is_refused() -> None:
    for name, reason in (("gpu", "it must be cpu"), ("meta", "it must be cpu"), ("cuda:99", "not available here")):
        with pytest.raises(UserError, match=reason):
            check_device(name)


@pytest.mark.parametrize("limit", [3_000, 20_000, 100_000])
def test_a_disk_that_is_full_ends_the_run_with_one_sentence(tmp_path: Path, limit: int) -> None:
    code = f"""
import resource, signal
from pathlib import Path
from rlmaml.base.command import run_command
from rlmaml.training.run import train
from tests.rlmaml.training.test_run import CONFIG, make_env
import dataclasses
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
config = dataclasses.replace(CONFIG, iterations=200, figure_interval=5)
run_command(lambda: train(config, make_env, Path({str(tmp_path)!r})))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert "error: Cannot write" in result.stderr


def test_files_named_like_those_of_a_run_are_not_deleted_unasked(tmp_path: Path) -> None:
    for name in ("tensorboard/a", "evaluation.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("precious")
    for resume in (False, True):
        with pytest.raises(UserError, match=r"files named like those of one: evaluation\.json, tensorboard"):
            train(CONFIG, make_env, tmp_path, resume=resume)
    assert (tmp_path / "tensorboard" / "a").read_text() == "precious"


def test_a_run_killed_before_its_first_interval_is_resumed_only_as_what_it_is(tmp_path: Path) -> None:
    rare = dataclasses.replace(CONFIG, checkpoint_interval=1000)
    env = make_env(CONFIG.num_tasks * CONFIG.num_episodes)
    open_run(rare, make_policy(rare, env), tmp_path, resume=False, overwrite=False)
    with pytest.raises(UserError, match="--seed was 0 and is now 5"):
        train(dataclasses.replace(rare, seed=5), make_env, tmp_path, resume=True)


def test_a_resumed_run_cannot_be_made_shorter(tmp_path: Path, uninterrupted: tuple[Path, Evaluation]) -> None:
    shutil.copytree(uninterrupted[0], tmp_path / "run")
    with pytest.raises(UserError, match="has done 6 already"):
        train(dataclasses.replace(CONFIG, iterations=3), make_env, tmp_path / "run", resume=True)


def test_a_checkpoint_of_another_variant_s_size_is_refused(uninterrupted: tuple[Path, Evaluation]) -> None:
    checkpoint = load_checkpoint(uninterrupted[0] / CHECKPOINT)

    def make_other(num_envs: int) -> TaskVectorEnv:
        return make_tasks_env("Navigation2D-v0", num_envs, CONFIG.horizon, observe_task=True)

    with pytest.raises(UserError, match=r"layer0\.weight has shape \(8, 2\), and \(8, 4\) is needed"):
        evaluate_run(checkpoint, make_other, num_tasks=1, num_episodes=1, steps=1, seed=0)


def test_videos_are_made_at_their_interval_and_change_nothing(
    tmp_path: Path, uninterrupted: tuple[Path, Evaluation]
) -> None:
    def make_scene() -> TaskVectorEnv:
        return make_tasks_env("Navigation2D-v0", 1, CONFIG.horizon, render_mode="rgb_array")

    train(dataclasses.replace(CONFIG, video_interval=2), make_env, tmp_path, make_scene=make_scene)
    assert same_theta(tmp_path, uninterrupted[0])
    events = EventAccumulator(str(tmp_path / TENSORBOARD)).Reload()
    assert [image.step for image in events.Images("video")] == list(range(2, CONFIG.iterations + 1, 2))


def test_where_nothing_can_be_drawn_a_warning_says_so_once_and_training_goes_on(tmp_path: Path) -> None:
    def make_scene() -> TaskVectorEnv:
        raise RuntimeError("no OpenGL")

    with pytest.warns(UserWarning, match="No videos in TensorBoard: no OpenGL") as caught:
        train(dataclasses.replace(CONFIG, video_interval=1), make_env, tmp_path, make_scene=make_scene)
    assert len(caught) == 1


def test_a_video_that_cannot_be_made_of_its_episodes_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise UserError("every reward is 0")

    monkeypatch.setattr("rlmaml.training.run.film_progress", refuse)
    config = dataclasses.replace(CONFIG, video_interval=1)
    with pytest.warns(UserWarning, match="No video of meta-iteration [1-9]: every reward is 0") as caught:
        train(config, make_env, tmp_path, make_scene=lambda: make_env(1))
    assert len(caught) == CONFIG.iterations


def test_a_run_that_cannot_start_spares_the_one_it_would_replace(tmp_path: Path) -> None:
    train(CONFIG, make_env, tmp_path)
    before = load_checkpoint(tmp_path / CHECKPOINT).theta
    with pytest.raises(UserError, match="no checkpoint at nowhere"):
        train(dataclasses.replace(CONFIG, start_from="nowhere"), make_env, tmp_path, overwrite=True)
    after = load_checkpoint(tmp_path / CHECKPOINT).theta
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_resumed_run_remembers_the_commits_that_it_was_trained_at(
    tmp_path: Path, uninterrupted: tuple[Path, Evaluation]
) -> None:
    shutil.copytree(uninterrupted[0], tmp_path / "run")
    began = json.loads((tmp_path / "run" / "run.json").read_text())
    assert "earlier_commits" not in began
    train(CONFIG, make_env, tmp_path / "run", resume=True)
    train(CONFIG, make_env, tmp_path / "run", resume=True)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["earlier_commits"] == 2 * [began["commit"]]
