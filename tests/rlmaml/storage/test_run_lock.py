import errno
import fcntl
import os
import signal
from pathlib import Path
from typing import NoReturn

import pytest

from rlmaml.base.errors import UserError
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.storage.run_lock import sole_writer


def holding(directory: RunDirectory) -> int:
    """A process that holds the lock until it is killed."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        with sole_writer(directory):
            os.write(told, b"x")
            signal.pause()
        os._exit(1)
    os.close(told)
    assert os.read(ready, 1) == b"x"
    os.close(ready)
    return child


def test_a_second_process_is_refused_until_the_first_one_is_dead_however_it_died(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    child = holding(directory)
    try:
        with pytest.raises(UserError, match=r"Another process is training in .*run\. Wait until it has ended"):
            sole_writer(directory).__enter__()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with sole_writer(directory):
        assert directory.path.is_dir()


def test_a_second_run_of_the_same_process_is_refused_and_one_after_the_first_is_not(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    with sole_writer(directory):
        with pytest.raises(UserError, match="Another process is training"), sole_writer(directory):
            pass
        assert directory.path.is_dir()
        directory.metrics.write_text("")  # so that the next one locks the same directory
    with sole_writer(directory):
        pass


def test_nothing_is_left_behind_but_what_was_written(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    with sole_writer(directory):
        assert list(directory.path.iterdir()) == []
    assert not directory.path.exists()
    with sole_writer(directory):
        directory.metrics.write_text("")
    assert list(directory.path.iterdir()) == [directory.metrics]


def test_a_directory_that_its_last_holder_deleted_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = RunDirectory(tmp_path / "run")
    lock, calls = fcntl.flock, []

    def deleted_meanwhile(descriptor: int, how: int) -> None:
        calls.append(how)
        if len(calls) == 1:
            directory.path.rmdir()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", deleted_meanwhile)
    with sole_writer(directory):
        assert directory.path.is_dir()
        assert len(calls) == 2
        with pytest.raises(UserError, match="Another process"), sole_writer(directory):
            pass


def test_where_there_are_no_locks_a_warning_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, how: int) -> NoReturn:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="cannot be locked"), sole_writer(RunDirectory(tmp_path)):
        pass


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="Cannot write"), sole_writer(RunDirectory(path)):
            pass
