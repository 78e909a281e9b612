"""Settings of the whole process, which belongs to somebody else: they are as before when the last block has ended."""

import logging
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

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


def _process() -> tuple[dict[str, str], list[str], list[logging.Handler], Any]:
    return dict(os.environ), list(sys.path), list(logging.root.handlers), random.getstate()


def _put_process(found: tuple[dict[str, str], list[str], list[logging.Handler], Any]) -> None:
    environment, sys.path[:], logging.root.handlers[:], numbers = found
    random.setstate(numbers)
    for name in {*os.environ, *environment}:
        if name not in environment:
            del os.environ[name]
        elif os.environ.get(name) != environment[name]:
            os.environ[name] = environment[name]


held_process = Held(_process, _put_process)
"""The environment, places of modules, handlers of logs and Python's random numbers. torch and ONNX add to them when
they first export, scikit-learn when it is imported."""
