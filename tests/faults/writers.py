"""Every script that writes, one after another in this process, on a disk of which the caller has made a bad one.

``python -m tests.faults.writers DIRECTORY`` works on the run ``DIRECTORY/run`` and prints, as JSON, what became of each
script: its exit code, what it said, which files are new, changed or gone, and which of these are not whole.
"""

import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from PIL import Image

from rlmaml.base.plain_data import read_json
from rlmaml.deploy.adaptable import load
from rlmaml.sampling.recorded import read_episodes
from tests.scripts.test_scripts import run_script

SMALL: tuple[object, ...] = ("--tasks", 1, "--episodes", 2)
TRAINING: tuple[object, ...] = (*SMALL, "--horizon", 5, "--hidden", 4, "--iterations", 2, "--evaluation-tasks", 1)
TRAINING += ("--evaluation-episodes", 2, "--evaluation-steps", 1, "--threads", 1, "--rollout-threads", 1)
SUPERVISED: tuple[object, ...] = ("--tasks", 1, "--hidden", 4, "--iterations", 2, "--evaluation-tasks", 1)
COMPARED: tuple[object, ...] = (*SMALL, "--iterations", 1, "--steps", 1, "--seeds", 0, "--processes", 1)
COMPARED += ("--algorithms", "random", "oracle")
FEW: tuple[object, ...] = ("--tasks", 1, "--hidden", 4)
PICTURES: tuple[object, ...] = ("--tasks", 1, "--iterations", 2, "--evaluation-tasks", 1, "--ways", 2, "--shots", 1)
PICTURES += ("--queries", 1, "--filters", 2, "--evaluation-steps", 1)
SHOWN: tuple[object, ...] = (*SUPERVISED, "--evaluation-steps", 1, "--shots", 1, "--queries", 1, "--test-shots", 1)
SHOWN += ("--train-tasks", 3, "--test-tasks", 2, "--test-episodes", 2, "--demonstrator-steps", 1)
ROBOTS: tuple[object, ...] = ("--variant", "dynamics", *SUPERVISED, "--evaluation-steps", 1)
ROBOTS += ("--train-robots", 3, "--test-robots", 2, "--episode-steps", 5)
USERS: tuple[object, ...] = (*SUPERVISED, "--evaluation-steps", 1, "--embedding", 2)


def commands(disk: Path) -> dict[str, tuple[object, ...]]:
    """What is done -> the script and its words."""
    run = disk / "run"
    return {
        "adapt": ("adapt.py", run, "--episodes-per-step", 2),
        "record": ("adapt.py", run, "--episodes-per-step", 2, "--record", disk / "recorded.npz", "--overwrite"),
        "evaluate": ("evaluate.py", run, *SMALL, "--steps", 1, "--json", disk / "evaluation.json"),
        "benchmark": ("benchmark.py", "Navigation2D-v0", *SMALL, "--repeats", 1, "--json", disk / "benchmark.json"),
        "render": ("render.py", run, "--episodes-per-step", 2),
        "report": ("report.py", run, *SMALL, "--steps", 1),
        "export": ("export.py", run),
        "train": ("train_nav.py", *TRAINING, "--run-dir", disk / "trained"),
        "go on": ("train_nav.py", *TRAINING, "--run-dir", run, "--resume"),
        "compare": ("compare.py", *COMPARED, "--output", disk / "compared"),
        "compress": ("compress.py", run, "--prune", 0.5, *SMALL, "--steps", 1, "--run-dir", disk / "pruned"),
        "benchmark on examples": ("benchmark_supervised.py", *FEW, "--repeats", 1, "--json", disk / "loop.json"),
        "train on examples": ("train_sinusoid.py", *SUPERVISED, "--run-dir", disk / "examples"),
        "train on pictures": ("train_few_shot.py", *PICTURES, "--run-dir", disk / "pictures"),
        "train on demonstrations": ("train_imitation.py", *SHOWN, "--demonstrator", run, "--run-dir", disk / "shown"),
        "train on dynamics": ("train_dynamics.py", "Navigation2D-v0", *ROBOTS, "--run-dir", disk / "robots"),
        "train on ratings": ("train_recommender.py", *USERS, "--run-dir", disk / "users"),
    }


def contents(disk: Path) -> dict[str, bytes]:
    """Every file of a directory."""
    return {str(path.relative_to(disk)): path.read_bytes() for path in disk.rglob("*") if path.is_file()}


def drawn(path: Path) -> None:
    """Decode a picture."""
    with Image.open(path) as picture:
        picture.load()


def laid_out(path: Path) -> None:
    """Look for the end of a page."""
    if not path.read_text().rstrip().endswith("</html>"):
        raise ValueError(path)


WHOLE: dict[str, Callable[[Path], object]] = {
    ".safetensors": load,
    ".json": read_json,
    ".npz": read_episodes,
    ".png": drawn,
    ".gif": drawn,
    ".html": laid_out,
    ".onnx": onnx.load,
}
"""Suffix -> what fails where a file is not whole."""


def broken(path: Path) -> bool:
    """Whether a file that a script left is not whole."""
    try:
        if read := WHOLE.get(path.suffix):
            read(path)
    except Exception:
        return True
    return False


def main() -> None:
    """Run the scripts."""
    disk, outcomes = Path(sys.argv[1]), dict[str, Any]()
    for what, (script, *words) in commands(disk).items():
        before = contents(disk)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            try:
                code: object = run_script(str(script), *words)
            except Exception as error:
                code = repr(error)
        after = contents(disk)
        differing = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        left = sorted(name for name in after.keys() & set(differing) if broken(disk / name))
        outcomes[what] = {"code": code, "said": said.getvalue(), "differing": differing, "broken": left}
    print(json.dumps(outcomes))  # noqa: T201


if __name__ == "__main__":
    main()
