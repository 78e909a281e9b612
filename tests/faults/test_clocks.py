"""A clock that jumps: what is recorded, shown and asked for goes by what happened, not by the time of day."""

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rlmaml.base.errors import UserError
from rlmaml.base.stopping import StoppedRunError
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.storage.run_lock import sole_writer
from rlmaml.terminal.bars import ProgressBar
from rlmaml.training.run import train
from tests.faults.trainings import SETTINGS, make_env
from tests.rlmaml.shapes import shapes_checked
from tests.rlmaml.training.test_run import lines, same_learned

HOUR = 3600.0
TRAINED = SETTINGS.changed(iterations=4, checkpoint_interval=2)
Clock = Callable[[], float]


@pytest.fixture(autouse=True)
def _unchecked() -> Iterator[None]:
    with shapes_checked(False):
        yield


def jumping(*jumps: float) -> Clock:
    """The time of day, which is put forward or back by one of the jumps each time that it is asked for."""
    now, asked = time.time, [0]

    def clock() -> float:
        asked[0] += 1
        return now() + jumps[asked[0] % len(jumps)]

    return clock


CLOCKS: dict[str, tuple[Callable[[], Clock], Callable[[], Clock]]] = {
    "backwards": (lambda: jumping(0.0), lambda: jumping(-5 * HOUR)),
    "forwards": (lambda: jumping(0.0), lambda: jumping(5 * HOUR)),
    "to and fro": (lambda: jumping(HOUR, -HOUR, 0.0), lambda: jumping(-3 * HOUR, 24 * HOUR)),
}
"""How it jumps -> the clock of a run, and the one when it is resumed."""
MORE = [jumps for jumps in CLOCKS if jumps != "backwards"]


@pytest.mark.parametrize("jumps", ["backwards", *(pytest.param(jumps, marks=pytest.mark.slow) for jumps in MORE)])
def test_a_run_whose_clock_jumps_is_the_same_run_and_has_neither_duplicates_nor_gaps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jumps: str
) -> None:
    train(TRAINED, make_env, tmp_path / "whole", progress=False)
    first, second = CLOCKS[jumps]
    monkeypatch.setattr(time, "time", first())
    failing = iter([None, None, None, ZeroDivisionError()])

    def fails_in_the_fourth(copies: int) -> Any:
        env = make_env(copies)
        sample = env.sample_tasks

        def sample_tasks(*values: Any, **options: Any) -> Any:
            if error := next(failing, None):
                raise error
            return sample(*values, **options)

        env.sample_tasks = sample_tasks
        return env

    with pytest.raises(ZeroDivisionError):
        train(TRAINED, fails_in_the_fourth, tmp_path / "run", progress=False)
    directory = RunDirectory(tmp_path / "run")
    directory.earlier_checkpoint(1).replace(directory.checkpoint)  # as if it had been killed: a line is to be dropped
    monkeypatch.setattr(time, "time", second())
    train(TRAINED, make_env, tmp_path / "run", resume=True, progress=False, stop_after=1.0)
    assert same_learned(tmp_path / "run", tmp_path / "whole")
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")
    points = EventAccumulator(str(directory.path)).Reload().Scalars("return/after_0_steps")
    assert [point.step for point in points] == [0, 1, 2, 3]
    assert all(0 <= value < 60 for line in directory.read_metrics() for name, value in line.items() if "second" in name)


def test_a_time_to_stop_after_and_a_lock_do_not_know_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", jumping(-HOUR, HOUR))
    with pytest.raises(StoppedRunError, match="after 1 meta-iteration"):
        train(TRAINED, make_env, tmp_path, progress=False, stop_after=1e-9)
    train(TRAINED.changed(iterations=2), make_env, tmp_path, progress=False, resume=True, stop_after=59.0)
    with sole_writer(RunDirectory(tmp_path)):
        monkeypatch.setattr(time, "time", jumping(1e6 * HOUR))
        with pytest.raises(UserError, match="Another process is training"):
            train(TRAINED, make_env, tmp_path, progress=False, resume=True)


def test_a_bar_goes_on_where_the_clock_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1e9]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    shown = io.StringIO()
    with ProgressBar(total=3, file=shown, mininterval=0.01) as bar:
        now[0] -= HOUR
        time.sleep(0.02)
        bar.update()
        assert "1/3 [00:00<" in shown.getvalue()
