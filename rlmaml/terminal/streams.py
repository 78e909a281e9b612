"""Standard streams that are closed or whose reader has gone: what is said is lost, and nothing else."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any


class LastingStream:
    """A text stream that goes on where nobody reads any more: what it is given then goes nowhere.

    Args:
        stream: that writes.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        """Everything else is as of the stream."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or lose."""
        with self._losing():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or lose."""
        with self._losing():
            self._stream.flush()

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        """Where it cannot be written, its file becomes the one that loses everything, to the process's end."""
        try:
            yield
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


def make_streams_last() -> None:
    """Let standard output and error of a script last, show a question mark for what a terminal cannot, and be there.

    Where the process began without one of them, the next file that is opened would take its number, and what is meant
    for a terminal would be written into that.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (to the process's end)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
            setattr(sys, name, LastingStream(stream))
