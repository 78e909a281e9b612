"""Settings of the whole process, which belongs to somebody else: they are as before when the last block has ended."""

import logging
import multiprocessing
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar

Value = TypeVar("Value")


class Held(Generic[Value]):
    """A setting that blocks in several threads hold at once: the first one finds it, and the last one puts it back.

    Where each block put back what it had found itself, the first one to end would change it under the others, and the
    last one would leave what the first one had set.

    Args:
        get: finds the setting.
        put: puts it.
        inside: what it is in the blocks, from what was found; None for whatever the blocks make of it.
    """

    def __init__(
        self, get: Callable[[], Value], put: Callable[[Value], object], inside: Callable[[Value], Value] | None = None
    ) -> None:
        self._get, self._put, self._inside = get, put, inside
        self._lock, self._blocks, self._found = threading.RLock(), 0, list[Value]()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold it in this block. Also a decorator."""
        with self._lock:
            if not self._blocks:
                self._found = [self._get()]
            self._blocks += 1
            if self._inside:
                self._put(self._inside(self._found[0]))
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                if not self._blocks:
                    self._put(self._found.pop())


def _put_filters(filters: list[Any]) -> None:
    if list(warnings.filters) != filters:
        with warnings.catch_warnings():  # whose end tells the others that there are other filters
            pass
        warnings.filters[:] = filters  # type: ignore[index]


held_filters = Held(lambda: list(warnings.filters), _put_filters)
"""Filters of warnings."""


class _Process(NamedTuple):
    environment: dict[str, str]
    places: list[str]
    handlers: list[logging.Handler]
    numbers: Any
    start_method: str | None


def _process() -> _Process:
    return _Process(
        dict(os.environ),
        list(sys.path),
        list(logging.root.handlers),
        random.getstate(),
        multiprocessing.get_start_method(allow_none=True),
    )


def _put_process(found: _Process) -> None:
    environment, sys.path[:], logging.root.handlers[:], numbers, start_method = found
    random.setstate(numbers)
    multiprocessing.set_start_method(start_method, force=True)  # None: as if nobody had asked for it
    for name in {*os.environ, *environment}:
        if name not in environment:
            del os.environ[name]
        elif os.environ.get(name) != environment[name]:
            os.environ[name] = environment[name]


held_process = Held(_process, _put_process)
"""The environment, places of modules, handlers of logs, Python's random numbers and how processes are started. torch
and ONNX change them when they first export, scikit-learn when it is imported."""
