"""How a process is asked to end: by one signal to finish what it is doing, by two to stop at once, or by the time."""

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeAlias

from rlmaml.base.errors import UserError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ORDERLY = 75
"""Exit code of a process that was asked to end and can be gone on with: EX_TEMPFAIL of sysexits.h."""

Asked: TypeAlias = Callable[[], str | None]
"""Why the process is to end, or None while it is to go on."""


class InterruptedRunError(UserError):
    """The user stopped a run; it can be resumed."""

    heading = ""


class StoppedRunError(InterruptedRunError):
    """The run was asked to end, by a signal or after some time, and finished its meta-iteration; it can be resumed."""

    exit_code = ORDERLY


@contextlib.contextmanager
def stopping(minutes: float | None = None) -> Iterator[Asked]:
    """Within this block the first signal to end is kept for whoever asks; the second one raises KeyboardInterrupt.

    A signal that is ignored, as SIGHUP is under nohup, stays so. In another thread than the main one, whose signals
    these are not, only the time counts.

    Args:
        minutes: wall-clock time after which the process is to end, too; None for none.
    """
    began, received = time.monotonic(), list[str]()

    def receive(number: int, frame: FrameType | None) -> None:
        if received:
            signal.default_int_handler(number, frame)
        received.append(signal.Signals(number).name)
        with contextlib.suppress(OSError):  # print() cannot be used within itself
            os.write(2, b"\nFinishing this meta-iteration; the next signal stops at once.\n")

    def asked() -> str | None:
        if received:
            return received[0]
        over = minutes is not None and time.monotonic() - began >= 60 * minutes
        return f"--stop-after {minutes:g}" if over else None

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {one: signal.getsignal(one) for one in SIGNALS}
        for one, handler in before.items():
            if handler not in (signal.SIG_IGN, None):
                signal.signal(one, receive)
    try:
        yield asked
    finally:
        for one, handler in before.items():
            if handler is not None:
                signal.signal(one, handler)


def check_minutes(minutes: float | None) -> None:
    """Check the time after which a training is to end; None is for none.

    Raises:
        UserError: it is no finite number above 0.
    """
    if minutes is not None and not 0 < minutes < math.inf:
        raise UserError(f"--stop-after is {minutes!r}; it must be a finite number of minutes above 0.")
