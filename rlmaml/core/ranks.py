"""Several processes of one run, each with its share of the tasks; rank 0 leads."""

from collections.abc import Mapping, Sequence

import torch
import torch.distributed
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.core.task_sums import ALONE, TaskSums, shares
from rlmaml.terminal.words import counted


class RankError(UserError):
    """Another process of the same run failed; its own message says why."""


class Ranks:
    """Several processes of a ``torch.distributed`` group, over gloo on CPUs or NCCL on GPUs.

    Rank r owns consecutive blocks of tasks; the first ranks have one more where they do not divide evenly.

    Args:
        rank: this process.
        count: number of processes.
        device: where collectives take their tensors: the CPU for gloo, this process's GPU for NCCL.
    """

    def __init__(self, rank: int, count: int, device: str = "cpu") -> None:
        self.rank, self.count, self.device = rank, count, device

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def own(self, num_tasks: int, blocks: int | None = None) -> range:
        """Consecutive blocks of tasks.

        Raises:
            UserError: there are more processes than tasks, or than blocks.
        """
        if self.count > num_tasks:
            has = counted(num_tasks, "task")
            raise UserError(f"There are {self.count} processes, but {has} (--tasks); each process needs one at least.")
        if blocks is not None and self.count > blocks:
            raise UserError(
                f"There are {self.count} processes, but {counted(blocks, 'block')} of tasks (--blocks); each process "
                "needs one at least."
            )
        tasks = shares(num_tasks, num_tasks if blocks is None else blocks)
        own = shares(len(tasks), self.count)[self.rank]
        return range(tasks[own.start].start, tasks[own.stop - 1].stop)

    def gather(self, per_task: Sequence[Tensor]) -> list[Tensor]:
        """Every process's tensors, in the order of the tasks; one collective for each dtype among them.

        Raises:
            RankError: another process failed.
        """
        if not self.agree(ok=True):
            raise RankError("Another process of this run failed; its message is above.")
        if not per_task:
            return []
        owned = torch.tensor([len(per_task[0])], device=self.device)
        owns = [torch.zeros_like(owned) for _ in range(self.count)]
        torch.distributed.all_gather(owns, owned)
        sizes = [int(size) for size in owns]
        gathered: dict[int, Tensor] = {}
        for dtype in dict.fromkeys(tensor.dtype for tensor in per_task):  # every process in the same order
            chosen = [index for index, tensor in enumerate(per_task) if tensor.dtype == dtype]
            shapes = [per_task[index].shape[1:] for index in chosen]
            rows = torch.cat([per_task[index].reshape(sizes[self.rank], -1) for index in chosen], 1)
            every = self._gather_rows(rows, sizes)
            widths = [shape.numel() for shape in shapes]
            for index, shape, piece in zip(chosen, shapes, torch.split(every, widths, 1), strict=True):
                gathered[index] = piece.reshape(len(every), *shape).to(per_task[index].device)
        return [gathered[index] for index in range(len(per_task))]

    def agree(self, ok: bool) -> bool:
        """Whether every process is well."""
        well = torch.tensor([int(ok)], device=self.device)
        torch.distributed.all_reduce(well, torch.distributed.ReduceOp.MIN)
        return bool(well)

    def _gather_rows(self, rows: Tensor, sizes: Sequence[int]) -> Tensor:
        """Rows of every process; the collective takes equally many of each, so shorter shares are padded."""
        as_bytes = rows.to(torch.uint8) if rows.dtype == torch.bool else rows
        padded = as_bytes.new_zeros(max(sizes), rows.shape[1], device=self.device)
        padded[: len(rows)] = as_bytes
        pieces = [torch.zeros_like(padded) for _ in sizes]
        torch.distributed.all_gather(pieces, padded)
        every = torch.cat([piece[:size] for piece, size in zip(pieces, sizes, strict=True)])
        return every.to(rows.dtype)


def own_device(environment: Mapping[str, str], device: str) -> str:
    """The device of this process: where several share a machine, ``cuda`` stands for one GPU each.

    Args:
        environment: ``os.environ``; torchrun says in it which process of its machine this is.
        device: as asked for.
    """
    several = int(environment.get("WORLD_SIZE", 1)) > 1
    return f"cuda:{environment['LOCAL_RANK']}" if several and device == "cuda" else device


def join_ranks(environment: Mapping[str, str], device: str) -> TaskSums:
    """The group of processes that ``torchrun`` started, or :data:`ALONE` where it did not.

    Args:
        environment: ``os.environ``; torchrun says in it which process this is.
        device: where the update is computed; processes meet over NCCL where it is a GPU.

    Raises:
        UserError: the group cannot be joined.
    """
    count = int(environment.get("WORLD_SIZE", 1))
    if count == 1:
        return ALONE
    if not torch.distributed.is_initialized():
        try:
            torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        except (RuntimeError, ValueError) as error:
            raise UserError(f"The processes of this run cannot meet: {error}. Start them with torchrun.") from error
    return Ranks(int(environment["RANK"]), count, device if device.startswith("cuda") else "cpu")
