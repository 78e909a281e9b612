"""The evaluation of a run as a JSON file, checked when it is read back."""

from pathlib import Path
from typing import Any

from rlmaml.base.errors import UserError
from rlmaml.base.plain_data import DamagedError, is_number, read_json
from rlmaml.settings.whole import from_plain
from rlmaml.storage.scores_file import is_of_examples

PER_STAGE = ("mean", "mean_with_failed", "share_unstable")
PER_TASK = ("per_task", "per_task_with_failed")


def read_evaluation(path: Path) -> dict[str, Any]:
    """An evaluation, as :meth:`rlmaml.evaluation.evaluate.Evaluation.as_json` makes it.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it is none, or its numbers do not fit together.
        UserError: its settings are none of this version, or it is of supervised tasks, which have no returns.
    """
    report = read_json(path)
    if is_of_examples(report):
        raise UserError(f"{path} is of supervised tasks, which have no returns. Give a run on episodes.")
    try:
        settings = from_plain(report["config"]["settings"])
        stages = len(report["returns"]["mean"])
        for name in PER_STAGE:
            _check_row(name, report["returns"][name], stages)
        if not all(share is not None and 0 <= share <= 1 for share in report["returns"]["share_unstable"]):
            raise ValueError("share_unstable holds other numbers than shares")
        for name in PER_TASK:
            if not isinstance(report[name], list) or len(report[name]) != settings.run.evaluation_tasks:
                raise ValueError(f"{name} has other rows than {settings.run.evaluation_tasks} tasks")
            for row in report[name]:
                _check_row(name, row, stages)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except KeyError as error:
        raise DamagedError(path, f"{error} is missing") from error
    except (TypeError, ValueError) as error:
        raise DamagedError(path, str(error)) from error
    return report


def _check_row(name: str, row: object, stages: int) -> None:
    """Refuse what is not one number, or None where it is not defined, for every stage."""
    if not isinstance(row, list) or not row or len(row) != stages:
        raise ValueError(f"{name} has other numbers than one for each of {stages} stages")
    if not all(value is None or is_number(value) for value in row):
        raise ValueError(f"{name} holds what is no number")
