import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rlmaml.base.stopping import ORDERLY, StoppedRunError, stopping

SCRIPT = """
import signal, sys
from pathlib import Path
from rlmaml.terminal.command import run_command
from rlmaml.terminal.processes import in_processes
from tests.rlmaml.terminal.test_processes import until_asked

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal
    items = [Path(sys.argv[1]) / name for name in ("a", "b")]
    run_command(lambda: [*in_processes(items, until_asked, 2, str)])
"""


def until_asked(item: Path) -> None:
    """What stands for a training: it goes on for a while after it is asked to end, and then ends."""
    with stopping() as asked:
        item.with_suffix(".begun").touch()
        while not asked():
            time.sleep(0.01)
        time.sleep(0.5)
    item.with_suffix(".ended").touch()
    raise StoppedRunError("Stopped.")


def test_one_ctrl_c_lets_every_process_finish_what_it_does(tmp_path: Path) -> None:
    script = tmp_path / "both.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 120
        while len(list(tmp_path.glob("*.begun"))) < 2:
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == ORDERLY, said
    assert "Traceback" not in said
    assert len(list(tmp_path.glob("*.ended"))) == 2
