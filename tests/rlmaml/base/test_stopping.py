import math
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from rlmaml.base.errors import UserError
from rlmaml.base.stopping import SIGNALS, check_minutes, stopping


@pytest.fixture(autouse=True)
def ordinary_handlers() -> Iterator[None]:
    before = {one: signal.signal(one, signal.default_int_handler) for one in SIGNALS}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_kept_and_the_second_stops_at_once(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    with stopping() as asked:
        assert asked() is None
        signal.raise_signal(number)
        assert asked() == number.name
        assert "the next signal stops at once" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_handlers_are_as_before_also_after_an_error() -> None:
    before = [signal.getsignal(one) for one in SIGNALS]
    within = []

    def fail() -> None:
        within.append([signal.getsignal(one) for one in SIGNALS])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), stopping():
        fail()
    assert within != [before]
    assert [signal.getsignal(one) for one in SIGNALS] == before


def test_a_signal_that_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stopping() as asked:
        signal.raise_signal(signal.SIGHUP)
        assert asked() is None
        signal.raise_signal(signal.SIGTERM)
        assert asked() == "SIGTERM"


def test_time_counts_whatever_the_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "time", lambda: 1e12)
    with stopping(2.0) as asked:
        now[0] += 119.9
        assert asked() is None
        now[0] += 0.1
        assert asked() == "--stop-after 2"


def test_another_thread_keeps_its_hands_off_signals() -> None:
    seen: list[object] = []

    def work() -> None:
        with stopping(1.0) as asked:
            seen.append([signal.getsignal(one) for one in SIGNALS])
            seen.append(asked())

    before = [signal.getsignal(one) for one in SIGNALS]
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before, None]


def test_a_closed_terminal_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(descriptor: int, content: bytes) -> int:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(os, "write", closed)
    with stopping() as asked:
        signal.raise_signal(signal.SIGHUP)
        assert asked() == "SIGHUP"


@pytest.mark.parametrize("minutes", [0.0, -1.0, math.nan, math.inf])
def test_a_time_that_is_none_is_refused(minutes: float) -> None:
    check_minutes(None)
    check_minutes(0.5)
    with pytest.raises(UserError, match=r"--stop-after is .*; it must be a finite number of minutes above 0"):
        check_minutes(minutes)
