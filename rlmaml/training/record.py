"""What a run leaves to look at: TensorBoard, one JSON line per meta-iteration, and the progress bar."""

import errno
import io
import math
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from matplotlib.figure import Figure
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from torch.utils.tensorboard import SummaryWriter

from rlmaml.base.as_before import Held
from rlmaml.base.errors import UserError
from rlmaml.base.files import unwritable, write_atomically
from rlmaml.base.plain_data import as_json
from rlmaml.core.policy import Policy
from rlmaml.core.types import Params
from rlmaml.evaluation.figures import ordinary_figures
from rlmaml.settings.stages import StageWords, after_steps, teacher_and_student
from rlmaml.settings.whole import Settings
from rlmaml.storage.event_files import name_event_files
from rlmaml.storage.metrics_file import RETURN, metrics_line, sound_lines
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.terminal.bars import ProgressBar
from rlmaml.terminal.words import in_short
from rlmaml.training.train import IterationReport

STAGE = re.compile(r"after_(\d+)_steps")
"""How the name of a stage's number ends."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where a disk, a quota or a file has no room left."""
MOST_UNSTABLE = 0.5
"""Share of a stage's episodes whose simulation failed above which the user is told."""


def scalars(policy: Policy, theta: Params, report: IterationReport) -> dict[str, float]:
    """The numbers of one meta-iteration, under the names that TensorBoard and the JSON lines use.

    TensorBoard groups by what is before the first slash and sorts the groups by name: these put the returns first. They
    are those of sound episodes; NaN where there was none.
    """
    numbers: dict[str, float] = {}
    for k, seen in enumerate(report.outcomes):
        numbers[f"{RETURN}after_{k}_steps"] = seen.mean_return
    for k, seen in enumerate(report.outcomes):
        for term, share in zip(report.reward_terms, seen.mean_terms, strict=True):
            numbers[f"return_terms/{term}/after_{k}_steps"] = share
        numbers[f"steps_per_episode/after_{k}_steps"] = seen.mean_length
        numbers[f"unstable_episodes/after_{k}_steps"] = float(seen.unstable.sum())
    numbers |= {f"update/{name}": value for name, value in report.update.numbers().items()}
    numbers |= {f"updates_lost/{name}": float(count) for name, count in report.lost._asdict().items()}
    numbers |= {f"theta/{name}": value for name, value in policy.numbers(theta).items()}
    return numbers | {f"seconds/{name}": value for name, value in report.seconds.items()}


def write_outcome(
    directory: RunDirectory, settings: Settings, summary: Mapping[str, Sequence[Any]], what: str = "return"
) -> None:
    """Add a finished run to TensorBoard's table of hyper-parameters, with its returns, or ``what``, on held-out tasks.

    A failed simulation counts as the worst return seen.

    The settings in which several runs differ, and the returns, are the first columns of the table.

    Raises:
        UserError: the disk is full.
    """
    shown = {
        name: value if isinstance(value, bool | int | float | str) else in_short(value)
        for name, value in settings.flat().items()
    }
    iterations = settings.run.iterations
    with _quiet_writer(), _going_on_without(directory.path, _warn_of):
        with SummaryWriter(str(directory.path)) as writer:
            _add_summary(writer, hparams_pb(shown, trial_id=directory.path.resolve().name), iterations)
            for step, mean in enumerate(summary.get("mean_with_failed") or summary["mean"]):
                if mean is not None:
                    writer.add_scalar(f"held_out_{what}/after_{step}_steps", mean, iterations)
        name_event_files(directory.path)


def settings_table(settings: Mapping[str, Any]) -> str:
    """Settings, commit, versions and machine as a Markdown table."""
    owned = [part for part in settings["settings"].values() if isinstance(part, Mapping)]
    named = {name: value for name, value in settings["settings"].items() if not isinstance(value, Mapping)}
    rows = {**named, **{name: value for part in owned for name, value in part.items()}, **settings}
    lines = [f"| {name} | {as_json(value)} |" for name, value in rows.items() if name != "settings"]
    return "\n".join(["| setting | value |", "| --- | --- |", *lines])


def _add_summary(writer: SummaryWriter, summary: Summary, step: int) -> None:
    """Write what :class:`SummaryWriter` has no method for."""
    writer._get_file_writer().add_summary(summary, step)  # type: ignore[no-untyped-call]


@contextmanager
def _on_disk(run_dir: Path) -> Iterator[None]:
    """Turn a full disk into a user's error."""
    try:
        yield
    except OSError as error:
        raise unwritable(run_dir, error) from error


@contextmanager
def _going_on_without(run_dir: Path, tell: Callable[[Exception], None]) -> Iterator[None]:
    """What is written to TensorBoard inside this block: where it fails, the training goes on without.

    A full disk is another matter: what is recorded later would have a gap.

    Raises:
        UserError: the disk is full.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise unwritable(run_dir, error) from error
        tell(error)


def _warn_of(error: Exception) -> None:
    warnings.warn(
        f"TensorBoard could not be written ({type(error).__name__}: {error}); the training goes on, and its metrics "
        "are in the JSON lines.",
        stacklevel=5,
    )


def _without_lost_writes(loud: Callable[[threading.ExceptHookArgs], object]) -> Callable[[Any], object]:
    """What prints a traceback of a thread, but for where it could not write."""
    return lambda failed: None if isinstance(failed.exc_value, OSError) else loud(failed)


_quiet_writer = Held(
    lambda: threading.excepthook, lambda hook: setattr(threading, "excepthook", hook), _without_lost_writes
)
"""Keeps TensorBoard's own thread from printing a traceback where it cannot write; the next call raises its error."""


class Recorder(AbstractContextManager["Recorder"]):
    """Writes the reports of a run into its directory and shows its progress.

    Lines from ``start`` on, left by an interrupted run, are dropped before the first one is written, so that a
    resumed run leaves the same record as an uninterrupted one.
    """

    def __init__(
        self,
        directory: RunDirectory,
        start: int,
        iterations: int,
        settings: dict[str, Any],
        *,
        words: StageWords = after_steps,
        progress: bool = True,
    ) -> None:
        self._words = words
        self._path, self._start, metrics = directory.path, start, directory.metrics
        self._warned = self._failed = False
        before = sound_lines(metrics.read_bytes() if metrics.exists() else b"")
        write_atomically(metrics, b"".join(before[:start]))
        with ExitStack() as opened, _on_disk(self._path):
            opened.enter_context(_quiet_writer())
            name_event_files(directory.path)  # of a run that was killed
            self._lines = opened.enter_context(metrics.open("a", encoding="utf-8"))
            self._opened = opened.pop_all()
        with self._tensorboard():
            self._writer.add_text("settings", settings_table(settings), start)
        self._bar = ProgressBar(
            total=iterations,
            initial=start,
            desc="meta-training",
            unit="iteration",
            dynamic_ncols=True,
            disable=not progress,
        )

    @cached_property
    def _writer(self) -> SummaryWriter:
        """TensorBoard's, that is made when it is first written to; where that failed, at the next time again."""
        return SummaryWriter(str(self._path), purge_step=self._start)

    def write(self, policy: Policy, theta: Params, report: IterationReport) -> None:
        """Record one meta-iteration.

        Warns:
            In the run, most episodes of a stage were unstable for the first time.

        Raises:
            UserError: the disk is full.
        """
        numbers = scalars(policy, theta, report)
        defined = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        with _on_disk(self._path):
            self._lines.write(metrics_line(report.iteration, defined))
            self._lines.flush()
        with self._tensorboard():
            for name, value in defined.items():
                if value is not None:
                    self._writer.add_scalar(self._curve(name), value, report.iteration)
        shown = []
        if report.outcomes:
            shown.append(f"return {report.outcomes[0].mean_return:.1f} {self._words(0)}")
        if len(report.outcomes) > 1:
            shown.append(f"{report.outcomes[-1].mean_return:.1f} {self._words(len(report.outcomes) - 1)}")
        if report.outcomes:
            shown[-1] += " (sampled actions)"
        for name, word in (("query_loss", "loss on query sets"), ("kl", "KL")):
            if f"update/{name}" in numbers:
                shown.append(f"{word} {numbers[f'update/{name}']:.4f}")
        unstable = max((seen.share_unstable for seen in report.outcomes), default=0.0)
        if unstable:
            shown.append(f"{100 * unstable:.0f} % unstable")
        if report.lost.total:
            shown.append(f"{report.lost.total} lost")
        self._bar.set_postfix_str(", ".join(shown))
        self._bar.update()
        if unstable > MOST_UNSTABLE and not self._warned:
            self._warned = True
            warnings.warn(
                f"In meta-iteration {report.iteration} the simulations of {100 * unstable:.0f} % of the episodes of a "
                "stage were unstable. These are left out, and the policy learns from the few others. Check the robot's "
                "time step, its actuators' range and the speeds it may reach.",
                stacklevel=2,
            )

    def _curve(self, name: str) -> str:
        """A number's name in TensorBoard: by inner steps, or by what else the stages of the method are."""
        found = STAGE.search(name)
        if found is None or self._words is not teacher_and_student:
            return name
        return STAGE.sub(self._words(int(found[1])).replace(", ", "_").replace(" ", "_"), name)

    def sync(self) -> None:
        """Let what was recorded outlast a loss of power.

        Raises:
            UserError: the disk is full.
        """
        with _on_disk(self._path):
            os.fsync(self._lines.fileno())
        with self._tensorboard():
            self._writer.flush()

    def figure(self, name: str, figure: Figure, iteration: int) -> None:
        """Show a figure in TensorBoard.

        Raises:
            UserError: the disk is full.
        """
        with self._tensorboard(), ordinary_figures():
            self._writer.add_figure(name, figure, iteration)

    def video(self, name: str, gif: bytes, iteration: int) -> None:
        """Show a video in TensorBoard, among the images.

        Raises:
            UserError: the disk is full.
        """
        with Image.open(io.BytesIO(gif)) as first:
            width, height = first.size
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
        summary = Summary(value=[Summary.Value(tag=name, image=image)])
        with self._tensorboard():
            _add_summary(self._writer, summary, iteration)

    def _tensorboard(self) -> AbstractContextManager[None]:
        """What is written to TensorBoard inside this block: where it fails, the training goes on without.

        Warns:
            TensorBoard failed, for the first time.
        """
        return _going_on_without(self._path, self._tell)

    def _tell(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            _warn_of(error)

    def _close(self) -> None:
        with self._tensorboard():
            if "_writer" in vars(self):
                self._writer.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the bar and the files; the record so far stays.

        Raises:
            UserError: the disk is full, and nothing else had ended the run.
        """
        self._bar.close()
        try:
            with _on_disk(self._path), ExitStack() as files:
                files.push(self._opened)
                files.callback(name_event_files, self._path)
                files.callback(self._close)
        except UserError:
            if error is None:
                raise
