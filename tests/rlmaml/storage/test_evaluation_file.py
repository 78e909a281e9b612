import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from rlmaml.base.errors import UserError
from rlmaml.storage.evaluation_file import read_evaluation
from tests.rlmaml.storage.stored import evaluation


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_an_evaluation_is_read_as_it_was_written(tmp_path: Path) -> None:
    report = evaluation()
    assert read_evaluation(write(tmp_path / "e", report)) == report
    with pytest.raises(FileNotFoundError):
        read_evaluation(tmp_path / "absent")


@pytest.mark.parametrize("score", ["errors", "accuracy", "mae"])
def test_an_evaluation_of_supervised_tasks_is_no_damaged_one_of_returns(tmp_path: Path, score: str) -> None:
    of_examples = {score: {"mean": [1.0], "ci95": [[0.5, 1.5]]}, "config": evaluation()["config"]}
    with pytest.raises(UserError, match=r"is of supervised tasks, which have no returns\. Give a run on episodes\."):
        read_evaluation(write(tmp_path / "e", of_examples))


DAMAGE: list[dict[str, Any]] = [
    {"returns": None},
    {"returns": {"mean": [-4.0, -2.0]}},
    {"returns": evaluation()["returns"] | {"mean_with_failed": [-4.0]}},
    {"returns": evaluation()["returns"] | {"mean": ["a", "b"]}},
    {"returns": evaluation()["returns"] | {"mean": []}},
    {"returns": evaluation()["returns"] | {"share_unstable": [0.0, None]}},
    {"returns": evaluation()["returns"] | {"share_unstable": [0.0, 1.5]}},
    {"per_task": [[-4.0, -2.0]]},
    {"per_task_with_failed": [[-4.0, -2.0], [-4.0]]},
    {"per_task_with_failed": [[-4.0, -2.0], [-4.0, True]]},
    {"per_task": 7},
    {"config": {}},
    {"config": None},
]


@pytest.mark.parametrize("damage", DAMAGE, ids=str)
def test_what_does_not_fit_together_is_damage(tmp_path: Path, damage: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"e is damaged, or no such file at all"):
        read_evaluation(write(tmp_path / "e", evaluation() | damage))


def test_settings_of_another_version_are_named_with_the_file(tmp_path: Path) -> None:
    report = evaluation()
    report["config"]["settings"]["run"]["newer"] = 1
    with pytest.raises(UserError, match="e: The stored configuration does not fit this version"):
        read_evaluation(write(tmp_path / "e", report))


@pytest.mark.slow
def test_a_flip_or_a_cut_at_any_byte_is_refused_or_gives_an_evaluation(tmp_path: Path) -> None:
    path = write(tmp_path / "e", evaluation())
    content = path.read_bytes()
    for position in range(len(content)):
        for damaged in (
            content[:position],
            content[:position] + bytes([content[position] ^ 1 << position % 8]) + content[position + 1 :],
        ):
            path.write_bytes(damaged)
            with contextlib.suppress(UserError):
                assert read_evaluation(path)["returns"]["mean"]
