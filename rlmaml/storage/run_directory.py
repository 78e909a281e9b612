"""Names and layout of a run directory: this file alone knows them."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlmaml.base.errors import UserError
from rlmaml.base.files import check_nameable, is_left_over, unwritable, write_atomically
from rlmaml.base.plain_data import DamagedError, as_json, read_json, sealed
from rlmaml.storage.evaluation_file import read_evaluation
from rlmaml.storage.event_files import event_files
from rlmaml.storage.metrics_file import RETURN, read_metrics
from rlmaml.storage.scores_file import StoredScores, is_of_examples, read_scores

_FILES = {
    "checkpoint": "checkpoint.safetensors",
    "metrics": "metrics.jsonl",
    "settings": "run.json",
    "evaluation": "evaluation.json",
    "figure": "adaptation.png",
    "context_range": "context_range.json",
    "best": "best.safetensors",
    "split": "split.json",
    "compression": "compression.json",
}
_EARLIER = "earlier_checkpoints"


class RunDirectory:
    """A run's files by their meaning.

    Args:
        path: the directory; it need not exist.
        policy: the name of another policy in it than the run's own; what is made of it is named after it.

    Raises:
        UserError: no directory can be called so; see :func:`rlmaml.base.files.check_nameable`.
    """

    def __init__(self, path: Path | str, policy: str = "") -> None:
        self.path = Path(path)
        self.name = "/".join(part for part in (self.path.name, policy) if part)
        of = f"{policy}-" if policy else ""
        self.checkpoint = self.path / _FILES["checkpoint"]
        check_nameable(self.checkpoint)
        self.metrics = self.path / _FILES["metrics"]
        self.settings = self.path / _FILES["settings"]
        self.evaluation = self.path / _FILES["evaluation"]
        self.figure = self.path / f"{of}{_FILES['figure']}"
        """Episodes before and after adaptation, a PNG."""
        self.context_range = self.path / _FILES["context_range"]
        """Where contexts are on tasks of the training, of a search."""
        self.best = self.path / _FILES["best"]
        """The checkpoint that was best on validation tasks."""
        self.split = self.path / _FILES["split"]
        """Which classes are for training, validation and test, where some are held out."""
        self.compression = self.path / _FILES["compression"]
        """What it gained and lost by being smaller than the run it was made from."""
        self.earlier = self.path / _EARLIER
        """Checkpoints before the newest one."""
        self.adapted = self.path / f"{of}adapted.safetensors"
        self.exported = self.path / f"{of}export"
        self.report = self.path / f"{of}report.html"
        self.videos = (self.path / f"{of}adaptation.mp4", self.path / f"{of}adaptation.gif")
        self.paths = self.path / f"{of}paths.png"
        self.beyond = self.path / "beyond.json"
        """Evaluation beyond the training range, of a comparison."""
        self.fine_tuned = self.path / "fine_tuned.json"
        """Evaluation with step sizes chosen on validation tasks, of a comparison."""
        self.searched = self.path / "searched.json"
        """Evaluation by a search in the context, of a comparison."""
        self.searched_beyond = self.path / "searched_beyond.json"
        """The same beyond the training range."""
        self.lived = self.path / "lived.json"
        """Returns by episodes lived on a new robot, of a comparison."""

    def of_mean_actions(self, evaluation: Path) -> Path:
        """Where what one of these files says of sampled actions is said of mean ones."""
        return evaluation.with_name(f"mean_{evaluation.name}")

    def on_variant(self, variant: str) -> Path:
        """Evaluation on another variant than that of the training, of a comparison."""
        return self.path / f"on_{variant}.json"

    def found(self) -> list[str]:
        """Names of a training's files that are there."""
        there = [name for name in (*_FILES.values(), _EARLIER) if os.path.lexists(self.path / name)]
        return there + [path.name for path in self.events()]

    def events(self) -> list[Path]:
        """TensorBoard's files: in the directory itself, after which it names the run."""
        return event_files(self.path)

    def earlier_checkpoint(self, age: int) -> Path:
        """The checkpoint so many before the newest one."""
        return self.earlier / f"{age}_before.safetensors"

    def earlier_checkpoints(self) -> list[Path]:
        """Those that are there, from the newest on."""
        ages = [path.name.removesuffix("_before.safetensors") for path in self.earlier.glob("*_before.safetensors")]
        return [self.earlier_checkpoint(age) for age in sorted(int(age) for age in ages if age.isdecimal())]

    def tidy(self) -> None:
        """Delete what a killed process had begun to write.

        Raises:
            UserError: it cannot be deleted.
        """
        try:
            made = [path.name for path in (self.adapted, self.report, *self.videos)]
            for path in self.path.glob(".*.partial*"):
                if any(is_left_over(path.name, name) for name in (*_FILES.values(), *made)):
                    path.unlink()
            for path in self.earlier.glob(".*.partial"):
                if is_left_over(path.name, self.earlier_checkpoint(1).name):
                    path.unlink()
        except OSError as error:
            raise unwritable(self.path, error) from error

    def clear(self) -> None:
        """Delete a training's files, and make the directory.

        Raises:
            UserError: it cannot be written.
        """
        try:
            for path in (*[self.path / name for name in _FILES.values()], *self.events()):
                path.unlink(missing_ok=True)
            shutil.rmtree(self.earlier, ignore_errors=True)
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
        """One entry per meta-iteration; see :func:`rlmaml.storage.metrics_file.read_metrics`.

        Raises:
            UserError: there are none, or they are damaged.
        """
        try:
            return read_metrics(self.metrics)
        except FileNotFoundError as error:
            raise UserError(f"{self.path} holds no {self.metrics.name}. Give the directory of a run.") from error

    def read_evaluation(self) -> dict[str, Any]:
        """The evaluation that ended the training.

        Raises:
            UserError: there is none, or it is damaged.
        """
        try:
            return read_evaluation(self.evaluation)
        except FileNotFoundError as error:
            raise self._unfinished() from error

    def read_scores(self) -> StoredScores:
        """The evaluation that ended the training on supervised tasks.

        Raises:
            UserError: there is none, or it is damaged.
        """
        try:
            return read_scores(self.evaluation)
        except FileNotFoundError as error:
            raise self._unfinished() from error

    def is_of_examples(self) -> bool:
        """Whether the run is on supervised tasks: its evaluation or, while it has none, its record has no returns."""
        try:
            if self.evaluation.exists():
                return is_of_examples(read_json(self.evaluation))
            lines = read_metrics(self.metrics)
        except (FileNotFoundError, DamagedError):
            return False
        return bool(lines) and not any(name.startswith(RETURN) for name in lines[0])

    def _unfinished(self) -> UserError:
        unfinished = self.checkpoint.is_file()
        cure = "the run is not finished. Go on with it by --resume." if unfinished else "there is no such run."
        return UserError(f"There is no evaluation in {self.path}: {cure}")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain data, with its checksum, as a JSON file, in one step.

    Raises:
        UserError: it cannot be written, or a number in it is NaN or infinite.
    """
    write_atomically(path, as_json(sealed(content), indent=2).encode())


def policy_file(path: Path) -> Path:
    """The file of the policy that a user means: a run's checkpoint where a directory is named, or the file itself."""
    check_nameable(path)
    return path if path.is_file() or (path.suffix and not path.is_dir()) else RunDirectory(path).checkpoint


def is_of_run(path: Path) -> bool:
    """Whether the policy that a user means is the run's own: its directory, or its newest checkpoint, is named."""
    return policy_file(path) != path or path.name == _FILES["checkpoint"]


def beside(path: Path) -> RunDirectory:
    """Where files about a policy go: into the run's directory, or beside the file, with its name before theirs."""
    if policy_file(path) != path:
        return RunDirectory(path)
    return RunDirectory(path.parent, "" if is_of_run(path) else path.stem)


def run_of(path: Path) -> RunDirectory:
    """The run that a user means by its directory, or by one of its checkpoints, an earlier one among them."""
    if policy_file(path) != path:
        return RunDirectory(path)
    return RunDirectory(path.parent.parent if path.parent.name == _EARLIER else path.parent)


def check_different(run_dirs: Sequence[Path]) -> None:
    """Refuse a run, or another policy, that is named twice, by whatever path.

    Raises:
        UserError: names it.
    """
    seen: set[Path] = set()
    for run_dir in run_dirs:
        meant = policy_file(run_dir).resolve()
        if meant in seen:
            raise UserError(f"{run_dir} is named twice; give each run once.")
        seen.add(meant)


class ComparisonDirectory:
    """Files of a comparison, and its runs.

    Args:
        path: the directory; it need not exist.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.results = self.path / "comparison.json"
        self.figure = self.path / "comparison.png"
        self.lived = self.path / "lived.json"
        """Returns by episodes lived on a new robot."""
        self.lived_figure = self.path / "lived.png"
        self.transfer = self.path / "transfer.json"
        """Returns on one variant after trainings on another."""
        self.transfer_figure = self.path / "transfer.png"

    def run(self, method: str, seed: int) -> RunDirectory:
        """The run of one method and seed."""
        return RunDirectory(self.path / f"{method}-seed{seed}")
