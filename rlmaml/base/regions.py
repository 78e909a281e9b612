"""Named regions of the code, whose seconds a recorder or a benchmark reads without being handed down to them."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LISTENING: ContextVar[defaultdict[str, float] | None] = ContextVar("_LISTENING", default=None)


@contextmanager
def region(name: str) -> Iterator[None]:
    """Name what happens inside the ``with`` block. Regions may nest; each counts all of its own time.

    Where nobody listens it costs nothing that could be measured.
    """
    seconds = _LISTENING.get()
    if seconds is None:
        yield
        return
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] += time.perf_counter() - start


@contextmanager
def listening() -> Iterator[defaultdict[str, float]]:
    """Wall-clock seconds of every region entered inside the ``with`` block; a listener within it hears alone."""
    seconds: defaultdict[str, float] = defaultdict(float)
    token = _LISTENING.set(seconds)
    try:
        yield seconds
    finally:
        _LISTENING.reset(token)
