"""What one step of adaptation costs on one core, its time and the memory of what it makes on the way; and an action."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rlmaml.base.threads import torch_threads
from rlmaml.deploy.adaptable import AdaptablePolicy
from rlmaml.deploy.carried_state import Controls
from rlmaml.deploy.export import Actor
from rlmaml.sampling.recorded import RecordedEpisodes


class StepCost(NamedTuple):
    """Of one step of adaptation on one core."""

    seconds: float
    """Of the processor, median."""
    peak_bytes: int
    """Most that its tensors took at once; see :func:`peak_bytes`."""


def step_cost(policy: AdaptablePolicy, episodes: RecordedEpisodes, repeats: int = 20) -> StepCost:
    """What ``policy.adapt(episodes)`` costs, all included, after two steps that do not count.

    Args:
        policy: the policy.
        episodes: of its own, on one task.
        repeats: steps that are timed.
    """
    policy = policy.on("cpu", "cpu")
    return cost_of(lambda: policy.adapt(episodes), repeats)


def cost_of(step: Callable[[], object], repeats: int = 20) -> StepCost:
    """What a step costs on one core, after two that do not count.

    Args:
        step: takes it.
        repeats: how often it is timed.
    """
    times = []
    with torch_threads(1):
        for _ in range(2 + repeats):
            start = time.process_time()
            step()
            times.append(time.process_time() - start)
        return StepCost(float(np.median(times[2:])), peak_bytes(step))


def peak_bytes(action: Callable[[], object]) -> int:
    """Most bytes that the tensors that an action makes take at once, on any device.

    What there was before is not counted, nor is what single operations need inside.
    """
    counting = _Counting()
    with counting:
        action()
    return counting.peak


class _Counting(TorchDispatchMode):
    """Watches every operation: which storages it made, and which there still are."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}
        self._before: dict[int, StorageWeakRef] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in _tensors_in((args, kwargs)):
            reference = _weakly(tensor)
            if reference.cdata not in self._made:
                self._before[reference.cdata] = reference
        made = func(*args, **(kwargs or {}))
        for tensor in _tensors_in(made):
            reference = _weakly(tensor)
            if reference.cdata not in self._before:
                self._made[reference.cdata] = reference, tensor.untyped_storage().nbytes()
        self._made = {key: entry for key, entry in self._made.items() if not _is_gone(entry[0])}
        self.peak = max(self.peak, sum(size for _, size in self._made.values()))
        return made


def _weakly(tensor: Tensor) -> StorageWeakRef:
    """A reference that lets the storage go, but keeps its address from being used again."""
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]


def _is_gone(reference: StorageWeakRef) -> bool:
    return bool(reference.expired())  # type: ignore[no-untyped-call]


def _tensors_in(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def latency(controls: Controls, actor: Actor, repeats: int = 2000) -> float:
    """Median seconds per action for a single observation, after a tenth as many calls that do not count."""
    inputs = [tensor.numpy() for tensor in actor.inputs(1).values()]
    times = []
    for _ in range(repeats + repeats // 10):
        start = time.perf_counter()
        controls(*inputs)
        times.append(time.perf_counter() - start)
    return float(np.median(times[repeats // 10 :]))
