"""What a call could change for the others in its process, and a watch over every public call that looks for it."""

import contextlib
import decimal
import functools
import gc
import importlib
import inspect
import locale
import logging
import multiprocessing
import os
import pkgutil
import random
import resource
import signal
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch

from rlmaml_envs.simulator import mujoco
from tests.rlmaml.base.large_blocks import come_from_the_system

LOOKED_AT = 3
"""Calls of one function, the first ones, that are looked at; all of them would take long."""
LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]


def process_wide() -> dict[str, Any]:
    """Everything that a call could change for the others in its process."""
    return {
        "torch": (
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.get_num_threads(),
            torch.get_num_interop_threads(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_anomaly_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(),
            [torch.is_autocast_enabled(device) for device in ("cpu", "cuda")],
            torch.backends.cudnn.benchmark,
            torch.backends.mkldnn.enabled,
        ),
        "denormals": float(torch.tensor(1e-310, dtype=torch.float64) / 2) != 0 and float(np.float64(1e-310) / 2) != 0,
        "torch's random numbers": torch.get_rng_state().numpy().tobytes(),
        "numpy's random numbers": str(np.random.get_state()),  # noqa: NPY002 (is what others may use)
        "Python's random numbers": random.getstate(),
        "numpy": (np.geterr(), np.geterrcall(), np.get_printoptions()),
        "decimals": str(decimal.getcontext()),
        "warnings": (list(warnings.filters), warnings.showwarning, warnings.formatwarning),
        "hooks": (sys.excepthook, threading.excepthook, sys.stdout, sys.stderr, sys.displayhook, sys.unraisablehook),
        "signals": {one: signal.getsignal(one) for one in signal.valid_signals()},
        "timers": (signal.getitimer(signal.ITIMER_REAL), signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "logging": (logging.root.manager.disable, logging.root.level, list(logging.root.handlers)),
        "environment": dict(os.environ),
        "places": (os.getcwd(), list(sys.path), [line for line in _of_system() if line.startswith("Umask")]),
        "languages": (locale.setlocale(locale.LC_ALL), time.tzname),
        "processors": os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None,
        "priority": os.nice(0),
        "processes": multiprocessing.get_start_method(allow_none=True),
        "mujoco": mujoco.get_mju_user_warning(),
        "matplotlib": dict(mpl.rcParams),
        "garbage": (gc.isenabled(), gc.get_threshold()),
        "python": (sys.getrecursionlimit(), sys.getswitchinterval(), sys.get_int_max_str_digits()),
        "freed memory": come_from_the_system(),
        "limits": [resource.getrlimit(one) for one in LIMITS],
    }


def _of_system() -> list[str]:
    status = Path("/proc/self/status")
    return status.read_text().splitlines() if status.exists() else []


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is not as it was."""
    return [what for what in before if before[what] != after[what]]


def modules_of(package: ModuleType) -> Iterator[ModuleType]:
    """Every module below a package."""
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def public(owner: Any, name: str, value: object) -> bool:
    """Whether it is a function that a module, or a class, itself defines for others; its constructor is one."""
    at = owner.__name__ if inspect.ismodule(owner) else owner.__module__
    named = not name.startswith("_") or name in ("__call__", "__init__", "__post_init__")
    written = inspect.isfunction(value) and value.__code__.co_filename != "<string>"  # as dataclasses are
    return written and named and getattr(value, "__module__", None) == at


def public_functions(module: ModuleType) -> Iterator[tuple[str, Any, str]]:
    """Of every public function of a module, and of its public classes: its whole name, its owner, its name there."""
    for name, value in vars(module).items():
        if public(module, name, value):
            yield f"{module.__name__}.{name}", module, name
        elif inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_"):
            for method, function in vars(value).items():
                if public(value, method, getattr(function, "__func__", function)) and not getattr(
                    value, "_is_protocol", False
                ):
                    yield f"{module.__name__}.{name}.{method}", value, method


class Watch:
    """Which functions were called, and which of them left something else than it was."""

    def __init__(self) -> None:
        self.calls = Counter[str]()
        self.changed: dict[str, list[str]] = {}
        self._depth = 0

    @contextlib.contextmanager
    def looking(self, name: str) -> Iterator[None]:
        """Compare what is process-wide before and after the block, but for calls that are like many before."""
        self.calls[name] += 1
        looked_at = self.calls[name] <= LOOKED_AT and not torch.compiler.is_compiling()  # then nothing is computed
        before, self._depth = process_wide() if looked_at else {}, self._depth + 1
        try:
            yield
        finally:
            self._depth -= 1
            differing = set(changed(before, process_wide() if looked_at else {}))
            if self._depth:  # filters of warnings, to which packages add on first use, are put back by the outermost
                differing -= {"warnings"}
            if differing:
                self.changed[name] = sorted(differing)

    def watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, which is looked at; one that yields, whenever it has yielded; a context when it is over."""
        inner = inspect.unwrap(function)

        @functools.wraps(function)
        def once(*values: Any, **options: Any) -> Any:
            with self.looking(name):
                return function(*values, **options)

        @functools.wraps(function)
        def again(*values: Any, **options: Any) -> Any:
            steps = function(*values, **options)
            while True:
                try:
                    with self.looking(name):
                        step = next(steps)
                except StopIteration as ended:
                    return ended.value
                yield step

        @functools.wraps(function)
        @contextlib.contextmanager
        def within(*values: Any, **options: Any) -> Any:
            with self.looking(name), function(*values, **options) as given:
                yield given

        if not inspect.isgeneratorfunction(inner):
            return once
        return again if inspect.isgeneratorfunction(function) or not _is_context(function) else within


@contextlib.contextmanager
def _context() -> Iterator[None]:
    """Any one."""
    yield


def _is_context(function: Any) -> bool:
    return bool(function.__code__ is _context.__code__)


@contextlib.contextmanager
def watching(*packages: ModuleType) -> Iterator[tuple[Watch, set[str]]]:
    """Inside the block, look at every call of the packages' public functions: the watch, and the names of these."""
    watch, known = Watch(), set[str]()
    modules = [module for package in packages for module in modules_of(package)]
    tests = [name for name in sys.modules if name.startswith("tests.") and not name.endswith(".conftest")]
    users = [*modules, *(sys.modules[name] for name in tests)]  # pytest itself changes much while a fixture holds on
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            for name, owner, attribute in list(public_functions(module)):
                known.add(name)
                function = vars(owner)[attribute]
                bound = type(function) if isinstance(function, staticmethod | classmethod) else lambda one: one
                watched = bound(watch.watched(name, getattr(function, "__func__", function)))
                patch.setattr(owner, attribute, watched)
                for other in users:  # what was imported from there
                    for alias, value in list(vars(other).items()):
                        if value is function:
                            patch.setattr(other, alias, watched)
        yield watch, known


@contextlib.contextmanager
def put_back(put: Callable[[Any], object], there: object, before: object) -> Iterator[None]:
    """A setting of somebody's, and what it was before."""
    put(there)
    try:
        yield
    finally:
        put(before)
