"""Writing files so that a crash, an interrupt or a full disk never costs what was there before."""

import contextlib
import os
from pathlib import Path

from rlmaml.base.errors import UserError


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step, or leave it as it was.

    Raises:
        UserError: the directory is not writable or the disk is full.
    """
    temporary = path.parent / f".{path.name}.partial"
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> UserError:
    """The message for a file that could not be written."""
    return UserError(
        f"Cannot write {path}: {error.strerror or error}. What was saved before is intact; free space, or choose "
        "another place; a training goes on with --resume."
    )


def check_writable(path: Path | None) -> None:
    """Refuse a file that could not be written in the end, before anything is computed.

    Raises:
        UserError: the path is a directory, or its directory does not exist or is not writable.
    """
    if path is None:
        return
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
    for path in paths:
        if path and path.exists() and not overwrite:
            raise UserError(f"{path} exists. Choose another place, or replace it with --overwrite.")
