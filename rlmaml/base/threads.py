"""Thread counts of the process: settings of the machine, which never change a result."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rlmaml.base.cores import num_cores

BORN_AS = os.getpid()
"""The process that loaded this file; one that was forked from it is another."""


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


def is_forked() -> bool:
    """Whether this process was forked from one that had loaded torch, whose threads do not come along."""
    return os.getpid() != BORN_AS


def warn_of_fork(threads: int) -> None:
    """Warn where several threads are asked for in a forked process: torch would wait for those that are gone."""
    if is_forked() and threads > 1:
        warnings.warn(
            f"This process was forked, so that torch computes on one thread here and not on {threads}; results are the "
            'same. Start workers with multiprocessing.get_context("spawn") for all threads.',
            stacklevel=2,
        )


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use ``count`` threads inside the ``with`` block; one, from now on, in a forked process."""
    before = 1 if is_forked() else torch.get_num_threads()
    torch.set_num_threads(1 if is_forked() else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
