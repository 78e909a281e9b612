"""One run of two processes for the whole test session, in which every algorithm updates on its shares of the tasks.

``rank_results()`` starts the processes, once, and returns what they found; this file is also what they run.
"""

import functools
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rlmaml.core.ranks import RankError, join_ranks
from rlmaml.core.task_sums import TaskSums
from tests.rlmaml.algorithms.cases import CASES, Updated, make_problem

COUNT = 2
PROBLEMS: dict[str, Mapping[str, Any]] = {
    "3 tasks in single precision": {"num_tasks": 3, "dtype": torch.float32, "hidden": (32,)},
    "5 tasks in double precision": {"num_tasks": 5, "dtype": torch.float64},
}
"""Neither number of tasks divides evenly; at the larger width matrices are multiplied by other code."""
ROOT = Path(__file__).parents[3]
TIMEOUT = 300


@functools.cache
def rank_results() -> list[dict[str, Any]]:
    """What every rank found: name -> tensors or numbers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        files = [Path(directory) / f"rank{rank}.pt" for rank in range(COUNT)]
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(COUNT)}
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.rlmaml.algorithms.two_ranks", str(file)],
                cwd=ROOT,
                env={**os.environ, **meeting, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank, file in enumerate(files)
        ]
        try:
            outputs = [process.communicate(timeout=TIMEOUT)[0] for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
        for process, output in zip(processes, outputs, strict=True):
            assert process.returncode == 0, output
        return [torch.load(file) for file in files]


def key(name: str, problem: str) -> str:
    """Under which name an update's result is kept."""
    return f"{name}; {problem}"


def as_plain(updated: Updated) -> dict[str, Any]:
    """An update's result as dictionaries of tensors and numbers."""
    return {
        "params": updated.meta.params,
        "rates": updated.meta.rates,
        "state": updated.state,
        "report": updated.report.numbers(),
    }


def updates(sums: TaskSums) -> dict[str, Any]:
    """Every algorithm's update, on this process's own tasks."""
    results = {}
    for name in CASES:
        for problem, sizes in PROBLEMS.items():
            own = [*sums.own(sizes["num_tasks"])]
            results[key(name, problem)] = as_plain(make_problem(name, **sizes).of_tasks(own, sums).update())
    return results


def facts(sums: TaskSums, rank: int) -> dict[str, Any]:
    """What this process sees of sums over tasks themselves."""
    own = torch.tensor([*sums.own(5)])
    table = torch.stack([own, own**2], 1)
    seen = {
        "leads": sums.leads,
        "own": [own.tolist(), [*sums.own(2)]],
        "gathered": sums.gather([table.float(), own % 2 == 0, table.double().view(-1, 2, 1) + 0.1, own, own.double()]),
        "nothing": sums.gather([]),
        "agree": [sums.agree(ok=True), sums.agree(ok=rank != 1), sums.agree(ok=False)],
    }
    if rank == 1:
        sums.agree(ok=False)
    else:
        try:
            sums.gather([own])
        except RankError as error:
            seen["other failed"] = str(error)
    return seen


def main() -> None:
    """One process of the two."""
    torch.set_num_threads(1)
    sums, rank = join_ranks(os.environ, "cpu"), int(os.environ["RANK"])
    torch.save({**updates(sums), "facts": facts(sums, rank)}, sys.argv[1])
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
