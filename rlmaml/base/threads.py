"""Thread counts and memory of the process: settings of the machine, which never change a result."""

import ctypes
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rlmaml.base.cores import num_cores

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_KEPT_BLOCK = 1 << 30


def warn_of_idle_threads(**asked: int) -> None:
    """Warn where more threads are asked for, by option, than the machine has cores: they would wait for each other."""
    cores = num_cores()
    warned: set[int] = set()
    for name, count in asked.items():
        if count > cores and count not in warned:
            warned.add(count)
            warnings.warn(
                f"--{name.replace('_', '-')} is {count}, but this machine has {cores} cores; more threads than cores "
                "are slower.",
                stacklevel=2,
            )


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use ``count`` threads inside the ``with`` block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Let the C library keep large freed blocks for reuse; does nothing where it is not glibc.

    Activations of tens of megabytes come and go in every meta-update. By default glibc hands such blocks back to the
    system at once and takes them anew, page by page, which costs more than the arithmetic on them.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK)
        mallopt(M_TRIM_THRESHOLD, LARGEST_KEPT_BLOCK)
