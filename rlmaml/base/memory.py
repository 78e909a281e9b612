"""Memory: how much the process may still take, and a refusal, with the number, of what needs more."""

import resource
from pathlib import Path

from rlmaml.base.errors import UserError

GIB = 1 << 30


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
