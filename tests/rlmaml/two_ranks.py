"""Two processes of one run, for the whole test session: every algorithm updates in them, and every training is theirs.

``start()`` lets them work and waits for them; this file is also what they run, with a directory as only argument and
the environment that torchrun sets.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rlmaml.core.ranks import join_ranks
from tests.rlmaml.algorithms import two_ranks as updates
from tests.rlmaml.training import two_ranks as trainings

COUNT = 2
ROOT = Path(__file__).parents[2]
TIMEOUT = 300
"""Seconds after which two processes wait for each other."""


class Ranks(NamedTuple):
    """What became of the two processes."""

    found: list[dict[str, Any]]
    """What every rank found of updates and sums: name -> tensors or numbers."""
    runs: Path
    """Where the runs are that they trained."""
    said: list[list[str]]
    """What became of the trainings in every rank, in their order."""


def start(directory: Path) -> None:
    """Let two processes fill a directory."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(COUNT), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.rlmaml.two_ranks", str(directory)],
            env=os.environ | meeting | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for rank in range(COUNT)
    ]
    try:
        outputs = [process.communicate(timeout=TIMEOUT) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0] * COUNT, outputs
    (directory / "said.json").write_text(
        json.dumps([[json.loads(line) for line in text.splitlines()] for text, _ in outputs])
    )


def read(directory: Path) -> Ranks | None:
    """What two processes left in a directory; None where none have finished."""
    said = directory / "said.json"
    if not said.exists():
        return None
    found = [torch.load(found_by(rank, directory)) for rank in range(COUNT)]
    return Ranks(found, directory, json.loads(said.read_text()))


def found_by(rank: int, directory: Path) -> Path:
    return directory / f"rank{rank}.pt"


def main() -> None:
    """One process of the two."""
    torch.set_num_threads(1)
    directory, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    sums = join_ranks(os.environ, "cpu")
    torch.save({**updates.updates(sums), "facts": updates.facts(sums, rank)}, found_by(rank, directory))
    trainings.attempt_all(sums, rank, directory)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
