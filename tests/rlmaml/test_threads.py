import contextlib

import pytest
import torch

from rlmaml.threads import keep_freed_memory, torch_threads


def test_the_number_of_threads_holds_inside_the_block_alone() -> None:
    before = torch.get_num_threads()
    with contextlib.suppress(ZeroDivisionError), torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        _ = 1 / 0
    assert torch.get_num_threads() == before


def test_keeping_memory_is_harmless_wherever_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_freed_memory()
    monkeypatch.setattr("sys.platform", "win32")
    keep_freed_memory()
