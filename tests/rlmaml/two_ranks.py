"""Two processes of one run, for the whole test session: every algorithm updates in them, and every training is theirs.

``start()`` lets them work and waits for them. Both are forked from one server, which has imported all they need.
"""

import json
import multiprocessing
import os
import socket
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rlmaml.core.ranks import join_ranks
from tests.rlmaml.algorithms import two_ranks as updates
from tests.rlmaml.training import two_ranks as trainings

COUNT = 2
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
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(COUNT)}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    ends = [context.Pipe(duplex=False) for _ in range(COUNT)]
    processes = [
        context.Process(target=work, args=(directory, meeting | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, end))
        for rank, (_, end) in enumerate(ends)
    ]
    for process, (_, end) in zip(processes, ends, strict=True):
        process.start()
        end.close()
    try:
        said = [here.recv() if here.poll(TIMEOUT) else "it did not end" for here, _ in ends]
    finally:
        for process in processes:
            process.join(TIMEOUT)
            process.kill()
            process.join()
    assert [process.exitcode for process in processes] == [0] * COUNT, said
    (directory / "said.json").write_text(json.dumps(said))


def read(directory: Path) -> Ranks:
    """What two processes left in a directory."""
    found = [torch.load(found_by(rank, directory)) for rank in range(COUNT)]
    return Ranks(found, directory, json.loads((directory / "said.json").read_text()))


def found_by(rank: int, directory: Path) -> Path:
    return directory / f"rank{rank}.pt"


def work(directory: Path, meeting: Mapping[str, str], end: Connection) -> None:
    """One process of the two, in the environment that torchrun sets."""
    torch.set_num_threads(1)
    os.environ.update(meeting)
    sums, rank = join_ranks(os.environ, "cpu"), int(meeting["RANK"])
    torch.save({**updates.updates(sums), "facts": updates.facts(sums, rank)}, found_by(rank, directory))
    end.send(trainings.attempt_all(sums, rank, directory))
    torch.distributed.destroy_process_group()
