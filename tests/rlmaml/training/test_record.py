import json
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from rlmaml.core.types import Params
from rlmaml.evaluation.video import as_video
from rlmaml.settings.config import TrainConfig
from rlmaml.training.record import METRICS, TENSORBOARD, Recorder, scalars, settings_table, write_outcome
from tests.rlmaml.evaluation.test_figures import report

THETA: Params = {"log_std": torch.tensor([0.0, 0.0])}


def test_the_numbers_are_those_of_the_report() -> None:
    seen = report()
    numbers = scalars(THETA, seen)
    assert numbers["return/after_1_steps"] == float(seen.rollouts[1].returns.mean())
    assert numbers["steps_per_episode/after_0_steps"] == 6.0
    assert numbers["unstable_episodes/after_0_steps"] == 0.0
    assert numbers["return_terms/distance_cost/after_1_steps"] == pytest.approx(numbers["return/after_1_steps"])
    assert numbers["update/kl"] == seen.update.kl
    assert numbers["update/accepted"] in (0.0, 1.0)
    assert numbers["theta/std"] == 1.0
    assert {"seconds/rollout", "seconds/environment", "seconds/curvature", "seconds/iteration"} < set(numbers)


def test_every_number_goes_to_tensorboard_and_to_the_json_lines(tmp_path: Path) -> None:
    seen = report()
    with Recorder(tmp_path, 0, 2, {"config": {"seed": 3}}) as recorder:
        recorder.write(THETA, seen)
        recorder.write(THETA, seen._replace(iteration=1))
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [0, 1]
    events = EventAccumulator(str(tmp_path / TENSORBOARD)).Reload()
    for name, value in scalars(THETA, seen).items():
        assert lines[0][name] == value
        assert events.Scalars(name)[1].value == pytest.approx(value)


def test_lines_beyond_the_start_are_dropped(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text('{"iteration": 0}\n{"iteration": 1}\n{"iteration": 2, "cut off')
    with Recorder(tmp_path, 1, 2, {"config": {}}) as recorder:
        recorder.write(THETA, report()._replace(iteration=1))
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [0, 1]


def test_unstable_episodes_are_counted() -> None:
    seen = report()
    unstable = torch.zeros_like(seen.rollouts[0].unstable)
    unstable[0, 1] = unstable[1, 0] = True
    rollouts = [seen.rollouts[0], seen.rollouts[1]._replace(unstable=unstable)]
    numbers = scalars(THETA, seen._replace(rollouts=rollouts))
    assert [numbers[f"unstable_episodes/after_{step}_steps"] for step in (0, 1)] == [0.0, 2.0]


def test_a_finished_run_is_in_the_table_of_hyper_parameters_with_its_returns(tmp_path: Path) -> None:
    config = TrainConfig(hidden=(8, 9), max_kl=0.25, iterations=7)
    write_outcome(tmp_path, config, {"mean": [-4.0, -2.0]})
    assert [path.name for path in tmp_path.iterdir()] == [TENSORBOARD]
    events = EventAccumulator(str(tmp_path / TENSORBOARD)).Reload()
    assert events.Scalars("held_out_return/after_1_steps")[0].value == -2.0
    with pytest.raises(KeyError):  # it would fix the columns, and hide in what several runs differ
        events.SummaryMetadata("_hparams_/experiment")
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    stored = HParamsPluginData.FromString(content).session_start_info.hparams
    assert stored["max_kl"].number_value == 0.25
    assert stored["hidden"].string_value == "(8, 9)"
    assert stored["env_id"].string_value == "Navigation2D-v0"


def test_the_first_groups_of_tensorboard_are_returns(tmp_path: Path) -> None:
    with Recorder(tmp_path, 0, 1, {"config": {}}) as recorder:
        recorder.write(THETA, report())
    write_outcome(tmp_path, TrainConfig(), {"mean": [-4.0, -2.0]})
    tags = EventAccumulator(str(tmp_path / TENSORBOARD)).Reload().Tags()["scalars"]
    groups = sorted({name.partition("/")[0] for name in tags})
    assert groups[:3] == ["held_out_return", "return", "return_terms"]


def test_the_settings_are_a_table_of_values() -> None:
    lines = settings_table({"config": {"seed": 3, "hidden": (8, 9)}, "commit": "abc"}).splitlines()
    assert lines[2:] == ["| seed | 3 |", "| hidden | [8, 9] |", '| commit | "abc" |']


def test_a_video_moves_in_tensorboard(tmp_path: Path) -> None:
    frames = [np.full((20, 30, 3), value, np.uint8) for value in (0, 120, 240)]
    with Recorder(tmp_path, 0, 2, {"config": {}}) as recorder:
        recorder.video("video", as_video(frames, 10.0, ".gif"), 1)
    (shown,) = EventAccumulator(str(tmp_path / TENSORBOARD)).Reload().Images("video")
    assert (shown.step, shown.width, shown.height) == (1, 30, 20)
    assert imageio.imread(shown.encoded_image_string).shape == (3, 20, 30, 3)
