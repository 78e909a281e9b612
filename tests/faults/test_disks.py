"""Full and read-only disks: every script that writes ends with one sentence, and leaves what was there before."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.unshared import can_unshare
from tests.faults.writers import TRAINING
from tests.scripts.test_scripts import run_script

ROOT = Path(__file__).parents[2]
TAUGHT = ("examples", "pictures", "demonstrations", "dynamics", "ratings")
OF_TRAININGS = ("train", "go on", "compare", "compress", *(f"train on {what}" for what in TAUGHT))
"""They leave a run that can be gone on with."""
OF_SEVERAL_FILES = ("adapt", "record", "render")
"""They leave what was whole before a file could not be written, or not be written once more with what was measured."""
DISKS = {
    "read-only": "cp -r {run} {disk}/run; mount --bind {disk} {disk}; mount -o remount,bind,ro {disk}",
    "with a limit of 0 bytes for files": "cp -r {run} {disk}/run; ulimit -f 0",
    "with a limit of 4 KiB for files": "cp -r {run} {disk}/run; ulimit -f 4",
    "full": "mount -t tmpfs -o size=1m tmpfs {disk}; cp -r {run} {disk}/run; cat /dev/zero > {disk}/filler || true",
    "nearly full": "mount -t tmpfs -o size=1m tmpfs {disk}; cp -r {run} {disk}/run; cat /dev/zero > {disk}/filler || "
    "truncate -s -16K {disk}/filler",
}
NOTHING_FITS = ("read-only", "with a limit of 0 bytes for files", "full")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    trained = tmp_path_factory.mktemp("trained") / "run"
    assert run_script("train_nav.py", *TRAINING, "--iterations", 1, "--run-dir", trained) == 0
    return trained


@pytest.mark.slow
@pytest.mark.skipif(not can_unshare("-rm"), reason="needs unshare, and leave to use it")
@pytest.mark.parametrize("kind", DISKS)
def test_on_a_bad_disk_every_script_ends_with_one_sentence_and_no_partial_file(
    tmp_path: Path, run_dir: Path, kind: str
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    made_bad = DISKS[kind].format(run=run_dir, disk=disk)
    program = f"set -e; {made_bad} 2>/dev/null; exec {sys.executable} -W ignore -m tests.faults.writers {disk}"
    places = os.pathsep.join(str(ROOT / name) for name in (".", "envs", "scripts"))
    environment = {**os.environ, "PYTHONPATH": places, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", program],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes: dict[str, dict[str, Any]] = json.loads(done.stdout)
    faults = {what: found for what, found in outcomes.items() if fault_in(what, found, fits=kind not in NOTHING_FITS)}
    assert not faults


def fault_in(what: str, found: dict[str, Any], *, fits: bool) -> bool:
    """Whether a script ended in another way than by doing it all, where that ``fits``, or by saying why not."""
    partial = bool(found["broken"]) or any(".partial" in name for name in found["differing"])
    if found["code"] == 0:
        return partial or not fits
    sentence = found["code"] == 2 and "error: " in found["said"] and "Traceback" not in found["said"]
    left = [] if what in (*OF_TRAININGS, *OF_SEVERAL_FILES) else found["differing"]
    return partial or not sentence or bool(left)
