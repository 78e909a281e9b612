"""A run of several processes inside one: threads with one task each, that meet where sums over tasks are taken."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from rlmaml.core.task_sums import TaskSums

ValueT = TypeVar("ValueT")


class TaskThread:
    """Sums over tasks for the thread that owns one of them."""

    def __init__(self, task: int, board: list[Sequence[Tensor]], barrier: threading.Barrier) -> None:
        self.task, self.board, self.barrier = task, board, barrier
        self.leads = task == 0

    def own(self, num_tasks: int, blocks: int | None = None) -> range:
        return range(self.task, self.task + 1)

    def gather(self, per_task: Sequence[Tensor]) -> list[Tensor]:
        assert all(len(tensor) == 1 for tensor in per_task)
        assert not any(tensor.requires_grad for tensor in per_task), "a collective inside autograd"
        self.board[self.task] = per_task
        self.barrier.wait()
        gathered = [torch.cat(pieces) for pieces in zip(*self.board, strict=True)]
        self.barrier.wait()
        return gathered

    def agree(self, ok: bool) -> bool:
        return all(bool(every) for every in self.gather([torch.tensor([ok])])[0])


def one_thread_per_task(num_tasks: int, run: Callable[[int, TaskSums], ValueT]) -> list[ValueT]:
    """What ``run(task, sums)`` gives for every task."""
    barrier = threading.Barrier(num_tasks, timeout=60)
    board: list[Sequence[Tensor]] = [[] for _ in range(num_tasks)]

    def guarded(task: int) -> ValueT:
        try:
            return run(task, TaskThread(task, board, barrier))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(num_tasks) as pool:
        futures = [pool.submit(guarded, task) for task in range(num_tasks)]
    failures = [error for future in futures if (error := future.exception()) is not None]
    for failure in sorted(failures, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise failure
    return [future.result() for future in futures]
