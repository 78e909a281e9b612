import contextlib
import errno
import gc
import os
import signal
import subprocess
import sys
import warnings

import pytest

from rlmaml.base.errors import UserError
from rlmaml.terminal.command import lasting_imports, run_command


def test_a_users_mistake_is_one_sentence_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise UserError("The horizon is 0.")

    with pytest.raises(SystemExit) as ended:
        run_command(command)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: The horizon is 0.\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "--json", ""], "Word 3 of the command line is empty, after --json. Is a variable not set?"),
        (["--run-dir="], "Word 1 of the command line is empty"),
        ([os.fsdecode(b"caf\xe9")], "is no text in UTF-8"),
    ],
)
def test_words_that_are_empty_or_no_text_are_refused_before_anything_is_done(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["script.py", *words])
    with pytest.raises(SystemExit) as ended:
        run_command(pytest.fail)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_what_ended_as_it_was_asked_to_has_an_exit_code_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    class EndedError(UserError):
        exit_code, heading = 75, ""

    def command() -> None:
        raise EndedError("Stopped.")

    with pytest.raises(SystemExit) as ended:
        run_command(command)
    assert ended.value.code == 75
    assert capsys.readouterr().err == "Stopped.\n"


def test_a_hangup_that_is_ignored_stays_so() -> None:
    before = {one: signal.getsignal(one) for one in (signal.SIGHUP, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        run_command(lambda: None)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == signal.default_int_handler
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def test_an_interrupt_is_exit_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        run_command(command)
    assert ended.value.code == 130


def test_a_warning_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    run_command(lambda: None)
    assert warnings.formatwarning("Too many threads.", UserWarning, "file.py", 3) == "warning: Too many threads.\n"


def test_what_a_terminal_cannot_show_is_a_question_mark() -> None:
    shown = "print('4 \\u00b1 1 \\u2192 \\udcff')"
    program = f"from rlmaml.terminal.command import run_command\nrun_command(lambda: {shown})"
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "4 ? 1 ? ?\n"), done.stderr


def test_a_machine_without_room_for_temporary_files_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    with pytest.raises(SystemExit) as ended:
        run_command(command)
    assert ended.value.code == 2
    said = "error: No usable temporary directory found in ['/tmp']. Free space, or name another place for temporary "
    assert capsys.readouterr().err == f"{said}files by TMPDIR.\n"


def test_a_defect_of_the_program_keeps_its_traceback() -> None:
    def command() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_command(command)


def test_what_is_imported_to_stay_is_never_looked_through_for_garbage() -> None:
    frozen = gc.get_freeze_count()
    try:
        with contextlib.suppress(ImportError), lasting_imports():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled()
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()
