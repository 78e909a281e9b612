import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from rlmaml.base.errors import UserError
from rlmaml.base.files import check_new, check_writable, write_atomically


def test_content_replaces_what_was_there_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_earlier_file_intact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def no_space(descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(UserError, match="No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot write"):
        write_atomically(tmp_path / "nowhere" / "file", b"new")


def test_a_place_that_cannot_hold_a_file_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    check_writable(None)
    check_writable(tmp_path / "new.json")
    check_writable(tmp_path / "file")
    for path, reason in (
        (tmp_path, "it is a directory"),
        (Path(), "it is a directory"),
        (tmp_path / "absent" / "x.json", "is no directory"),
        (tmp_path / "file" / "x.json", "is no directory"),
    ):
        with pytest.raises(UserError, match=reason):
            check_writable(path)
    with pytest.raises(UserError, match="Cannot write"):
        write_atomically(tmp_path / "file" / "x.json", b"text")


def test_a_file_that_is_there_is_replaced_on_request_alone(tmp_path: Path) -> None:
    there, absent = tmp_path / "there", tmp_path / "absent"
    there.write_text("precious")
    check_new(None, absent, overwrite=False)
    check_new(there, absent, overwrite=True)
    with pytest.raises(UserError, match=r"there exists.*--overwrite"):
        check_new(None, absent, there, overwrite=False)
