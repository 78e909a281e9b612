"""Signs of life: whoever waits sees every two seconds that something goes on, and so does a log."""

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

PATIENCE = 1.5
"""Seconds without a word after which there is a sign."""
LINE = 30.0
"""Seconds that a line of signs holds where signs stay: in a file, or in what another program reads."""
LONG = 20
"""So many times that long without a word, and the bars say for how long."""
ERASE = "\r\x1b[K"
"""What clears the line that the cursor is in."""


class Waiting:
    """When something was last written, and whether a sign stands in the last line.

    Args:
        terminal: where signs are shown.
        patience: seconds without a word before one.
        lasting: whether signs stay, for the terminal is none; they are points in a line of their own then.
        silent: seconds for which nothing was written before.
        shown: whether a sign may stand there already, of another process.
    """

    def __init__(
        self, terminal: Any, patience: float, *, lasting: bool = False, silent: float = 0.0, shown: bool = False
    ) -> None:
        self.lock = threading.RLock()
        self._terminal, self._patience, self._lasting = terminal, patience, lasting
        self._began = self._last = time.monotonic() - silent
        self._signed = self._line = -math.inf
        self._shown = shown
        self._signing: int | None = None
        self.elsewhere: Callable[[], str] | None = None
        """What is at work in other processes, whose words are not heard here; None for nothing."""

    def heard(self) -> None:
        """Something is about to be written: the sign makes room for it, unless it is the sign itself."""
        if self._signing == threading.get_ident():
            return
        if self._shown:
            self._terminal.write("\n" if self._lasting else ERASE)
            self._terminal.flush()
        self._shown, self._last = False, time.monotonic()

    def show(self) -> None:
        """Count on, where nothing was written for a while: in the progress bars, or else in a line of its own.

        In a file a bar that is drawn anew would fill it; there is a point.

        The bars have a lock of their own, under which whoever draws them writes: it is never asked for under ours.
        """
        now = time.monotonic()
        silent = now - self._last
        if silent < self._patience or now - self._signed < self._patience:
            return
        self._signed, self._signing = now, threading.get_ident()
        bars = [bar for bar in progress_bars() if not getattr(bar, "disable", True)]
        remark = self._remark(silent)
        for bar in () if self._lasting else bars:
            with suppress(OSError, ValueError):  # one whose stream is closed
                _refresh(bar, remark)
        with self.lock:
            self._signing = None
            if self._last <= now and (self._lasting or not bars):
                words = ", ".join(part for part in (f"working, {now - self._began:.0f} s", remark) if part)
                self._terminal.write(self._lasting_sign(words, now, bool(bars)) if self._lasting else ERASE + words)
                self._terminal.flush()
                self._shown = True

    def _remark(self, silent: float) -> str:
        """What a sign says beside the time: who is at work elsewhere, or that nothing was new for long."""
        if self.elsewhere is not None and (words := self.elsewhere()):
            return words
        return f"nothing new for {silent:.0f} s" if silent >= LONG * self._patience else ""

    def _lasting_sign(self, words: str, now: float, after_bar: bool) -> str:
        """A point, or words where a line of signs begins, after a bar or what was there before."""
        if self._shown and now - self._line < LINE:
            return "."
        self._line = now
        return f"\n{words}" if self._shown or after_bar else words


class Heard:
    """A stream whose words are noticed."""

    def __init__(self, stream: Any, waiting: Waiting) -> None:
        self._stream, self.waiting = stream, waiting

    def write(self, text: str) -> Any:
        """As the stream does."""
        with self.waiting.lock:
            self.waiting.heard()
            return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        """Whatever else the stream can do."""
        return getattr(self._stream, name)


@contextmanager
def elsewhere(words: Callable[[], str]) -> Iterator[None]:
    """Inside the block, signs say what is at work in other processes, and not that nothing was new here.

    Args:
        words: for what is at work; "" for nothing.
    """
    if not isinstance(sys.stderr, Heard):
        yield
        return
    waiting = sys.stderr.waiting
    before, waiting.elsewhere = waiting.elsewhere, words
    try:
        yield
    finally:
        waiting.elsewhere = before


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
def signs_of_life(patience: float | None = None, *, silent: float = 0.0, waited_for: bool = False) -> Iterator[None]:
    """Inside the block, show after every ``patience`` seconds without a word (1.5) that something goes on.

    Where nothing new comes for :data:`LONG` times as long, as from an environment that hangs, bars say for how long;
    while it is waited for other processes (:func:`elsewhere`), they say for how many.

    Where stderr is no terminal they are points in lines of it, one line in :data:`LINE` seconds. Of several processes
    one shows them: the first of those that train together, or the one that waits for the others.

    Args:
        patience: seconds.
        silent: seconds for which a terminal has seen nothing already.
        waited_for: another process waits for this one and shows signs; what is said first here makes room for itself.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    patience = PATIENCE if patience is None else patience
    streams = sys.stdout, sys.stderr
    lasting, over = not sys.stderr.isatty(), threading.Event()
    silent = 0.0 if lasting else silent
    waiting = Waiting(sys.stderr, patience, lasting=lasting, silent=silent, shown=waited_for)
    sys.stdout, sys.stderr = (Heard(stream, waiting) for stream in streams)

    def watch() -> None:
        while not over.wait(patience / 3):
            waiting.show()

    thread = threading.Thread(target=watch, daemon=True)
    if not waited_for:
        thread.start()
    try:
        yield
    finally:
        if not waited_for:
            over.set()
            thread.join()
            waiting.heard()
        sys.stdout, sys.stderr = streams
