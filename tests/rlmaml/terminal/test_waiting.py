import io
import re
import sys
import threading
import time

import pytest

from rlmaml.terminal import waiting
from rlmaml.terminal.bars import ProgressBar
from rlmaml.terminal.waiting import ERASE, Heard, Waiting, elsewhere, signs_of_life


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


def test_while_others_are_at_work_a_sign_says_so_and_afterwards_again_that_nothing_is_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = terminal_in(monkeypatch)
    monkeypatch.setattr(waiting, "LONG", 0)
    signs = Waiting(terminal, patience=0.0)
    monkeypatch.setattr(sys, "stderr", Heard(terminal, signs))
    with elsewhere(lambda: "2 at work"):
        signs.show()
    assert terminal.getvalue() == f"{ERASE}working, 0 s, 2 at work"
    with elsewhere(lambda: ""):
        signs.show()
    signs.show()
    assert terminal.getvalue().endswith(2 * f"{ERASE}working, 0 s, nothing new for 0 s")


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


def test_in_a_log_signs_are_points_in_few_lines_of_stderr_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    log, results = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(sys, "stdout", results)
    monkeypatch.setattr(waiting, "LINE", 0.2)
    began = time.monotonic()
    with signs_of_life(0.02):
        end = began + 5
        while log.getvalue().count("working") < 3 and time.monotonic() < end:
            time.sleep(0.02)
        seconds = time.monotonic() - began
        sys.stdout.write("a result\n")
    assert re.fullmatch(r"(working, \d s(, nothing new for \d s)?\.*\n)+", log.getvalue())
    assert log.getvalue().count("working") <= 1 + seconds / 0.2
    assert log.getvalue().count(".") > 2
    assert results.getvalue() == "a result\n"


def test_in_a_log_a_bar_is_not_drawn_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with signs_of_life(0.03), ProgressBar(total=2, desc="training", mininterval=0) as bar:
        end = time.monotonic() + 5
        while log.getvalue().count(".") < 3 and time.monotonic() < end:
            time.sleep(0.02)
        bar.update()
    assert log.getvalue().count("| 0/2") == 1
    assert re.search(r"\| 0/2 .*\nworking, 0 s\.+\n\rtraining:  50%", log.getvalue())


def test_a_terminal_that_was_silent_before_sees_the_first_sign_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_in(monkeypatch)
    with signs_of_life(3.0, silent=7.0):
        end = time.monotonic() + 2
        while not terminal.getvalue() and time.monotonic() < end:
            time.sleep(0.02)
    assert re.match(rf"{re.escape(ERASE)}working, [78] s", terminal.getvalue())


def test_who_is_not_silent_leaves_no_sign_in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with signs_of_life(5.0):
        time.sleep(0.05)
    assert log.getvalue() == ""


def test_of_several_processes_the_first_shows_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_in(monkeypatch)
    monkeypatch.setenv("RANK", "1")
    with signs_of_life(0.01):
        time.sleep(0.1)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_a_process_that_another_one_waits_for_shows_none_and_its_words_begin_in_a_line_of_their_own(
    monkeypatch: pytest.MonkeyPatch, kind: type[io.StringIO]
) -> None:
    shown = kind()
    monkeypatch.setattr(sys, "stderr", shown)
    with signs_of_life(0.01, waited_for=True):
        time.sleep(0.1)
    assert shown.getvalue() == ""
    with signs_of_life(0.01, waited_for=True):
        for words in ("error: none.", "\n", "That is all.", "\n"):
            sys.stderr.write(words)
    assert shown.getvalue() == ("\n" if kind is io.StringIO else ERASE) + "error: none.\nThat is all.\n"
