import logging
import multiprocessing
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch

from rlmaml.base.as_before import Held, held_filters, held_process
from rlmaml.base.torch_modes import ordinary_torch


def overlapping(block: Callable[[], AbstractContextManager[None]], inside: Callable[[], object]) -> None:
    """Two blocks in two threads, of which the first one to begin is the first one to end."""
    one, both, first_over = (threading.Event() for _ in range(3))

    def first() -> None:
        with block():
            inside()
            one.set()
            both.wait(20)
        first_over.set()

    def second() -> None:
        one.wait(20)
        with block():
            inside()
            both.set()
            first_over.wait(20)
            inside()

    threads = [threading.Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)


def test_in_overlapping_blocks_of_two_threads_a_setting_stays_as_they_need_it_and_is_then_as_before() -> None:
    setting, seen = ["loud"], []

    def put(value: str) -> None:
        setting[0] = value

    overlapping(Held(lambda: setting[0], put, lambda before: f"not {before}"), lambda: seen.append(setting[0]))
    assert seen == ["not loud"] * 3
    assert setting == ["loud"]


def test_two_threads_compute_in_single_precision_in_a_process_of_another_and_leave_that() -> None:
    seen: list[torch.dtype] = []
    torch.set_default_dtype(torch.float64)
    try:
        overlapping(ordinary_torch, lambda: seen.append(torch.ones(1).dtype))
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert seen == [torch.float32] * 3


@pytest.mark.usefixtures("unchecked")  # whoever checks shapes draws random numbers
def test_what_is_added_in_two_threads_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANGED", "before")

    def found() -> list[object]:
        process = [dict(os.environ), list(sys.path), list(logging.root.handlers), random.getstate()]
        return [list(warnings.filters), *process, multiprocessing.get_start_method(allow_none=True)]

    def add() -> None:
        os.environ["ADDED"] = os.environ["CHANGED"] = str(random.random())
        sys.path.append("nowhere")
        multiprocessing.set_start_method(None, force=True)
        multiprocessing.set_start_method("spawn")
        logging.root.addHandler(logging.NullHandler())
        warnings.filterwarnings("ignore", message="nothing")

    before = found()
    assert before[-1] != "spawn"
    overlapping(held_filters, lambda: warnings.filterwarnings("ignore", message="nothing"))
    assert found() == before
    with held_filters():
        overlapping(held_process, add)
    assert found() == before


@held_process()
def failing() -> None:
    os.environ["ADDED"] = "here"
    raise ZeroDivisionError


def test_what_fails_leaves_a_setting_as_before_too() -> None:
    with pytest.raises(ZeroDivisionError):
        failing()
    assert "ADDED" not in os.environ
