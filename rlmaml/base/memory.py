"""Memory: how much the process may still take, a refusal, with the number, of what needs more, and what is freed."""

import ctypes
import resource
import sys
from pathlib import Path

from rlmaml.base.errors import UserError

GIB = 1 << 30

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_KEPT_BLOCK = 1 << 30


class MemoryNeededError(UserError):
    """Something needs more memory than there is."""


def available_memory() -> float:
    """Bytes that this process may still take: what the machine has, or its limits leave; infinity where nobody says."""
    return min(_of_machine(), _of_group(), _of_process())


def check_memory(needed: int | float, what: str, cure: str) -> None:
    """Refuse what needs more memory than there is, before any of it is taken.

    Args:
        needed: bytes, at least.
        what: needs them.
        cure: what takes less, as an imperative sentence.

    Raises:
        MemoryNeededError: names both numbers and the cure.
    """
    available = available_memory()
    if needed > available:
        raise MemoryNeededError(
            f"{what} would need {needed / GIB:,.1f} GiB of memory at least; {available / GIB:,.1f} GiB are available. "
            f"{cure}"
        )


def keep_freed_memory() -> None:
    """Let the C library keep large freed blocks for reuse, to the end of the process; it does so where it is glibc.

    Activations of tens of megabytes come and go in every meta-update. By default glibc hands such blocks back to the
    system at once and takes them anew, page by page, which costs more than the arithmetic on them.
    It cannot be undone: it is for scripts, and for programs that train and own their process.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK)
        mallopt(M_TRIM_THRESHOLD, LARGEST_KEPT_BLOCK)


def _of_machine() -> float:
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            return float(line.split()[1]) * 1024
    return float("inf")


def _of_group() -> float:
    """What the control group of a container leaves."""
    limit, stat = (_lines(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.stat"))
    used = [float(line.split()[1]) for line in stat if line.startswith("anon ")]
    if not (limit and limit[0].isdecimal() and used):
        return float("inf")
    return float(limit[0]) - used[0]


def _of_process() -> float:
    """What a limit of the address space (ulimit -v) leaves."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    taken = _lines(Path("/proc/self/statm"))
    if limit == resource.RLIM_INFINITY or not taken:
        return float("inf")
    return limit - float(taken[0].split()[0]) * resource.getpagesize()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
