import errno
import os
import secrets
import stat
from pathlib import Path
from typing import NoReturn

import pytest

from rlmaml.base.errors import UserError
from rlmaml.base.files import check_new, check_writable, is_left_over, replacing, write_atomically


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


def test_nothing_is_left_where_writing_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == []


def test_no_link_that_somebody_planted_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in (".file.partial", ".file.planted.partial", "file"):
        (tmp_path / name).symlink_to(victim)
    write_atomically(tmp_path / "file", b"new")
    assert victim.read_text() == "precious"
    assert (tmp_path / "file").read_bytes() == b"new"
    assert not (tmp_path / "file").is_symlink()
    monkeypatch.setattr(secrets, "token_hex", lambda _: "planted")
    with pytest.raises(UserError, match="File exists"):
        write_atomically(tmp_path / "file", b"newer")
    assert victim.read_text() == "precious"


def test_a_file_is_synchronised_before_the_renaming_and_its_directory_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, rename = os.fsync, Path.replace

    def seen_sync(descriptor: int) -> None:
        done.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def seen_rename(one: Path, other: Path) -> Path:
        done.append("rename")
        return rename(one, other)

    monkeypatch.setattr(os, "fsync", seen_sync)
    monkeypatch.setattr(Path, "replace", seen_rename)
    write_atomically(tmp_path / "file", b"new")
    assert done == ["file", "rename", "directory"]
    done.clear()
    with replacing(tmp_path / "film.gif") as target:
        target.write_bytes(b"new")
    assert done == ["file", "rename", "directory"]


def test_a_file_that_others_write_is_replaced_when_it_is_complete_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "film.gif"
    with replacing(path) as target:
        assert target.suffix == ".gif"
        target.write_bytes(b"old")
        assert not path.exists()
    assert path.read_bytes() == b"old"

    def half(error: BaseException | None) -> None:
        with replacing(path) as target:
            target.write_bytes(b"" if error is None else b"half")
            if error is not None:
                raise error

    for error, expected in (
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), UserError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (RuntimeError(), RuntimeError),
        (None, UserError),
    ):
        with pytest.raises(expected):
            half(error)
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["film.gif"]


def test_what_a_killed_process_leaves_is_known_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "replace", lambda *_: os._exit(9))
    if (child := os.fork()) == 0:
        write_atomically(tmp_path / "file", b"new")
    os.waitpid(child, 0)
    (left,) = os.listdir(tmp_path)
    assert is_left_over(left, "file")
    assert not is_left_over(left, "fil")


def test_what_a_killed_process_leaves_of_a_film_is_known_by_its_name(tmp_path: Path) -> None:
    for name in ("film.gif", f"{'long' * 30}.gif"):
        with replacing(tmp_path / name) as target:
            target.write_bytes(b"half")
            assert is_left_over(target.name, name)
            assert not is_left_over(target.name, "film.mp4")


def test_a_place_for_those_who_write_files_themselves_is_made_anew_and_is_no_planted_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr(secrets, "token_hex", lambda _: "planted")
    (tmp_path / ".film.planted.partial.gif").symlink_to(victim)
    with pytest.raises(UserError, match="File exists"), replacing(tmp_path / "film.gif") as target:
        target.write_bytes(b"new")
    assert victim.read_text() == "precious"


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
        (tmp_path / os.fsdecode(b"caf\xe9.json"), r"is no text in UTF-8"),
        (tmp_path / ("x" * 256), "There can be no .*File name too long"),
        (tmp_path / "a\0b", "There can be no .*null"),
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
