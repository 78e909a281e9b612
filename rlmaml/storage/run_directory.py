"""Names and layout of a run directory: this file alone knows them."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlmaml.base.errors import UserError
from rlmaml.base.files import unwritable, write_atomically

_FILES = {
    "checkpoint": "checkpoint.safetensors",
    "metrics": "metrics.jsonl",
    "settings": "run.json",
    "evaluation": "evaluation.json",
    "figure": "adaptation.png",
    "context_range": "context_range.json",
}
_TENSORBOARD = "tensorboard"


class RunDirectory:
    """A run's files by their meaning.

    Args:
        path: the directory; it need not exist.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.checkpoint = self.path / _FILES["checkpoint"]
        self.metrics = self.path / _FILES["metrics"]
        self.settings = self.path / _FILES["settings"]
        self.evaluation = self.path / _FILES["evaluation"]
        self.figure = self.path / _FILES["figure"]
        """Episodes before and after adaptation, a PNG."""
        self.context_range = self.path / _FILES["context_range"]
        """Where contexts are on tasks of the training, of a search."""
        self.tensorboard = self.path / _TENSORBOARD
        self.adapted = self.path / "adapted.safetensors"
        self.exported = self.path / "export"
        self.report = self.path / "report.html"
        self.videos = (self.path / "adaptation.mp4", self.path / "adaptation.gif")
        self.paths = self.path / "paths.png"
        self.beyond = self.path / "beyond.json"
        """Evaluation beyond the training range, of a comparison."""
        self.fine_tuned = self.path / "fine_tuned.json"
        """Evaluation with step sizes chosen on validation tasks, of a comparison."""
        self.searched = self.path / "searched.json"
        """Evaluation by a search in the context, of a comparison."""
        self.searched_beyond = self.path / "searched_beyond.json"
        """The same beyond the training range."""

    def found(self) -> list[str]:
        """Names of a training's files that are there."""
        return [name for name in (*_FILES.values(), _TENSORBOARD) if (self.path / name).exists()]

    def clear(self) -> None:
        """Delete a training's files, and make the directory.

        Raises:
            UserError: it cannot be written.
        """
        try:
            for name in _FILES.values():
                (self.path / name).unlink(missing_ok=True)
            shutil.rmtree(self.tensorboard, ignore_errors=True)
        except OSError as error:
            raise unwritable(self.path, error) from error
        self.make()

    def make(self) -> None:
        """Make the directory if it is not there.

        Raises:
            UserError: it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def read_metrics(self) -> list[dict[str, Any]]:
        """One entry per meta-iteration; a line that a killed run did not finish is none.

        Raises:
            UserError: there are none.
        """
        try:
            text = self.metrics.read_text()
            return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.path} holds no readable {self.metrics.name}. Give the directory of a run."
            ) from error

    def read_evaluation(self) -> dict[str, Any]:
        """The evaluation that ended the training.

        Raises:
            UserError: there is none.
        """
        try:
            report: dict[str, Any] = json.loads(self.evaluation.read_text())
            report["config"]["settings"], report["returns"]["mean"]
        except (KeyError, OSError, TypeError, ValueError) as error:
            raise UserError(f"There is no evaluation in {self.path}: the run is missing or not finished.") from error
        return report


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain data as a JSON file, in one step.

    Raises:
        UserError: it cannot be written.
    """
    write_atomically(path, json.dumps(content, indent=2).encode())


def policy_file(path: Path) -> Path:
    """The file of the policy that a user means: a run's checkpoint where a directory is named, or the file itself."""
    return RunDirectory(path).checkpoint if path.is_dir() or not path.suffix else path


def beside(path: Path) -> RunDirectory:
    """Where files about a policy go: into the run's directory, or beside the file."""
    return RunDirectory(path if path.is_dir() or not path.suffix else path.parent)


class ComparisonDirectory:
    """Files of a comparison, and its runs.

    Args:
        path: the directory; it need not exist.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.results = self.path / "comparison.json"
        self.figure = self.path / "comparison.png"

    def run(self, method: str, seed: int) -> RunDirectory:
        """The run of one method and seed."""
        return RunDirectory(self.path / f"{method}-seed{seed}")
