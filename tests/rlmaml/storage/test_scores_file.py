import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.evaluation.query_scores import QueryScores, scores_as_json
from rlmaml.settings.whole import configure
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.storage.scores_file import HeldOut, read_scores
from tests.rlmaml.storage.stored import evaluation

HELD_OUT = HeldOut("lines", "lines through 0", 10_000)
SCORES = np.array([[2.0, 1.0, np.inf], [3.0, 2.0, 1.0]])


def written() -> dict[str, Any]:
    """An evaluation of two tasks after 0, 1 and 2 steps, of which the last diverges on the first task."""
    config = {"settings": configure().as_plain()}
    return scores_as_json({"errors": QueryScores(torch.tensor(SCORES))}, HELD_OUT, config)


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content, allow_nan=False))
    return path


def test_scores_are_read_as_they_were_written_and_what_is_not_finite_is_not_a_number(tmp_path: Path) -> None:
    stored = read_scores(write(tmp_path / "e", written()))
    np.testing.assert_array_equal(stored.per_task["errors"], [[2.0, 1.0, np.nan], [3.0, 2.0, 1.0]])
    assert (stored.held_out, stored.num_tasks, stored.settings) == (HELD_OUT, 2, configure())
    with pytest.raises(FileNotFoundError):
        read_scores(tmp_path / "absent")


def test_scores_of_an_earlier_version_and_evaluations_on_episodes_are_refused_with_the_cure(tmp_path: Path) -> None:
    earlier = {name: part for name, part in written().items() if name not in ("per_task", "held_out")}
    with pytest.raises(UserError, match=r"no scores per task: .* --resume writes it anew"):
        read_scores(write(tmp_path / "e", earlier))
    with pytest.raises(UserError, match="is of episodes, which have returns in place of scores"):
        read_scores(write(tmp_path / "e", evaluation()))


@pytest.mark.parametrize(
    "damage",
    [
        {"per_task": {}},
        {"per_task": None},
        {"per_task": {"errors": []}},
        {"per_task": {"errors": [[1.0], [1.0, 2.0]]}},
        {"per_task": {"errors": [[1.0, True]]}},
        {"per_task": {"errors": [[1.0]], "other": [[1.0, 2.0]]}},
        {"held_out": {"family": "lines"}},
        {"held_out": {"family": "lines", "variant": 7, "seed": 0}},
        {"held_out": None},
        {"config": {}},
    ],
    ids=str,
)
def test_what_does_not_fit_together_is_damage(tmp_path: Path, damage: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"e is damaged, or no such file at all"):
        read_scores(write(tmp_path / "e", written() | damage))


def test_a_run_is_of_examples_by_its_evaluation_or_before_it_has_one_by_its_record(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    assert not directory.is_of_examples()
    for lines, of_examples in (({"update/query_loss": 1.0}, True), ({"return/after_0_steps": -1.0}, False)):
        directory.metrics.write_text(json.dumps({"iteration": 0, **lines}) + "\n")
        assert directory.is_of_examples() == of_examples
    for content, of_examples in ((written(), True), (evaluation(), False), ({}, False)):
        write(directory.evaluation, content)
        assert directory.is_of_examples() == of_examples
    directory.evaluation.unlink()
    with pytest.raises(UserError, match="there is no such run"):
        directory.read_scores()
