"""What two processes find when every algorithm updates on its shares of the tasks."""

from collections.abc import Mapping
from typing import Any

import torch

from rlmaml.core.ranks import RankError
from rlmaml.core.task_sums import TaskSums
from tests.rlmaml.algorithms.cases import CASES, Updated, make_problem

PROBLEMS: dict[str, Mapping[str, Any]] = {
    "3 tasks in single precision": {"num_tasks": 3, "dtype": torch.float32, "hidden": (32,)},
    "5 tasks in double precision": {"num_tasks": 5, "dtype": torch.float64},
}
"""Neither number of tasks divides evenly; at the larger width matrices are multiplied by other code."""
SOLVED = [
    (name, problem)
    for problem in PROBLEMS
    for name, case in CASES.items()
    if case.large is not None or problem != "3 tasks in single precision"
]
"""Case and problem: what is wide where no other case runs the same operations."""


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
    for name, problem in SOLVED:
        whole = make_problem(name, **PROBLEMS[problem])
        own = [*sums.own(PROBLEMS[problem]["num_tasks"], whole.settings.task_blocks)]
        results[key(name, problem)] = as_plain(whole.of_tasks(own, sums).update())
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
