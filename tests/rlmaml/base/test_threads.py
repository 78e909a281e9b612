import contextlib
import warnings

import pytest
import torch

from rlmaml.base.threads import check_threads, keep_freed_memory, torch_threads
from rlmaml.settings.config import TrainConfig


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


def test_more_threads_than_cores_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_threads(TrainConfig(threads=3, rollout_threads=3))
    with pytest.warns(UserWarning, match="--threads is 4, but this machine has 3 cores"):
        check_threads(TrainConfig(threads=4))
    with pytest.warns(UserWarning, match="--rollout-threads is 9, but this machine has 3 cores"):
        check_threads(TrainConfig(rollout_threads=9))
