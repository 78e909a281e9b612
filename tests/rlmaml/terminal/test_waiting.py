import io
import sys
import time

import pytest
from tqdm import tqdm

from rlmaml.terminal.waiting import ERASE, signs_of_life


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
    with signs_of_life(0.03), tqdm(total=2, desc="training") as bar:
        bar.update()
        drawn = terminal.getvalue().count("training")
        end = time.monotonic() + 5
        while terminal.getvalue().count("training") == drawn and time.monotonic() < end:
            time.sleep(0.02)
        assert terminal.getvalue().count("training") > drawn
    assert "working" not in terminal.getvalue()


def test_without_a_terminal_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    with signs_of_life(0.01):
        time.sleep(0.05)
    assert shown.getvalue() == ""
