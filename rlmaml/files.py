"""Writing files so that a crash, an interrupt or a full disk never costs what was there before."""

import os
from pathlib import Path

from rlmaml.errors import UserError


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step, or leave it as it was.

    Raises:
        UserError: the directory is not writable or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> UserError:
    """The message for a file that could not be written."""
    return UserError(
        f"Cannot write {path}: {error.strerror}. What was saved before is intact; free space or choose another "
        "--run-dir, then continue with --resume."
    )
