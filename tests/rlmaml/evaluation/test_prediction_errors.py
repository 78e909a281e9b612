from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from rlmaml.evaluation.prediction_errors import Observed, observation_table, prediction_figure, root_mean_squares

OBSERVED = Observed(("height", "rate"), ("m", ""))


def test_root_mean_squares_are_over_tasks_with_students_interval_under_the_root() -> None:
    errors = torch.tensor([[[4.0, 0.0]], [[16.0, 2.0]], [[10.0, 1.0]]])  # [task, stage, obs]
    found = root_mean_squares(errors)
    assert found["mean"] == [[pytest.approx(10**0.5), pytest.approx(1.0)]]
    low, high = stats.t.interval(0.95, 2, loc=1.0, scale=1 / np.sqrt(3))
    assert low < 0
    assert found["ci95"][0][1] == pytest.approx([0.0, high**0.5])
    assert root_mean_squares(errors[:1])["ci95"] == [[[None, None], [None, None]]]


def test_the_table_has_a_row_for_every_number_with_its_unit() -> None:
    lines = observation_table(OBSERVED, {"pretrained": [0.5, 2.0], "maml": [0.25, None]}).splitlines()
    assert lines[0].split() == ["pretrained", "maml"]
    assert lines[1].split() == ["height", "[m]", "0.5", "0.25"]
    assert lines[2].split() == ["rate", "2", "–"]


def test_the_figure_has_a_line_per_model_and_bars_in_parts_of_the_first_column() -> None:
    row: dict[str, list[Any]] = {"mean": [1.0, 0.5], "ci95": [[0.9, 1.1], [None, None]]}
    columns = {"pretrained": [0.5, 0.0], "zero-shot": [1.0, 0.0], "1 step": [0.25, 0.0]}
    left, right = prediction_figure({"maml": row, "pretrained": row}, OBSERVED, columns).axes
    assert [line.get_label() for line in left.get_lines()] == ["maml", "pretrained"]
    assert [patch.get_width() for patch in right.patches] == [2.0, 1.0, 0.5, 1.0]  # type: ignore[attr-defined]
    assert [label.get_text() for label in right.get_yticklabels()] == ["height [m]", "rate"]
