"""One run, one writer: a lock on the run's directory that ends with the process that holds it."""

import contextlib
import errno
import fcntl
import os
import warnings
from collections.abc import Iterator

from rlmaml.base.errors import UserError
from rlmaml.base.files import unwritable
from rlmaml.storage.run_directory import RunDirectory


@contextlib.contextmanager
def sole_writer(directory: RunDirectory) -> Iterator[None]:
    """Hold the lock of a run's directory, which is made if it is not there, and deleted if it is empty in the end.

    The system keeps the lock (flock) on the directory itself: it leaves no file behind, and where its process ends in
    whatever way, the next one has it.

    Warns:
        The file system has no locks.

    Raises:
        UserError: another process holds it, or the directory cannot be made.
    """
    descriptor = _locked(directory)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it holds a run
            directory.path.rmdir()
        os.close(descriptor)


def _locked(directory: RunDirectory) -> int:
    """The open directory, locked."""
    while True:
        directory.make()
        try:
            descriptor = os.open(directory.path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # deleted between the two
        except OSError as error:
            raise unwritable(directory.path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                os.close(descriptor)
                raise UserError(
                    f"Another process is training in {directory.path}. Wait until it has ended, or choose another "
                    "--run-dir."
                ) from error
            warnings.warn(
                f"{directory.path} cannot be locked ({error.strerror}): let no other process train in it.", stacklevel=3
            )
            return descriptor
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), directory.path.stat()):
                return descriptor
        os.close(descriptor)  # its last holder deleted it, and it may have been made anew
