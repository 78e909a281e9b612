"""Writing files so that a crash, an interrupt or a full disk never costs what was there before."""

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from rlmaml.base.errors import UserError

KEPT_OF_NAME = 40
"""Letters of a file's name in that of its temporary one, which is legal wherever the file's own is."""


def write_atomically(path: Path | str, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step that outlasts a loss of power, or leave it as it was.

    What is written before that step has a name that nobody can know, and is made anew: it never follows a link. A link
    at ``path`` is replaced itself.

    Raises:
        UserError: the directory is not writable or the disk is full.
    """
    path = Path(path)
    temporary = path.parent / f".{path.name[:KEPT_OF_NAME]}.{secrets.token_hex(8)}.partial"
    with _put_in_place(temporary, path), os.fdopen(_made(temporary), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """An empty file beside ``path``, of the same suffix, which replaces ``path`` in one step when the block ends.

    It is for those who write files themselves. It is made anew, under a name that nobody can know: no
    link is followed. Where the block fails, or nothing was written, ``path`` stays as it was.

    Raises:
        UserError: the directory is not writable or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem[:KEPT_OF_NAME]}.{secrets.token_hex(8)}.partial{path.suffix}")
    with _put_in_place(temporary, path):
        os.close(_made(temporary))
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        if not temporary.stat().st_size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _made(temporary: Path) -> int:
    """A new file, open to be written."""
    return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)


@contextlib.contextmanager
def _put_in_place(temporary: Path, path: Path) -> Iterator[None]:
    """What the block writes to ``temporary`` replaces ``path`` when it ends; where it fails, nothing is left of it."""
    try:
        yield
        temporary.replace(path)
        sync_directory(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise unwritable(path, error) from error
        raise


def is_left_over(name: str, of: str) -> bool:
    """Whether a file's name is that of what a killed process had written of another one."""
    number, whole = "[0-9a-f]{16}", Path(of)
    alike = rf"{re.escape(of[:KEPT_OF_NAME])}\.{number}\.partial"
    by_others = rf"{re.escape(whole.stem[:KEPT_OF_NAME])}\.{number}\.partial{re.escape(whole.suffix)}"
    return re.fullmatch(rf"\.({alike}|{by_others})", name) is not None


def sync_directory(path: Path) -> None:
    """Let what was renamed in a directory outlast a loss of power, where the file system can say so."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(path: Path, error: OSError) -> UserError:
    """The message for a file that could not be written."""
    return UserError(
        f"Cannot write {path}: {error.strerror or error}. What was saved before is intact; free space, or choose "
        "another place; a training goes on with --resume."
    )


def check_nameable(path: Path | str) -> None:
    """Refuse a path that no file can have, or that half of those who read files could not open.

    Raises:
        UserError: it is no text in UTF-8, it holds a zero byte, or it is too long.
    """
    try:
        os.lstat(str(path).encode())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    except UnicodeEncodeError as error:
        raise UserError(f"The name of {path} is no text in UTF-8, as others need it. Rename it.") from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"There can be no {path}: {getattr(error, 'strerror', None) or error}. Name another."
        ) from error


def check_writable(path: Path | None) -> None:
    """Refuse a file that could not be written in the end, before anything is computed.

    Raises:
        UserError: the path is a directory, or its directory does not exist or is not writable.
    """
    if path is None:
        return
    check_nameable(path)
    if path.is_dir() or not path.name:
        raise UserError(f"Cannot write {path}: it is a directory. Name a file.")
    if not path.parent.is_dir():
        raise UserError(f"Cannot write {path}: {path.parent} is no directory. Make it, or choose another place.")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"Cannot write {path}: {path.parent} is not writable. Choose another place.")


def check_new(*paths: Path | None, overwrite: bool) -> None:
    """Refuse to replace a file, before anything is computed.

    Args:
        paths: what will be written; None for nothing.
        overwrite: the user asked for it.

    Raises:
        UserError: names the first file that is there already.
    """
    for path in filter(None, paths):
        check_nameable(path)
        if path.exists() and not overwrite:
            raise UserError(f"{path} exists. Choose another place, or replace it with --overwrite.")
