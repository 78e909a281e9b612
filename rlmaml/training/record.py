"""What a run leaves to look at: TensorBoard, one JSON line per meta-iteration, and the progress bar."""

import dataclasses
import io
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from matplotlib.figure import Figure
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from rlmaml.base.errors import UserError
from rlmaml.base.files import unwritable, write_atomically
from rlmaml.core.types import Params
from rlmaml.settings.config import TrainConfig
from rlmaml.training.train import IterationReport

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"


def scalars(theta: Params, report: IterationReport) -> dict[str, float]:
    """The numbers of one meta-iteration, under the names that TensorBoard and the JSON lines use.

    TensorBoard groups by what is before the first slash and sorts the groups by name: these put the returns first.
    """
    numbers: dict[str, float] = {}
    for step, sampled in enumerate(report.rollouts):
        numbers[f"return/after_{step}_steps"] = float(sampled.returns.mean())
    for step, sampled in enumerate(report.rollouts):
        for column, term in enumerate(report.reward_terms):
            numbers[f"return_terms/{term}/after_{step}_steps"] = float(sampled.term_returns[..., column].mean())
        numbers[f"steps_per_episode/after_{step}_steps"] = float(sampled.lengths.mean())
        numbers[f"unstable_episodes/after_{step}_steps"] = float(sampled.unstable.sum())
    numbers |= {f"update/{name}": float(value) for name, value in report.update._asdict().items()}
    if "log_std" in theta:
        numbers["theta/std"] = float(theta["log_std"].exp().mean())
    return numbers | {f"seconds/{name}": value for name, value in report.seconds.items()}


def write_outcome(run_dir: Path, config: TrainConfig, summary: Mapping[str, Sequence[float]]) -> None:
    """Add a finished run to TensorBoard's table of hyper-parameters, with its returns on held-out tasks.

    The settings in which several runs differ, and the returns, are the first columns of the table.

    Raises:
        UserError: the disk is full.
    """
    settings = {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in dataclasses.asdict(config).items()
    }
    with _quiet_writer(), _on_disk(run_dir), SummaryWriter(str(run_dir / TENSORBOARD)) as writer:
        _add_summary(writer, hparams_pb(settings, trial_id=""), config.iterations)
        for step, mean in enumerate(summary["mean"]):
            writer.add_scalar(f"held_out_return/after_{step}_steps", mean, config.iterations)


def settings_table(settings: Mapping[str, Any]) -> str:
    """Configuration, commit, versions and machine as a Markdown table."""
    rows = {**settings["config"], **settings}
    lines = [f"| {name} | {json.dumps(value)} |" for name, value in rows.items() if name != "config"]
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
def _quiet_writer() -> Iterator[None]:
    """Keep TensorBoard's own thread from printing a traceback where it cannot write.

    The next call from this thread raises the same error.
    """
    loud = threading.excepthook
    threading.excepthook = lambda failed: None if isinstance(failed.exc_value, OSError) else loud(failed)
    try:
        yield
    finally:
        threading.excepthook = loud


class Recorder(AbstractContextManager["Recorder"]):
    """Writes the reports of a run into its directory and shows its progress.

    Lines from ``start`` on, left by an interrupted run, are dropped before the first one is written, so that a
    resumed run leaves the same record as an uninterrupted one.
    """

    def __init__(self, run_dir: Path, start: int, iterations: int, settings: dict[str, Any]) -> None:
        self._run_dir, metrics = run_dir, run_dir / METRICS
        kept = metrics.read_bytes().splitlines(keepends=True)[:start] if metrics.exists() else []
        write_atomically(metrics, b"".join(kept))
        self._quiet = _quiet_writer()
        self._quiet.__enter__()
        with _on_disk(run_dir):
            self._lines = metrics.open("a")
            self._writer = SummaryWriter(str(run_dir / TENSORBOARD), purge_step=start)
            self._writer.add_text("settings", settings_table(settings), start)
        self._bar = tqdm(total=iterations, initial=start, desc="meta-training", unit="iteration", dynamic_ncols=True)

    def write(self, theta: Params, report: IterationReport) -> None:
        """Record one meta-iteration.

        Raises:
            UserError: the disk is full.
        """
        numbers = scalars(theta, report)
        line = json.dumps({"iteration": report.iteration, **numbers})
        with _on_disk(self._run_dir):
            self._lines.write(line + "\n")
            self._lines.flush()
            for name, value in numbers.items():
                self._writer.add_scalar(name, value, report.iteration)
        self._bar.set_postfix(
            before=f"{report.rollouts[0].returns.mean():.1f}",
            after=f"{report.rollouts[-1].returns.mean():.1f}",
            kl=f"{report.update.kl:.4f}",
        )
        self._bar.update()

    def figure(self, name: str, figure: Figure, iteration: int) -> None:
        """Show a figure in TensorBoard.

        Raises:
            UserError: the disk is full.
        """
        with _on_disk(self._run_dir):
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
        with _on_disk(self._run_dir):
            _add_summary(self._writer, summary, iteration)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the bar and the files; the record so far stays.

        Raises:
            UserError: the disk is full, and nothing else had ended the run.
        """
        self._bar.close()
        try:
            with _on_disk(self._run_dir), ExitStack() as files:
                files.push(self._quiet)
                files.callback(self._lines.close)
                files.callback(self._writer.close)
        except UserError:
            if error is None:
                raise
