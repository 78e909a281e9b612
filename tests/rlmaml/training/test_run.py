import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

import rlmaml.storage.kept_checkpoints
import rlmaml.training.run
from rlmaml.base.errors import UserError
from rlmaml.base.lost_updates import LostUpdates
from rlmaml.base.plain_data import read_json
from rlmaml.base.stopping import InterruptedRunError, StoppedRunError
from rlmaml.core.types import Meta
from rlmaml.deploy.adaptable import load
from rlmaml.deploy.driver import Driver
from rlmaml.evaluation.evaluate import Evaluation
from rlmaml.rules.search_rule import Search
from rlmaml.settings.search import SearchSettings
from rlmaml.settings.whole import Settings, as_method, configure
from rlmaml.storage.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.terminal.command import run_command
from rlmaml.training.begin import make_method
from rlmaml.training.opening import open_run
from rlmaml.training.record import Recorder
from rlmaml.training.run import (
    VALIDATION_SEED,
    MakeEnv,
    check_devices,
    configured_evaluation,
    evaluate_run,
    train,
    trained_context_range,
    validation_return,
)
from rlmaml.training.train import MetaLearner
from rlmaml_envs import TaskVectorEnv, make_tasks_env
from tests.rlmaml.deploy.trained import LIVES, navigation, trained_policy
from tests.rlmaml.shapes import shapes_checked
from tests.rlmaml.training.stand_ins import (
    Corridor,
    DisturbedRewards,
    DriftingPolicy,
    FailingSimulations,
    own_module,
)

pytestmark = pytest.mark.usefixtures("unchecked")

SETTINGS = configure(
    iterations=4,
    num_tasks=3,
    num_episodes=4,
    horizon=8,
    hidden=(8,),
    evaluation_tasks=2,
    evaluation_episodes=3,
    evaluation_steps=1,
    checkpoint_interval=2,
    figure_interval=0,
    learn_step_sizes=True,
    inner_loss="likelihood_ratio",
    cg_iterations=4,
    threads=1,
)
HORIZON = 8


def make_env(num_envs: int) -> TaskVectorEnv:
    return make_tasks_env("Navigation2D-v0", num_envs, HORIZON, variant="finn2017")


def disturbed(disturb: Callable[[int], float]) -> Callable[[int], Any]:
    return lambda num_envs: DisturbedRewards(make_env(num_envs), disturb)


def fail_after(iterations: float, failure: BaseException, stages: int = 2) -> Callable[[int], float]:
    """Raises in the midst of a meta-iteration."""

    def fail(steps: int) -> float:
        if steps == int(iterations * stages * HORIZON):
            raise failure
        return 0.0

    return fail


def lines(run_dir: Path) -> list[dict[str, float]]:
    """Metrics without the times, which no two runs share."""
    return [
        {name: value for name, value in line.items() if not name.startswith("seconds/")}
        for line in RunDirectory(run_dir).read_metrics()
    ]


def stored(run_dir: Path) -> Checkpoint:
    return load_checkpoint(RunDirectory(run_dir).checkpoint)


def written(run_dir: Path) -> dict[str, Any]:
    """What is written beside a run's results."""
    return read_json(RunDirectory(run_dir).settings)


def same_learned(one: Path, other: Path) -> bool:
    a, b = stored(one), stored(other)
    return all(
        list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)
        for ours, theirs in zip((*a.meta, a.state), (*b.meta, b.state), strict=True)
    )


def assert_same_run(one: Path, other: Path) -> None:
    """Bit for bit: the checkpoint with all that it holds, the metrics without the times, the evaluation."""
    assert RunDirectory(one).checkpoint.read_bytes() == RunDirectory(other).checkpoint.read_bytes()
    assert lines(one) == lines(other)
    ours, theirs = (RunDirectory(run_dir).read_evaluation() for run_dir in (one, other))
    assert ours["per_task"] == theirs["per_task"]
    assert ours["tasks"] == theirs["tasks"]


def returns_of(evaluation: Evaluation | None) -> torch.Tensor:
    assert evaluation is not None
    return evaluation.returns


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluation]:
    run_dir = tmp_path_factory.mktemp("runs") / "uninterrupted"
    evaluation = train(SETTINGS.changed(figure_interval=3), make_env, run_dir)
    assert evaluation is not None
    return run_dir, evaluation


@pytest.fixture
def copied(tmp_path: Path, uninterrupted: tuple[Path, Evaluation]) -> Path:
    """A directory that holds a finished run."""
    shutil.copytree(uninterrupted[0], tmp_path / "copied")
    return tmp_path / "copied"


def test_a_run_leaves_everything_a_user_looks_for(uninterrupted: tuple[Path, Evaluation]) -> None:
    run_dir, evaluation = uninterrupted
    directory = RunDirectory(run_dir)
    assert directory.figure.read_bytes().startswith(b"\x89PNG")
    assert not directory.best.exists()  # which is asked for
    settings = written(run_dir)
    assert settings["settings"]["run"]["num_tasks"] == 3
    assert settings["settings"]["algorithm"] == "maml-trpo"
    assert settings["versions"]["torch"] == torch.__version__
    assert "commit" in settings
    plain = directory.read_evaluation()
    assert np.allclose(np.mean(plain["per_task"], 0), plain["returns"]["mean"])
    assert plain["returns"]["mean"] == evaluation.summary()["mean"]
    assert plain["config"] == settings
    assert len(plain["tasks"]["goal"]) == 2
    events = EventAccumulator(str(directory.path)).Reload()
    assert len(events.Scalars("return/after_1_steps")) == 4
    assert [event.step for event in events.Images("adaptation")] == [0, 3]


def test_the_horizon_of_the_environment_is_written_down_where_none_was_given(
    tmp_path: Path, uninterrupted: tuple[Path, Evaluation]
) -> None:
    assert configure().run.horizon is None
    train(SETTINGS.changed(horizon=None, iterations=0), make_env, tmp_path)
    assert stored(tmp_path).settings.run.horizon == HORIZON
    assert written(tmp_path)["settings"]["run"]["horizon"] == HORIZON


def test_the_same_seed_gives_the_same_run_and_another_seed_another(
    tmp_path: Path, uninterrupted: tuple[Path, Evaluation]
) -> None:
    evaluation = train(SETTINGS, make_env, tmp_path / "again", resume=True)
    assert same_learned(tmp_path / "again", uninterrupted[0])
    assert lines(tmp_path / "again") == lines(uninterrupted[0])
    assert torch.equal(returns_of(evaluation), uninterrupted[1].returns)
    train(SETTINGS.changed(seed=1), make_env, tmp_path / "other")
    assert not same_learned(tmp_path / "other", uninterrupted[0])


@pytest.mark.parametrize("iterations", [0.5, 3.9])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(
    tmp_path: Path, uninterrupted: tuple[Path, Evaluation], iterations: float
) -> None:
    with pytest.raises(InterruptedRunError, match=f"Interrupted after {int(iterations)} meta-iterations?"):
        train(SETTINGS, disturbed(fail_after(iterations, KeyboardInterrupt())), tmp_path)
    assert stored(tmp_path).iteration == int(iterations)
    checkpoint = stored(tmp_path)
    early = evaluate_run(checkpoint, make_env, num_tasks=2, num_episodes=3, steps=2, seed=5)
    assert early.returns.shape == (2, 3)
    evaluation = train(SETTINGS, make_env, tmp_path, resume=True)
    assert same_learned(tmp_path, uninterrupted[0])
    assert lines(tmp_path) == lines(uninterrupted[0])
    assert torch.equal(returns_of(evaluation), uninterrupted[1].returns)


def test_minibatches_of_trials_and_the_moments_of_their_steps_go_on_where_a_training_with_memory_was(
    tmp_path: Path,
) -> None:
    settings = configure(
        "rl2", iterations=3, num_tasks=4, num_episodes=1, horizon=8, hidden=(4,), memory=3, minibatches=2, epochs=2
    ).changed(evaluation_tasks=1, evaluation_episodes=1, evaluation_steps=0, figure_interval=0, threads=1)
    train(settings, make_env, tmp_path / "whole")
    with pytest.raises(InterruptedRunError, match="Interrupted after 2 meta-iterations"):
        train(settings, disturbed(fail_after(2.5, KeyboardInterrupt())), tmp_path / "resumed")
    assert not same_learned(tmp_path / "resumed", tmp_path / "whole")
    train(settings, make_env, tmp_path / "resumed", resume=True)
    assert same_learned(tmp_path / "resumed", tmp_path / "whole")
    assert lines(tmp_path / "resumed") == lines(tmp_path / "whole")


def test_a_run_whose_evaluation_is_interrupted_says_so_and_is_evaluated_when_it_is_resumed(
    tmp_path: Path, uninterrupted: tuple[Path, Evaluation], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rlmaml.training.run.configured_evaluation", interrupt)
        with pytest.raises(InterruptedRunError, match=r"Interrupted in the evaluation\..*--resume evaluates it"):
            train(SETTINGS, make_env, tmp_path)
    assert stored(tmp_path).iteration == 4
    assert not RunDirectory(tmp_path).evaluation.exists()
    evaluation = train(SETTINGS, make_env, tmp_path, resume=True)
    assert torch.equal(returns_of(evaluation), uninterrupted[1].returns)
    assert lines(tmp_path) == lines(uninterrupted[0])


def signalled(iterations: float, *numbers: signal.Signals) -> Callable[[int], float]:
    """Signals in the midst of a meta-iteration."""

    def send(steps: int) -> float:
        if steps == int(iterations * 2 * HORIZON):
            for number in numbers:
                signal.raise_signal(number)
        return 0.0

    return send


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_after_its_meta_iteration_and_it_can_be_gone_on_with(
    tmp_path: Path, uninterrupted: tuple[Path, Evaluation], number: signal.Signals
) -> None:
    before = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(
            StoppedRunError, match=f"Stopped by {number.name} after 3 meta-iterations.*--resume"
        ) as ended:
            train(SETTINGS, disturbed(signalled(2.5, number)), tmp_path)
        assert ended.value.exit_code == 75
        assert signal.getsignal(number) == signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert stored(tmp_path).iteration == len(lines(tmp_path)) == 3
    train(SETTINGS, make_env, tmp_path, resume=True)
    assert same_learned(tmp_path, uninterrupted[0])
    assert lines(tmp_path) == lines(uninterrupted[0])


def test_the_second_signal_stops_at_once(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError, match="Interrupted after 2 meta-iterations") as ended:
        train(SETTINGS, disturbed(signalled(2.5, signal.SIGINT, signal.SIGINT)), tmp_path)
    assert isinstance(ended.value.__cause__, KeyboardInterrupt)
    assert stored(tmp_path).iteration == 2


def test_a_run_ends_after_its_time_and_goes_on_for_as_long_again(
    tmp_path: Path, uninterrupted: tuple[Path, Evaluation]
) -> None:
    for done in (1, 2, 3, 4):  # no time at all is enough for one meta-iteration
        with pytest.raises(StoppedRunError, match=f"Stopped by --stop-after 1e-09 after {done} meta-iterations?"):
            train(SETTINGS, make_env, tmp_path, resume=True, stop_after=1e-9)
    assert not RunDirectory(tmp_path).evaluation.exists()
    train(SETTINGS, make_env, tmp_path, resume=True, stop_after=1000.0)
    assert same_learned(tmp_path, uninterrupted[0])
    assert lines(tmp_path) == lines(uninterrupted[0])
    with pytest.raises(UserError, match="--stop-after is 0"):
        train(SETTINGS, make_env, tmp_path / "other", stop_after=0.0)


def test_two_trainings_in_one_directory_never_mix(tmp_path: Path) -> None:
    def begin_another(steps: int) -> float:
        if steps == HORIZON:
            every: list[dict[str, Any]] = [{}, {"resume": True}, {"overwrite": True}]
            for options in every:
                with pytest.raises(UserError, match="Another process is training in"):
                    train(SETTINGS.changed(seed=1), make_env, tmp_path, **options)
        return 0.0

    train(SETTINGS, disturbed(begin_another), tmp_path)
    assert stored(tmp_path).settings.run.seed == 0
    assert written(tmp_path)["settings"]["run"]["seed"] == 0
    assert len(lines(tmp_path)) == 4


@pytest.mark.parametrize("failure", [MemoryError(), ZeroDivisionError()])
def test_an_error_of_any_kind_costs_its_own_meta_iteration_alone_and_says_so(
    tmp_path: Path, uninterrupted: tuple[Path, Evaluation], failure: Exception
) -> None:
    with pytest.raises((type(failure), UserError)) as ended:
        train(SETTINGS, disturbed(fail_after(3.5, failure)), tmp_path)
    said = "\n".join([str(ended.value), *getattr(ended.value, "__notes__", ())])
    assert f"{tmp_path} holds the run after 3 meta-iterations; --resume continues it." in said
    assert stored(tmp_path).iteration == len(lines(tmp_path)) == 3
    train(SETTINGS, make_env, tmp_path, resume=True)
    assert same_learned(tmp_path, uninterrupted[0])
    assert lines(tmp_path) == lines(uninterrupted[0])


def test_a_resumed_run_may_go_on_for_longer(tmp_path: Path, uninterrupted: tuple[Path, Evaluation]) -> None:
    train(SETTINGS.changed(iterations=3), make_env, tmp_path)
    train(SETTINGS, make_env, tmp_path, resume=True)
    assert same_learned(tmp_path, uninterrupted[0])


def test_a_damaged_checkpoint_costs_the_iterations_since_the_one_before_and_nothing_else(
    tmp_path: Path, uninterrupted: tuple[Path, Evaluation]
) -> None:
    with pytest.raises(InterruptedRunError):
        train(SETTINGS, disturbed(fail_after(3.5, KeyboardInterrupt())), tmp_path)
    directory = RunDirectory(tmp_path)
    content = directory.checkpoint.read_bytes()
    for damaged in (content[:-1] + bytes([content[-1] ^ 1]), content[:100], b""):
        directory.checkpoint.unlink()
        directory.checkpoint.write_bytes(damaged)
        with pytest.warns(UserWarning, match="Used instead: .* after 2 meta-iterations"):
            assert load(tmp_path).iteration == 2
    with pytest.warns(UserWarning, match="Used instead: .* after 2 meta-iterations"):
        train(SETTINGS, make_env, tmp_path, resume=True)
    assert same_learned(tmp_path, uninterrupted[0])
    assert lines(tmp_path) == lines(uninterrupted[0])


@pytest.mark.parametrize("kept", [None, 0, 2, 3])
def test_metrics_that_are_missing_or_damaged_are_noticed_and_leave_no_gap(
    tmp_path: Path, uninterrupted: tuple[Path, Evaluation], kept: int | None
) -> None:
    with pytest.raises(InterruptedRunError):
        train(SETTINGS, disturbed(fail_after(3.5, KeyboardInterrupt())), tmp_path)
    metrics = RunDirectory(tmp_path).metrics
    sound = metrics.read_bytes().splitlines(keepends=True)
    metrics.unlink()
    if kept is not None:
        metrics.write_bytes(b"".join(sound[:kept]) + b'{"iteration": NaN}\n')
    if kept == 3:
        train(SETTINGS, make_env, tmp_path, resume=True)
    elif kept == 2:
        with pytest.warns(UserWarning, match=r"has done 3 meta-iterations, but .*metrics\.jsonl tells of the first 2"):
            train(SETTINGS, make_env, tmp_path, resume=True)
    else:
        with pytest.raises(UserError, match=r"has done 3 meta-iterations, but .* tells of the first 0 alone"):
            train(SETTINGS, make_env, tmp_path, resume=True)
        assert load(tmp_path).iteration == 3
        return
    assert same_learned(tmp_path, uninterrupted[0])
    assert lines(tmp_path) == lines(uninterrupted[0])
    shown = EventAccumulator(str(tmp_path)).Reload().Scalars("return/after_0_steps")
    assert [point.step for point in shown] == [0, 1, 2, 3]


def test_a_crash_between_checkpoints_leaves_tensorboard_without_gaps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    sync = Recorder.sync

    def sync_and_count(recorder: Recorder) -> None:
        sync(recorder)
        files = EventAccumulator(str(tmp_path)).Reload()
        synced.append(len(files.Scalars("seconds/rollout")))  # which are written last

    def slowly(writer: RecordWriter, record: bytes) -> None:
        time.sleep(0.01)  # TensorBoard's thread is behind
        write(writer, record)

    write = RecordWriter.write
    monkeypatch.setattr(RecordWriter, "write", slowly)
    monkeypatch.setattr(Recorder, "sync", sync_and_count)
    train(SETTINGS, make_env, tmp_path)
    assert synced == [2, 4]  # all that a checkpoint has done is on the disk before it


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that keeps the best checkpoint on validation tasks."""
    run_dir = tmp_path_factory.mktemp("runs") / "validated"
    train(SETTINGS.changed(validation_interval=1, iterations=1), make_env, run_dir)
    return run_dir


def test_a_best_checkpoint_of_another_run_is_refused_by_name(tmp_path: Path, validated: Path) -> None:
    shutil.copytree(validated, tmp_path / "run")
    best = RunDirectory(tmp_path / "run").best
    ours = load_checkpoint(best)
    save_checkpoint(best, ours._replace(settings=ours.settings.changed(seed=1)))
    settings = SETTINGS.changed(validation_interval=1, iterations=2)
    with pytest.raises(UserError, match=r"best\.safetensors is not of the run in .*another configuration.*seed"):
        train(settings, make_env, tmp_path / "run", resume=True)
    wide = {name: torch.zeros(3) for name in ours.meta.params}
    save_checkpoint(best, ours._replace(meta=ours.meta._replace(params=wide)))
    with pytest.raises(UserError, match=r"best\.safetensors is not of the run in .*does not fit"):
        train(settings, make_env, tmp_path / "run", resume=True)


def test_a_damaged_best_checkpoint_is_told_of_and_found_anew(tmp_path: Path, validated: Path) -> None:
    shutil.copytree(validated, tmp_path / "run")
    best = RunDirectory(tmp_path / "run").best
    best.write_bytes(best.read_bytes()[:-5])
    with pytest.warns(UserWarning, match=r"best\.safetensors is truncated.*looked for anew"):
        train(SETTINGS.changed(validation_interval=1, iterations=2), make_env, tmp_path / "run", resume=True)
    assert load_checkpoint(best).iteration == 2


def test_the_best_checkpoint_on_validation_tasks_is_kept_and_found_again_on_resume(tmp_path: Path) -> None:
    settings = SETTINGS.changed(validation_interval=1)
    returns = iter([-3.0, -1.0, -1.0, -2.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rlmaml.training.run, "validation_return", lambda *_: next(returns))
        train(settings, make_env, tmp_path)
    directory = RunDirectory(tmp_path)
    assert load_checkpoint(directory.best).iteration == 2
    reached: dict[int, float] = {2: -1.0, 5: -1.5, 6: -0.5}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rlmaml.training.run, "validation_return", lambda kept, _: reached[kept.iteration])
        train(settings.changed(iterations=5), make_env, tmp_path, resume=True)
        assert load_checkpoint(directory.best).iteration == 2
        train(settings.changed(iterations=6), make_env, tmp_path, resume=True)
    assert load_checkpoint(directory.best).iteration == 6
    expected = configured_evaluation(stored(tmp_path), make_env, VALIDATION_SEED)
    assert validation_return(stored(tmp_path), make_env) == float(expected.returns_with_failed[:, -1].mean())


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (lambda weight: weight.double(), "is of torch.float64, and torch.float32 is needed"),
        (lambda weight: weight * float("nan"), "holds NaN or infinite numbers"),
        (lambda weight: weight[:-1], "has shape"),
        (None, "is missing"),
    ],
    ids=["type", "finiteness", "shape", "name"],
)
@pytest.mark.parametrize("section", ["params", "rates", "state"])
def test_a_checkpoint_that_is_not_what_its_settings_say_is_refused_by_load_and_resume_alike(
    tmp_path: Path, tensor: Callable[[torch.Tensor], torch.Tensor] | None, said: str, section: str
) -> None:
    settings = as_method(SETTINGS, "promp", "gaussian").changed(iterations=1)
    train(settings, make_env, tmp_path)
    checkpoint = stored(tmp_path)
    entries = dict(checkpoint.state if section == "state" else checkpoint.meta._asdict()[section])
    name = next(name for name, entry in entries.items() if entry.dim())
    changed = entries.pop(name)
    if tensor is not None:
        entries[name] = tensor(changed)
    damaged = (
        checkpoint._replace(state=entries)
        if section == "state"
        else checkpoint._replace(meta=checkpoint.meta._replace(**{section: entries}))
    )
    directory = RunDirectory(tmp_path)
    save_checkpoint(directory.checkpoint, damaged)
    shutil.rmtree(directory.earlier)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(UserError, match=said):
        train(settings, make_env, tmp_path, resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before, "nothing was written before"
    if section != "state" or "NaN" in said:  # what adapts needs no state of the meta-algorithm
        with pytest.raises(UserError, match=said):
            load(tmp_path)


def test_a_checkpoint_of_another_family_is_refused_by_name(tmp_path: Path, copied: Path) -> None:
    save_checkpoint(
        RunDirectory(copied).checkpoint,
        stored(copied)._replace(settings=SETTINGS.changed(env_id="HalfCheetahDir-v0")),
    )
    with pytest.raises(UserError, match="--env-id was 'HalfCheetahDir-v0' and is now 'Navigation2D-v0'"):
        train(SETTINGS, make_env, copied, resume=True)


def test_a_link_that_somebody_planted_in_a_run_is_not_followed(tmp_path: Path, copied: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    directory = RunDirectory(copied)
    for path in (directory.checkpoint, directory.metrics, directory.settings, directory.evaluation, directory.figure):
        (copied / f".{path.name}.partial").symlink_to(tmp_path / "victim")
    train(SETTINGS.changed(iterations=5), make_env, copied, resume=True)
    assert (tmp_path / "victim").read_text() == "precious"


WHOLE = configure(
    iterations=3,
    num_tasks=2,
    num_episodes=3,
    horizon=HORIZON,
    hidden=(5,),
    inner_step_sizes=(0.3,),
    evaluation_tasks=2,
    evaluation_episodes=2,
    evaluation_steps=2,
    figure_interval=0,
    cg_iterations=3,
    threads=1,
)
OWN = "OWN"
"""Stands for a torch module in a file that is written for the test."""
RUNS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a policy with a memory": ("maml-trpo", "gru", {"memory": 3}),
    "a module of one's own": ("maml-trpo", OWN, {}),
    "choices": ("maml-trpo", "categorical", {}),
    "first order": ("fomaml", "gaussian", {"learn_step_sizes": True}),
    "reptile": ("reptile", "gaussian", {}),
    "reptile with a memory, with Adam, showing the last stage": (
        "reptile",
        "gru",
        {"memory": 3, "outer_step": "adam", "sample_last_stage": True},
    ),
}


@pytest.mark.parametrize(("algorithm", "policy", "changes"), RUNS.values(), ids=RUNS)
def test_every_method_and_kind_of_policy_goes_through_a_whole_run(
    tmp_path: Path, algorithm: str, policy: str, changes: dict[str, Any]
) -> None:
    kind = own_module(tmp_path) if policy == OWN else policy
    settings = as_method(WHOLE, algorithm, kind).changed(**changes)
    make: MakeEnv = (lambda num_envs: Corridor(num_envs, HORIZON)) if policy == "categorical" else make_env
    stages = 1 + (algorithm != "reptile" or changes.get("sample_last_stage", False))
    whole, parts = tmp_path / "whole", tmp_path / "parts"

    with shapes_checked(True):
        evaluation = train(settings, make, whole)
    failing = lambda num_envs: DisturbedRewards(make(num_envs), fail_after(1.5, KeyboardInterrupt(), stages))
    with pytest.raises(InterruptedRunError, match="Interrupted after 1 meta-iteration"):
        train(settings, failing, parts)
    train(settings, make, parts, resume=True)
    assert_same_run(whole, parts)

    seen = [name for name in lines(whole)[0] if name.startswith("return/")]
    assert seen == [f"return/after_{k}_steps" for k in range(stages)]
    checkpoint = stored(whole)
    assert checkpoint.settings.as_plain() == settings.as_plain()
    assert checkpoint.iteration == 3
    if changes.get("outer_step") == "adam":
        assert checkpoint.state["step"] == 3
        moments = {name for name in checkpoint.state if name != "step"}
        assert moments == {f"{m}/{name}" for m in ("exp_avg", "exp_avg_sq") for name in checkpoint.meta.params}
        assert all(checkpoint.state[name].any() for name in moments)
    else:
        assert checkpoint.state == {}

    again = evaluate_run(checkpoint, make, num_tasks=2, num_episodes=2, steps=2, seed=10_000)
    assert torch.equal(again.returns, returns_of(evaluation))
    assert returns_of(evaluation).shape == (2, 3)
    assert not torch.equal(again.rollouts[0].actions, again.rollouts[1].actions)

    if policy != "categorical":  # a recording holds controls, and no choices
        env = make(4)
        trained = load(whole)
        env.set_tasks({name: values[:1] for name, values in again.tasks.items()})
        adapted = trained.adapt(trained.record(env, seed=3))
        assert adapted.steps_taken == 1
        moved = {name for name, tensor in adapted.weights.items() if not torch.equal(tensor, trained.weights[name])}
        assert moved == set(trained.weights)
        assert all(tensor.isfinite().all() for tensor in adapted.weights.values())


def test_what_a_policy_has_lived_through_is_what_its_evaluation_begins_with() -> None:
    policy = trained_policy(LIVES)
    generator = torch.Generator().manual_seed(0)
    moved = {n: tensor + 0.5 * torch.randn(tensor.shape, generator=generator) for n, tensor in policy.weights.items()}
    policy = replace(policy, meta=Meta(moved, {}))
    adapted = policy.adapt(policy.record(navigation(), 0))
    fresh, lived = (
        evaluate_run(one.checkpoint, navigation, num_tasks=2, num_episodes=3, steps=1, seed=5, actions="mean")
        for one in (policy, adapted)
    )
    assert not torch.allclose(fresh.returns[:, 0], lived.returns[:, 0])
    first = lived.rollouts[0]
    driver = Driver(adapted, copies=6)
    acted = driver.act(first.observations[:, :, 0].reshape(6, -1).numpy()).reshape(2, 3, -1)
    np.testing.assert_allclose(acted, first.actions[:, :, 0].numpy(), atol=1e-6)
    with pytest.raises(UserError, match="knows nothing of its memory"):
        evaluate_run(adapted.checkpoint, navigation, num_tasks=2, num_episodes=3, steps=1, seed=5, trust_region=0.1)


def test_a_module_of_one_s_own_is_run_only_where_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = f"{tmp_path / 'never_asked_for.py'}:Bent"
    with pytest.raises(UserError, match="Say that its code may be run"):
        train(as_method(WHOLE, "maml-trpo", kind), make_env, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_reward_that_is_nan_stops_the_run_names_the_iteration_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    poison = lambda steps: float("nan") if steps == int(3.5 * 2 * HORIZON) else 0.0
    said = r"meta-iteration 3: a meta-update was lost .*The reward in a rollout became NaN .* last checkpoint"
    with pytest.raises(UserError, match=said):
        train(SETTINGS.changed(patience=1), disturbed(poison), tmp_path)
    assert stored(tmp_path).iteration == 2


def test_a_lost_update_is_counted_in_metrics_and_checkpoints_and_a_resumed_run_counts_on(tmp_path: Path) -> None:
    poison = lambda steps: float("nan") if steps == HORIZON else 0.0
    disturbed_in_training = lambda n: (disturbed(poison) if n == 12 else make_env)(n)
    with pytest.warns(UserWarning, match="meta-update was lost"):
        train(SETTINGS.changed(iterations=2), disturbed_in_training, tmp_path)
    train(SETTINGS, make_env, tmp_path, resume=True)
    told = RunDirectory(tmp_path).read_metrics()
    assert [line["updates_lost/total"] for line in told] == [1.0] * 4
    assert [line["updates_lost/in_a_row"] for line in told] == [1.0, 0.0, 0.0, 0.0]
    assert [line["return/after_1_steps"] is None for line in told] == [True, False, False, False]
    assert stored(tmp_path).lost == LostUpdates(1, 0)
    points = EventAccumulator(str(tmp_path)).Reload().Scalars("updates_lost/total")
    assert [point.value for point in points] == [1.0] * 4


def test_a_policy_that_replays_otherwise_than_it_acted_ends_the_run_and_the_last_checkpoint_is_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: tuple[Path, Evaluation]
) -> None:
    drifting: list[DriftingPolicy] = []

    def with_drift(settings: Settings, env: Any, *rest: Any) -> MetaLearner:
        method = make_method(settings, env, *rest)
        drifting.append(DriftingPolicy(method.policy, 0.0))
        return method._replace(policy=drifting[0])

    def drift(steps: int) -> float:
        if steps == int(3.5 * 2 * HORIZON):
            drifting[0].drift = 0.1
        return 0.0

    monkeypatch.setattr(rlmaml.training.run, "make_method", with_drift)
    said = r"Stopped in meta-iteration 3: .* The policies .* are not those that sampled: log-probabilities of the same"
    cure = r"actions differ by up to 0\.\d+ nats.*or the policy or inner rule draws random numbers or keeps state"
    with pytest.raises(UserError, match=f"{said} {cure}.*holds the last checkpoint") as caught:
        train(SETTINGS.changed(patience=1), disturbed(drift), tmp_path)
    assert not isinstance(caught.value, InterruptedRunError)
    assert stored(tmp_path).iteration == 2
    assert lines(tmp_path) == lines(uninterrupted[0])[:3]
    monkeypatch.undo()
    train(SETTINGS, make_env, tmp_path, resume=True)
    assert same_learned(tmp_path, uninterrupted[0])


def test_a_run_most_of_whose_simulations_fail_is_warned_about_once_and_finishes(tmp_path: Path) -> None:
    fails = dict.fromkeys(range(3, 12), 2)
    unstable = pytest.warns(UserWarning, match="In meta-iteration 0 the simulations of 75 % .* were unstable")
    with shapes_checked(True), unstable as caught:
        evaluation = train(SETTINGS, lambda n: FailingSimulations(make_env(n), fails if n == 12 else {}), tmp_path)
    assert len(caught) == 1
    assert returns_of(evaluation).isfinite().all()
    assert [line["update/tasks_left_out"] for line in lines(tmp_path)] == [2.0] * 4
    assert all(np.isfinite(line["return/after_1_steps"]) for line in lines(tmp_path))


def test_a_directory_that_holds_a_run_is_refused_and_left_alone(uninterrupted: tuple[Path, Evaluation]) -> None:
    run_dir = uninterrupted[0]
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"already holds a run.*Continue it with --resume, delete it with --overwrite"):
        train(SETTINGS, make_env, run_dir)
    with pytest.raises(UserError, match=r"--max-kl was 0.01 and is now 0.02"):
        train(SETTINGS.changed(max_kl=0.02), make_env, run_dir, resume=True)
    with pytest.raises(UserError, match=r"--algorithm was 'maml-trpo' and is now 'reptile'"):
        train(as_method(SETTINGS, "reptile", "gaussian"), make_env, run_dir, resume=True)
    with pytest.raises(UserError, match="exclude each other"):
        train(SETTINGS, make_env, run_dir, resume=True, overwrite=True)
    assert before == {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}


def test_overwrite_begins_anew_and_spares_files_that_are_not_the_runs(copied: Path) -> None:
    (copied / "notes.txt").write_text("mine")
    train(SETTINGS.changed(iterations=1, max_kl=0.02), make_env, copied, overwrite=True)
    assert stored(copied).iteration == 1
    assert len(lines(copied)) == 1
    assert (copied / "notes.txt").read_text() == "mine"


def test_a_run_directory_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="Cannot write"):
        train(SETTINGS, make_env, tmp_path / "file" / "run")


def test_a_disk_that_fills_up_stops_the_run_and_keeps_the_earlier_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def save(path: Path, checkpoint: Checkpoint) -> None:
        if checkpoint.iteration == 4:
            monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, os.strerror(28))))
        save_checkpoint(path, checkpoint)

    monkeypatch.setattr(rlmaml.storage.kept_checkpoints, "save_checkpoint", save)
    with pytest.raises(UserError, match=r"No space left on device. What was saved before is intact"):
        train(SETTINGS, make_env, tmp_path)
    assert stored(tmp_path).iteration == 2


@pytest.mark.parametrize("name", ["device", "rollout_device"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    for device, reason in (("gpu", "it must be cpu"), ("meta", "it must be cpu"), ("cuda:99", "not available here")):
        with pytest.raises(UserError, match=f"--{name.replace('_', '-')} is '{device}'.*{reason}"):
            check_devices(configure(**{name: device}).run)


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """No file grows beyond a number of bytes, as on a disk that is full."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [1_000, 2_000, 3_000, 20_000])
def test_a_disk_that_is_full_ends_the_run_with_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    settings = SETTINGS.changed(iterations=200, figure_interval=5)

    def run() -> None:
        train(settings, make_env, tmp_path)

    with no_file_beyond(size), pytest.raises(SystemExit) as ended:
        run_command(run)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.count("error: Cannot write") == 1


def test_files_named_like_those_of_a_run_are_not_deleted_unasked(tmp_path: Path) -> None:
    for name in ("events.out.tfevents.1", "evaluation.json"):
        (tmp_path / name).write_text("precious")
    for resume in (False, True):
        with pytest.raises(UserError, match=r"files named like those of one: evaluation\.json, events\.out"):
            train(SETTINGS, make_env, tmp_path, resume=resume)
    assert (tmp_path / "events.out.tfevents.1").read_text() == "precious"


def test_a_run_killed_before_its_first_interval_is_resumed_only_as_what_it_is(tmp_path: Path) -> None:
    rare = SETTINGS.changed(checkpoint_interval=1000)
    env = make_env(SETTINGS.run.num_tasks * SETTINGS.run.num_episodes)
    open_run(rare, make_method(rare, env), env, RunDirectory(tmp_path), resume=False, overwrite=False)
    with pytest.raises(UserError, match="--seed was 0 and is now 5"):
        train(rare.changed(seed=5), make_env, tmp_path, resume=True)


def test_a_resumed_run_cannot_be_made_shorter(copied: Path) -> None:
    with pytest.raises(UserError, match="has done 4 already"):
        train(SETTINGS.changed(iterations=3), make_env, copied, resume=True)


def test_a_checkpoint_of_another_variant_s_size_is_refused(uninterrupted: tuple[Path, Evaluation]) -> None:
    make_other = lambda num_envs: make_tasks_env("Navigation2D-v0", num_envs, HORIZON, observe_task=True)
    sizes = "it has observations of 2 numbers and actions of 2 numbers, and there are observations of 4 numbers and"
    for scales in ((), (1.0, 2.0)):
        checkpoint = stored(uninterrupted[0])
        settings = checkpoint.settings.changed(observation_scales=scales)
        with pytest.raises(UserError, match=rf"does not fit .*: {sizes} .*\. Choose the variant of the training"):
            evaluate_run(
                checkpoint._replace(settings=settings), make_other, num_tasks=1, num_episodes=1, steps=1, seed=0
            )


def test_an_evaluation_on_no_task_or_no_episode_is_refused(uninterrupted: tuple[Path, Evaluation]) -> None:
    sizes: dict[str, Any] = {"num_tasks": 1, "num_episodes": 1, "steps": 1, "seed": 0}
    for name, said in (("num_tasks", "--tasks is 0"), ("num_episodes", "--episodes is 0")):
        with pytest.raises(UserError, match=f"{said}; it must be a whole number of at least 1"):
            evaluate_run(stored(uninterrupted[0]), forbidden, **sizes | {name: 0})


def test_a_run_may_be_evaluated_by_steps_within_a_trust_region(uninterrupted: tuple[Path, Evaluation]) -> None:
    options: dict[str, Any] = {"num_tasks": 2, "num_episodes": 3, "steps": 1, "seed": 10_000}
    within = evaluate_run(stored(uninterrupted[0]), make_env, trust_region=0.05, **options)
    assert torch.equal(within.rollouts[0].actions, uninterrupted[1].rollouts[0].actions)
    assert not torch.equal(within.rollouts[1].actions, uninterrupted[1].rollouts[1].actions)


def test_videos_are_made_at_their_interval_and_change_nothing(
    tmp_path: Path, uninterrupted: tuple[Path, Evaluation]
) -> None:
    make_scene = lambda: make_tasks_env("Navigation2D-v0", 1, HORIZON, render_mode="rgb_array")
    train(SETTINGS.changed(video_interval=3), make_env, tmp_path, make_scene=make_scene)
    assert same_learned(tmp_path, uninterrupted[0])
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [image.step for image in events.Images("video")] == [3]


def test_where_nothing_can_be_drawn_a_warning_says_so_once_and_training_goes_on(tmp_path: Path) -> None:
    def make_scene() -> TaskVectorEnv:
        raise RuntimeError("no OpenGL")

    with pytest.warns(UserWarning, match="No videos in TensorBoard: no OpenGL") as caught:
        train(SETTINGS.changed(video_interval=1), make_env, tmp_path, make_scene=make_scene)
    assert len(caught) == 1
    assert stored(tmp_path).iteration == 4


@pytest.mark.parametrize("where", ["scene", "film"])
def test_a_picture_that_fails_in_any_way_never_ends_a_training(
    tmp_path: Path, uninterrupted: tuple[Path, Evaluation], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise IndexError("list index out of range")

    for module in ("run", "in_progress"):
        monkeypatch.setattr(f"rlmaml.training.{module}.adaptation_figure", fail)
    if where == "film":
        monkeypatch.setattr("rlmaml.training.in_progress.as_video", fail)
    scene = fail if where == "scene" else lambda: make_tasks_env("Navigation2D-v0", 1, HORIZON, render_mode="rgb_array")
    settings = SETTINGS.changed(video_interval=1, figure_interval=1)
    with pytest.warns(UserWarning, match="IndexError: list index out of range") as caught:
        train(settings, make_env, tmp_path, make_scene=scene)
    said = sorted(str(warning.message).split(":")[0] for warning in caught)
    assert said == [
        f"No figure {RunDirectory(tmp_path).figure}",
        "No figures in TensorBoard",
        "No videos in TensorBoard",
    ]
    assert same_learned(tmp_path, uninterrupted[0])
    assert RunDirectory(tmp_path).evaluation.exists()


def test_a_video_that_cannot_be_made_of_its_episodes_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise UserError("every reward is 0")

    monkeypatch.setattr("rlmaml.training.in_progress.film_progress", refuse)
    settings = SETTINGS.changed(video_interval=1)
    with pytest.warns(UserWarning, match="No video of meta-iteration [1-9]: every reward is 0") as caught:
        train(settings, make_env, tmp_path, make_scene=lambda: make_env(1))
    assert len(caught) == SETTINGS.run.iterations


def test_a_run_that_cannot_start_spares_the_one_it_would_replace(
    copied: Path, uninterrupted: tuple[Path, Evaluation]
) -> None:
    with pytest.raises(UserError, match="no checkpoint at nowhere"):
        train(SETTINGS.changed(start_from="nowhere"), make_env, copied, overwrite=True)
    assert_same_run(copied, uninterrupted[0])


def test_a_resumed_run_remembers_the_commits_that_it_was_trained_at(copied: Path) -> None:
    began = written(copied)
    assert "earlier_commits" not in began
    train(SETTINGS, make_env, copied, resume=True)
    train(SETTINGS, make_env, copied, resume=True)
    assert written(copied)["earlier_commits"] == 2 * [began["commit"]]


def test_a_run_with_a_context_is_searched_within_a_range_that_is_measured_once_and_kept_beside_it(
    tmp_path: Path,
) -> None:
    directory = RunDirectory(tmp_path / "run")
    settings = as_method(SETTINGS, "cavia", SETTINGS.policy).changed(context=2, iterations=1, inner_step_sizes=(2.0,))
    train(settings, make_env, directory.path)
    checkpoint = load_checkpoint(directory.checkpoint)
    limits = trained_context_range(checkpoint, make_env, directory)
    assert float((limits.high["context"] - limits.low["context"]).min()) > 0
    again = trained_context_range(checkpoint, forbidden, directory)
    assert all(torch.equal(one["context"], other["context"]) for one, other in zip(limits[:2], again[:2], strict=True))
    search = Search(SearchSettings("cmaes", 6, 2), limits)
    found = configured_evaluation(checkpoint, make_env, 10_000, search=search)
    assert found.returns.shape == (SETTINGS.run.evaluation_tasks, 3 + 1)
    train(settings.changed(iterations=2), make_env, directory.path, resume=True)
    further = load_checkpoint(directory.checkpoint)
    assert not torch.equal(trained_context_range(further, make_env, directory).low["context"], limits.low["context"])


def forbidden(num_envs: int) -> Any:
    raise AssertionError("nothing needs to be measured")
