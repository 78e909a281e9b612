import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlmaml.base.stopping import ORDERLY, StoppedRunError, stopping
from rlmaml.terminal import waiting
from rlmaml.terminal.processes import in_processes
from rlmaml.terminal.waiting import signs_of_life

SCRIPT = """
import signal, sys
from pathlib import Path
from rlmaml.terminal import processes, waiting
from rlmaml.terminal.command import run_command
from tests.rlmaml.terminal.test_processes import until_asked

waiting.PATIENCE = 0.02  # in the processes, too
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal
    processes.POLLED = float(sys.argv[2])
    items = [Path(sys.argv[1]) / name for name in ("a", "b")]
    run_command(lambda: [*processes.in_processes(items, until_asked, 2, str)])
"""
MOST = 100.0
"""Seconds until what does not end in order does."""


def until_asked(item: Path) -> None:
    """What stands for a training: it goes on for a while after it is asked to end, if it may, and then ends."""
    with stopping() as asked:
        item.with_suffix(".begun").touch()
        while not asked():
            time.sleep(0.01)
        item.with_suffix(".asked").touch()
        time.sleep(MOST if item.with_name("long").exists() else 0.5)
    item.with_suffix(".ended").touch()
    raise StoppedRunError("Stopped.")


def interrupted(directory: Path, times: int, polled: float = 0.2) -> tuple[int, str]:
    """The exit code, and what was said, of a program with two processes that is interrupted as in a terminal."""
    script = directory / "both.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), str(directory), str(polled)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _until(directory, "*.begun", process)
        os.killpg(process.pid, signal.SIGINT)
        if times > 1:
            if polled < 1:
                _until(directory, "*.asked", process)
            time.sleep(0.5)  # two that come together are one, on a busy machine even with 0.1 s between them
            os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=0.8 * MOST)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said


def _until(directory: Path, pattern: str, process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + 120
    while len(list(directory.glob(pattern))) < 2:
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.05)


def test_one_ctrl_c_lets_every_process_finish_what_it_does(tmp_path: Path) -> None:
    code, said = interrupted(tmp_path, 1)
    assert code == ORDERLY, said
    assert "Traceback" not in said
    assert len(list(tmp_path.glob("*.ended"))) == 2


@pytest.mark.parametrize("polled", [0.2, 2.0])
def test_the_second_ctrl_c_stops_every_process_at_once_whether_the_first_was_passed_on_or_not(
    tmp_path: Path, polled: float
) -> None:
    (tmp_path / "long").touch()
    code, said = interrupted(tmp_path, 2, polled)
    assert code == 130, said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("*.ended"))


def test_who_waits_for_processes_says_how_many_are_at_work_and_not_that_nothing_is_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What they do is not heard: a log that says that nothing is new looks as if all hung."""
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(waiting, "LONG", 0)
    monkeypatch.setattr(waiting, "LINE", 0.0)
    with signs_of_life(0.02):
        ended = in_processes([0.3], time.sleep, 1, str)
        assert list(ended) == [0.3]
        at_work = log.getvalue()
        time.sleep(0.2)
    _, *between, _ = at_work.split("1 process at work")  # after the last one it has ended, which a sign may say, too
    assert len(between) > 1
    assert "nothing new" not in "".join(between)
    assert "nothing new" in log.getvalue()[len(at_work) :]


def test_of_processes_and_who_waits_for_them_one_shows_signs_in_one_line(tmp_path: Path) -> None:
    _, said = interrupted(tmp_path, 1)
    signs, words = said.split("\n", 1)
    assert re.fullmatch(r"working, 0 s(, [12] process(es)? at work)?\.+", signs)
    assert "working" not in words
