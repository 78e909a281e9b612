import io
import re
import sys
import threading
import time

import pytest

from rlmaml.terminal import waiting
from rlmaml.terminal.bars import ProgressBar
from rlmaml.terminal.waiting import ERASE, Waiting, signs_of_life


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal_in(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Where both streams go."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


def test_a_silent_command_shows_that_it_works_and_its_words_stand_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_in(monkeypatch)
    with signs_of_life(0.03):
        end = time.monotonic() + 5
        while "working" not in terminal.getvalue() and time.monotonic() < end:
            time.sleep(0.02)
        sys.stdout.write("a result\n")
    assert sys.stdout is terminal
    before, after = terminal.getvalue().split("a result")
    assert "working, 0 s" in before
    assert before.endswith(ERASE)
    assert after.startswith("\n")


def test_a_progress_bar_counts_on_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_in(monkeypatch)
    with signs_of_life(0.03), ProgressBar(total=2, desc="training") as bar:
        bar.update()
        drawn = terminal.getvalue().count("training")
        end = time.monotonic() + 5
        while terminal.getvalue().count("training") == drawn and time.monotonic() < end:
            time.sleep(0.02)
        assert terminal.getvalue().count("training") > drawn
    assert "working" not in terminal.getvalue()


def test_where_nothing_comes_for_long_a_bar_says_for_how_long_until_something_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = terminal_in(monkeypatch)
    monkeypatch.setattr(waiting, "LONG", 3)
    with signs_of_life(0.03), ProgressBar(total=2, desc="training", postfix="return 1", mininterval=0) as bar:
        end = time.monotonic() + 5
        while "nothing new" not in terminal.getvalue() and time.monotonic() < end:
            time.sleep(0.02)
        assert re.search(r"training: .*, return 1, nothing new for 0 s\]", terminal.getvalue())
        monkeypatch.setattr(waiting, "LONG", 1e9)
        time.sleep(0.05)
        before = len(terminal.getvalue())
        bar.update()
        assert "return 1]" in terminal.getvalue()[before:]
        assert "nothing new" not in terminal.getvalue()[before:]


def test_a_sign_waits_for_no_lock_of_a_bar_that_is_being_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever draws a bar holds its lock, and asks for that of the signs when it writes."""
    signs = Waiting(terminal_in(monkeypatch), patience=0.0)
    with ProgressBar(total=2) as bar:
        thread = threading.Thread(target=signs.show)
        with bar.get_lock():
            thread.start()
            time.sleep(0.1)
            if writes := signs.lock.acquire(timeout=2):
                signs.lock.release()
        thread.join()
    assert writes


def test_without_a_terminal_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    with signs_of_life(0.01):
        time.sleep(0.05)
    assert shown.getvalue() == ""
