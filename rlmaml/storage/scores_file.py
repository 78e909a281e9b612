"""The evaluation of a run on supervised tasks as a JSON file, checked when it is read back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from rlmaml.base.errors import UserError
from rlmaml.base.plain_data import DamagedError, is_number, read_json
from rlmaml.settings.whole import Settings, from_plain
from rlmaml.terminal.words import counted

Floats: TypeAlias = npt.NDArray[np.float64]

RETURN = "return"
"""What policies are judged by on episodes, in place of a score."""
BETTER = {"errors": "lower", "mae": "lower", "accuracy": "higher", "ndcg": "higher"}
"""Score -> which ones are better; of others it is not known."""


class HeldOut(NamedTuple):
    """Which tasks a run was scored on: the same ones in all runs for which this is the same."""

    family: str
    """Id of the run's family."""
    variant: str
    """Of the held-out tasks, as :attr:`rlmaml.sampling.examples.SupervisedFamily.variant` says."""
    seed: int
    """Of the tasks and their examples."""

    def words(self, num_tasks: int) -> str:
        """The tasks in a few words."""
        return f"{counted(num_tasks, 'held-out task')} of {self.family}, {self.variant}, seed {self.seed}"


class StoredScores(NamedTuple):
    """What a run reached on supervised tasks that were held out."""

    settings: Settings
    held_out: HeldOut
    per_task: Mapping[str, Floats]
    """Score -> ``[task, stage]``, stage k being after k steps; NaN for what is not finite. The first is the run's."""
    config: Mapping[str, Any]
    """Settings, commit, versions, machine, as plain data."""

    @property
    def num_tasks(self) -> int:
        """How many tasks there were."""
        return len(next(iter(self.per_task.values())))


def is_of_examples(report: Mapping[str, Any]) -> bool:
    """Whether an evaluation is of supervised tasks, which have no returns."""
    return "returns" not in report and ("held_out" in report or bool(set(report) & set(BETTER)))


def read_scores(path: Path) -> StoredScores:
    """The evaluation of a run, as :func:`rlmaml.evaluation.query_scores.scores_as_json` makes it.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it is none, or its numbers do not fit together.
        UserError: its settings are none of this version, it is of episodes, or it is of an earlier version, which kept
            no scores per task.
    """
    report = read_json(path)
    if "returns" in report:
        raise UserError(
            f"{path} is of episodes, which have returns in place of scores. Give a run on supervised tasks."
        )
    if is_of_examples(report) and "held_out" not in report:
        raise UserError(
            f"{path} has no scores per task: an earlier version wrote it. The run's training with the same options and "
            "--resume writes it anew."
        )
    try:
        settings = from_plain(report["config"]["settings"])
        held_out = HeldOut(**report["held_out"])
        if [type(part) for part in held_out] != [str, str, int]:
            raise ValueError("held_out holds other things than a family, a variant and a seed")
        per_task = {name: _scores(name, rows) for name, rows in report["per_task"].items()}
        if len({scores.shape for scores in per_task.values()}) != 1:
            raise ValueError("per_task holds no scores, or not of the same tasks and steps")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except KeyError as error:
        raise DamagedError(path, f"{error} is missing") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise DamagedError(path, str(error)) from error
    return StoredScores(settings, held_out, per_task, report["config"])


def _scores(name: str, rows: object) -> Floats:
    """The numbers of every task, as many for each; NaN for None."""
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) and row for row in rows):
        raise ValueError(f"{name} has no numbers for every task")
    if {len(row) for row in rows} != {len(rows[0])}:
        raise ValueError(f"{name} has other numbers than one for each of {len(rows[0])} stages")
    if not all(value is None or is_number(value) for row in rows for value in row):
        raise ValueError(f"{name} holds what is no number")
    return np.array(rows, np.float64)
