import json
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from rlmaml.base.errors import UserError
from rlmaml.core.types import Params
from rlmaml.evaluation.video import as_video
from rlmaml.settings.stages import teacher_and_student
from rlmaml.settings.whole import configure
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.training.record import Recorder, scalars, settings_table, write_outcome
from rlmaml.training.run import run_settings
from tests.rlmaml.makers import categorical_policy, gaussian_policy
from tests.rlmaml.training.stand_ins import REPORTED, report

THETA: Params = {"log_std": torch.tensor([0.0, 0.0])}
POLICY = gaussian_policy()
PLAIN: dict[str, Any] = {"settings": {}}


def written(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in RunDirectory(directory).metrics.read_text().splitlines()]


def events(directory: Path) -> EventAccumulator:
    return EventAccumulator(str(directory)).Reload()


def test_the_numbers_are_those_of_the_report() -> None:
    seen = report()
    numbers = scalars(POLICY, THETA, seen)
    assert numbers["return/after_1_steps"] == float(seen.rollouts[1].returns.mean())
    assert numbers["steps_per_episode/after_0_steps"] == 6.0
    assert numbers["unstable_episodes/after_0_steps"] == 0.0
    assert numbers["return_terms/distance_cost/after_1_steps"] == pytest.approx(numbers["return/after_1_steps"])
    update = seen.update.numbers()
    assert {name: numbers[f"update/{name}"] for name in update} == update
    assert {"kl", "accepted", "replay_gap", "tasks_left_out"} < set(update)
    assert numbers["theta/std"] == 1.0
    assert {"seconds/rollout", "seconds/environment", "seconds/curvature", "seconds/iteration"} < set(numbers)
    others = scalars(categorical_policy(), THETA, seen)
    assert {name for name in numbers if name not in others} == {"theta/std"}


def test_every_number_goes_to_tensorboard_and_to_the_json_lines(tmp_path: Path) -> None:
    seen = report()
    with Recorder(RunDirectory(tmp_path), 0, 2, PLAIN) as recorder:
        recorder.write(POLICY, THETA, seen)
        recorder.write(POLICY, THETA, seen._replace(iteration=1))
    lines = written(tmp_path)
    assert [line["iteration"] for line in lines] == [0, 1]
    shown = events(tmp_path)
    for name, value in scalars(POLICY, THETA, seen).items():
        assert lines[0][name] == value
        assert shown.Scalars(name)[1].value == pytest.approx(value)


def test_lines_beyond_the_start_are_dropped(tmp_path: Path) -> None:
    RunDirectory(tmp_path).metrics.write_text('{"iteration": 0}\n{"iteration": 1}\n{"iteration": 2, "cut off')
    with Recorder(RunDirectory(tmp_path), 1, 2, PLAIN) as recorder:
        recorder.write(POLICY, THETA, report()._replace(iteration=1))
    assert [line["iteration"] for line in written(tmp_path)] == [0, 1]


def names_of_events(directory: Path) -> list[str]:
    return [path.name for path in RunDirectory(directory).events()]


def test_after_a_killed_run_tensorboard_shows_the_resumed_one_whatever_the_clock_said_and_no_name_tells_a_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, now = report(), time.time()
    with Recorder(RunDirectory(tmp_path), 0, 2, PLAIN) as recorder:
        recorder.write(POLICY, THETA, seen)
        recorder.write(POLICY, THETA, seen._replace(iteration=1))
    (ended,) = RunDirectory(tmp_path).events()
    assert names_of_events(tmp_path) == ["events.out.tfevents.0000000001.run"]
    ended.rename(tmp_path / f"events.out.tfevents.{now + 9000:.0f}.host.1.0")  # as if it had been killed
    monkeypatch.setattr(time, "time", lambda: now - 9000)
    with Recorder(RunDirectory(tmp_path), 1, 2, PLAIN) as recorder:
        recorder.write(POLICY, THETA, seen._replace(iteration=1, seconds={**seen.seconds, "rollout": 7.0}))
    shown = events(tmp_path).Scalars("seconds/rollout")
    assert [point.step for point in shown] == [0, 1]
    assert shown[1].value == 7.0
    write_outcome(RunDirectory(tmp_path), configure(), {"mean": [1.0]})
    assert names_of_events(tmp_path)[:2] == [f"events.out.tfevents.000000000{number}.run" for number in (1, 2)]
    assert all(name.endswith(".run") for name in names_of_events(tmp_path))


def test_a_record_that_cannot_be_begun_leaves_the_hook_for_failed_threads_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    before = threading.excepthook
    monkeypatch.setattr("rlmaml.training.record.name_event_files", fail)
    with pytest.raises(UserError, match="No space left"):
        Recorder(RunDirectory(tmp_path), 0, 2, PLAIN)
    assert threading.excepthook is before


def test_unstable_episodes_are_counted_and_means_are_those_of_the_sound_ones() -> None:
    seen = report({}, {1: 2, 3: 5})
    numbers = scalars(POLICY, THETA, seen)
    assert [numbers[f"unstable_episodes/after_{step}_steps"] for step in (0, 1)] == [0.0, 2.0]
    sound = [seen.rollouts[1].returns[task, episode] for task, episode in ((0, 0), (0, 2), (1, 1), (1, 2))]
    assert numbers["return/after_1_steps"] == pytest.approx(float(torch.stack(sound).mean()))
    assert numbers["return_terms/distance_cost/after_1_steps"] == pytest.approx(numbers["return/after_1_steps"])
    assert numbers["steps_per_episode/after_1_steps"] == 6.0


def test_means_that_failed_simulations_leave_undefined_are_null_and_no_points_of_a_curve(tmp_path: Path) -> None:
    seen = report(dict.fromkeys(range(6), 3), {})
    with Recorder(RunDirectory(tmp_path), 0, 2, PLAIN) as recorder:
        with pytest.warns(UserWarning, match=r"meta-iteration 0 .* 100 % of the episodes of a stage were unstable"):
            recorder.write(POLICY, THETA, seen)
        recorder.write(POLICY, THETA, report()._replace(iteration=1))
    bad, good = written(tmp_path)
    undefined = {"return/after_0_steps", "return_terms/distance_cost/after_0_steps", "steps_per_episode/after_0_steps"}
    assert {name for name, value in bad.items() if value is None} == undefined
    assert None not in good.values()
    assert "NaN" not in RunDirectory(tmp_path).metrics.read_text()
    assert bad["unstable_episodes/after_0_steps"] == 6.0
    shown = events(tmp_path)
    for name in undefined:
        assert [point.step for point in shown.Scalars(name)] == [1]
    assert [point.step for point in shown.Scalars("return/after_1_steps")] == [0, 1]


def test_most_episodes_unstable_is_said_once_and_half_of_them_not_at_all(tmp_path: Path) -> None:
    half, most = report({0: 1, 1: 1, 2: 1}), report({}, {0: 1, 1: 1, 2: 1, 4: 2})
    with Recorder(RunDirectory(tmp_path), 0, 3, PLAIN) as recorder:
        recorder.write(POLICY, THETA, half)
        with pytest.warns(UserWarning, match="In meta-iteration 1 the simulations of 67 % .* were unstable"):
            recorder.write(POLICY, THETA, most._replace(iteration=1))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            recorder.write(POLICY, THETA, most._replace(iteration=2))


def test_the_bar_shows_returns_divergence_and_the_share_that_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = report({3: 2}, {})
    with Recorder(RunDirectory(tmp_path), 0, 1, PLAIN) as recorder:
        recorder.write(POLICY, THETA, seen)
    bar = capsys.readouterr().err.splitlines()[-1]
    assert f"return {seen.outcomes[0].mean_return:.1f} before adaptation, " in bar
    assert "(sampled actions), " in bar
    assert f", {seen.outcomes[1].mean_return:.1f} after 1 inner step" in bar
    assert f"KL {seen.update.numbers()['kl']:.4f}" in bar
    assert "17 % unstable" in bar


def test_curves_of_a_training_with_a_teacher_say_who_acts(tmp_path: Path) -> None:
    with Recorder(RunDirectory(tmp_path), 0, 1, PLAIN, words=teacher_and_student) as recorder:
        recorder.write(POLICY, THETA, report())
    assert {"return/after_0_steps", "return/after_1_steps"} <= written(tmp_path)[0].keys()
    tags = events(tmp_path).Tags()["scalars"]
    assert {"return/teacher", "return/student_episode_1", "return_terms/distance_cost/teacher"} <= set(tags)
    assert not [tag for tag in tags if "after_" in tag]


def test_tensorboard_that_fails_is_said_once_and_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no protocol")

    with Recorder(RunDirectory(tmp_path), 0, 2, PLAIN) as recorder:
        monkeypatch.setattr(recorder._writer, "add_scalar", fail)
        monkeypatch.setattr(recorder._writer, "flush", fail)
        with pytest.warns(UserWarning, match=r"TensorBoard could not be written \(RuntimeError: no protocol\)") as said:
            recorder.write(POLICY, THETA, report())
        recorder.sync()
        recorder.write(POLICY, THETA, report()._replace(iteration=1))
    assert len(said) == 1
    assert [line["iteration"] for line in written(tmp_path)] == [0, 1]


@pytest.mark.parametrize("error", [PermissionError(13, "no more"), RuntimeError("no protocol")])
def test_tensorboard_that_cannot_be_opened_is_said_once_and_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("rlmaml.training.record.SummaryWriter", fail)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with Recorder(RunDirectory(tmp_path), 0, 1, PLAIN) as recorder:
            recorder.write(POLICY, THETA, report())
            recorder.sync()
    assert len([one for one in said if "TensorBoard could not be written" in str(one.message)]) == 1
    assert len(written(tmp_path)) == 1


@pytest.mark.parametrize("error", [PermissionError(13, "no more"), RuntimeError("no protocol")])
def test_tensorboard_that_cannot_be_written_ends_no_training_unless_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(raised: Exception) -> Any:
        def fail(*_: object, **__: object) -> None:
            raise raised

        return fail

    monkeypatch.setattr("rlmaml.training.record.SummaryWriter.add_text", failing(error))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with Recorder(RunDirectory(tmp_path), 0, 1, PLAIN) as recorder:
            monkeypatch.setattr(recorder._writer, "flush", failing(error))
            monkeypatch.setattr(recorder._writer, "close", failing(error))
            recorder.write(POLICY, THETA, report())
            recorder.sync()
    assert len([one for one in said if "TensorBoard could not be written" in str(one.message)]) == 1
    assert len(written(tmp_path)) == 1
    monkeypatch.setattr("rlmaml.training.record.SummaryWriter.add_scalar", failing(error))
    with pytest.warns(UserWarning, match="TensorBoard could not be written"):
        write_outcome(RunDirectory(tmp_path), configure(), {"mean_with_failed": [-4.0]})
    monkeypatch.setattr("rlmaml.training.record.SummaryWriter.add_scalar", failing(OSError(28, "full")))
    with pytest.raises(UserError, match="Cannot write"):
        write_outcome(RunDirectory(tmp_path), configure(), {"mean_with_failed": [-4.0]})


def test_a_finished_run_is_in_the_table_of_hyper_parameters_with_its_returns(tmp_path: Path) -> None:
    settings = configure(hidden=(8, 9), max_kl=0.25, iterations=7)
    write_outcome(RunDirectory(tmp_path), settings, {"mean_with_failed": [-4.0, -2.0, None]})
    assert list(tmp_path.iterdir()) == RunDirectory(tmp_path).events()
    shown = events(tmp_path)
    assert shown.Scalars("held_out_return/after_1_steps")[0].value == -2.0
    assert "held_out_return/after_2_steps" not in shown.Tags()["scalars"]
    with pytest.raises(KeyError):  # it would fix the columns, and hide in what several runs differ
        shown.SummaryMetadata("_hparams_/experiment")
    content = shown.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    stored = HParamsPluginData.FromString(content).session_start_info.hparams
    assert set(stored) == set(settings.flat())
    assert stored["max_kl"].number_value == 0.25
    assert stored["hidden"].string_value == "8 9"
    assert stored["env_id"].string_value == "Navigation2D-v0"
    assert stored["algorithm"].string_value == "maml-trpo"


def test_the_first_groups_of_tensorboard_are_returns(tmp_path: Path) -> None:
    with Recorder(RunDirectory(tmp_path), 0, 1, PLAIN) as recorder:
        recorder.write(POLICY, THETA, report())
    write_outcome(RunDirectory(tmp_path), REPORTED, {"mean_with_failed": [-4.0, -2.0]})
    tags = events(tmp_path).Tags()["scalars"]
    groups = sorted({name.partition("/")[0] for name in tags})
    assert groups[:3] == ["held_out_return", "return", "return_terms"]


def test_the_settings_are_a_table_of_values_whoever_owns_them() -> None:
    plain = {"settings": {"algorithm": "reptile", "run": {"seed": 3}, "network": {"hidden": (8, 9)}}, "commit": "abc"}
    rows = settings_table(plain).splitlines()[2:]
    assert rows == ['| algorithm | "reptile" |', "| seed | 3 |", "| hidden | [8, 9] |", '| commit | "abc" |']
    names = [row.split("|")[1].strip() for row in settings_table(run_settings(REPORTED)).splitlines()[2:]]
    assert len(set(names)) == len(names)
    assert set(REPORTED.flat()) < set(names)


def test_a_video_moves_in_tensorboard(tmp_path: Path) -> None:
    frames = [np.full((20, 30, 3), value, np.uint8) for value in (0, 120, 240)]
    with Recorder(RunDirectory(tmp_path), 0, 2, PLAIN) as recorder:
        recorder.video("video", as_video(frames, 10.0, ".gif"), 1)
    (shown,) = events(tmp_path).Images("video")
    assert (shown.step, shown.width, shown.height) == (1, 30, 20)
    assert imageio.imread(shown.encoded_image_string).shape == (3, 20, 30, 3)
