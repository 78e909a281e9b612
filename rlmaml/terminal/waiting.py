"""Signs of life: whoever waits sees within two seconds that something goes on, and in a log now and then."""

import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

PATIENCE = 1.5
"""Seconds without a word after which there is a sign."""
RARE = 30.0
"""Seconds, at least, from one sign to the next where signs stay: in a file, or in what another program reads."""
LONG = 20
"""So many times that long without a word, and the bars say for how long."""
ERASE = "\r\x1b[K"
"""What clears the line that the cursor is in."""


class Waiting:
    """When something was last written, and whether a sign stands in the last line.

    Args:
        terminal: where signs are shown.
        patience: seconds without a word before one.
        lasting: whether signs stay, for the terminal is none; each is a line of its own then, and rare.
    """

    def __init__(self, terminal: Any, patience: float, *, lasting: bool = False) -> None:
        self.lock = threading.RLock()
        self._terminal, self._patience, self._lasting = terminal, patience, lasting
        self._began = self._last = time.monotonic()
        self._signed = -math.inf
        self._shown = False
        self._signing: int | None = None

    def heard(self) -> None:
        """Something is about to be written: the sign makes room for it, unless it is the sign itself."""
        if self._signing == threading.get_ident():
            return
        if self._shown:
            self._terminal.write(ERASE)
            self._terminal.flush()
        self._shown, self._last = False, time.monotonic()

    def show(self) -> None:
        """Count on, where nothing was written for a while: in the progress bars, or else in a line of its own.

        The bars have a lock of their own, under which whoever draws them writes: it is never asked for under ours.
        """
        now = time.monotonic()
        silent = now - self._last
        if silent < self._patience or now - self._signed < (RARE if self._lasting else self._patience):
            return
        self._signed, self._signing = now, threading.get_ident()
        bars = [bar for bar in progress_bars() if not bar.disable]
        for bar in bars:
            with suppress(OSError, ValueError):  # one whose stream is closed
                _refresh(bar, f"nothing new for {silent:.0f} s" if silent >= LONG * self._patience else "")
        with self.lock:
            self._signing = None
            if not bars and self._last <= now:
                words = f"working, {now - self._began:.0f} s"
                self._terminal.write(f"{words}\n" if self._lasting else f"{ERASE}{words}")
                self._terminal.flush()
                self._shown = not self._lasting


class Heard:
    """A stream whose words are noticed."""

    def __init__(self, stream: Any, waiting: Waiting) -> None:
        self._stream, self._waiting = stream, waiting

    def write(self, text: str) -> Any:
        """As the stream does."""
        with self._waiting.lock:
            self._waiting.heard()
            return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        """Whatever else the stream can do."""
        return getattr(self._stream, name)


def _refresh(bar: Any, remark: str) -> None:
    """Draw a bar anew, once with a remark at its end."""
    before = bar.postfix
    bar.postfix = ", ".join(part for part in (before, remark) if part)
    try:
        bar.refresh()
    finally:
        bar.postfix = before


def progress_bars() -> list[Any]:
    """The progress bars that are shown now."""
    module = sys.modules.get("tqdm.std")
    return [] if module is None else list(getattr(module.tqdm, "_instances", ()))


@contextmanager
def signs_of_life(patience: float | None = None) -> Iterator[None]:
    """Inside the block, show after every ``patience`` seconds without a word (1.5) that something goes on.

    Where nothing new comes for :data:`LONG` times as long, as from an environment that hangs, bars say for how long.

    Where stderr is no terminal they are lines of it, at most one in :data:`RARE` seconds. Of several processes that
    train together the first one shows them.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    patience = PATIENCE if patience is None else patience
    streams = sys.stdout, sys.stderr
    waiting, over = Waiting(sys.stderr, patience, lasting=not sys.stderr.isatty()), threading.Event()
    sys.stdout, sys.stderr = (Heard(stream, waiting) for stream in streams)

    def watch() -> None:
        while not over.wait(patience / 3):
            waiting.show()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        waiting.heard()
        sys.stdout, sys.stderr = streams
