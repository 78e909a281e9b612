"""Sums over tasks: in one process or several, the same numbers bit for bit.

Tasks are in blocks: where their parameters differ, every task is one, and where one theta serves them all there are as
many as a method says. Each process works on consecutive blocks; what it found for each of them is gathered, and added
over the blocks in one fixed order, so that no sum depends on how many processes there are.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@runtime_checkable
class TaskSums(Protocol):
    """Which tasks are this process's own, and what all processes found together."""

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and shows progress."""

    def own(self, num_tasks: int, blocks: int | None = None) -> range:
        """The tasks that this process works on: whole blocks of them, see :func:`shares`.

        Args:
            num_tasks: how many there are in all.
            blocks: how many blocks they are in; None where every task is one.
        """

    def gather(self, per_task: Sequence[Tensor]) -> list[Tensor]:
        """Tensors ``[own task, ...]`` of every process as ``[task, ...]``, in the order of the tasks.

        Raises:
            RankError: another process failed; all of them raise together.
        """

    def agree(self, ok: bool) -> bool:
        """Whether every process is well; each says so of itself before every collective."""


class Alone:
    """One process: all tasks are its own."""

    leads = True

    def own(self, num_tasks: int, blocks: int | None = None) -> range:  # noqa: ARG002
        """All of them."""
        return range(num_tasks)

    def gather(self, per_task: Sequence[Tensor]) -> list[Tensor]:
        """What was given."""
        return list(per_task)

    def agree(self, ok: bool) -> bool:
        """Whether this process is well."""
        return ok


ALONE: TaskSums = Alone()


class TaskMean(NamedTuple):
    """Means over the tasks that count: those of which every stage has a valid step."""

    sums: TaskSums
    usable: Bool[Tensor, " task"]
    """Which of this process's own tasks count."""
    num_usable: int
    """How many of all tasks count."""
    num_left_out: int
    """How many of all tasks do not."""

    def of(self, per_task: Float[Tensor, " task"]) -> Float[Tensor, ""]:
        """The mean over all counted tasks of one number per own task."""
        (every,) = self.sums.gather([torch.where(self.usable, per_task, 0.0)])
        return every.sum() / self.num_usable

    def share(self, per_task: Float[Tensor, " task"]) -> Float[Tensor, ""]:
        """What this process's own tasks contribute to the mean; derivatives pass through it."""
        return torch.where(self.usable, per_task, 0.0).sum() / self.num_usable

    def total(self, per_task: Sequence[Float[Tensor, "task ..."]]) -> Float[Tensor, " parameter"]:
        """Per-task tensors added over all tasks, one after another as one vector.

        Tasks are added in order, one by one: the rounding of torch's sum over an axis depends on how many numbers there
        are, on how they lie in memory and on the number of threads.
        """
        rows = torch.cat([tensor.reshape(len(tensor), -1) for tensor in self.sums.gather(per_task)], 1)
        added = rows[0].clone()
        for row in rows[1:]:
            added += row
        return added


def shares(total: int, parts: int) -> list[range]:
    """Consecutive shares of a total, as even as can be; the first ones have one more where they do not divide."""
    least, more = divmod(total, parts)
    ends = itertools.accumulate((least + (part < more) for part in range(parts)), initial=0)
    return [range(first, last) for first, last in itertools.pairwise(ends)]


def mean_over_usable(sums: TaskSums, valid: Sequence[Bool[Tensor, "task ..."]]) -> TaskMean:
    """The mean over the tasks that have a valid step in every stage.

    Args:
        sums: this process's part of all tasks.
        valid: which steps count, for every stage.
    """
    usable = torch.stack([steps.flatten(1).any(1) for steps in valid]).all(0)
    (every,) = sums.gather([usable])
    count = int(every.sum())
    return TaskMean(sums, usable, count, len(every) - count)


def largest(sums: TaskSums, per_task: Float[Tensor, " task"]) -> float:
    """The largest of one number per task, over all tasks."""
    (every,) = sums.gather([per_task])
    return float(every.max())
