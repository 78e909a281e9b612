import contextlib
import warnings

import pytest
import torch

from rlmaml.base.threads import keep_freed_memory, torch_threads, warn_of_idle_threads


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
        warn_of_idle_threads(threads=3, rollout_threads=3)
    with pytest.warns(UserWarning, match="--threads is 4, but this machine has 3 cores"):
        warn_of_idle_threads(threads=4, rollout_threads=2)
    with pytest.warns(UserWarning, match="--rollout-threads is 9, but this machine has 3 cores"):
        warn_of_idle_threads(threads=3, rollout_threads=9)


def test_the_same_number_is_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0}, raising=False)
    with pytest.warns(UserWarning, match="this machine has 1 cores") as warned:
        warn_of_idle_threads(threads=4, rollout_threads=4)
    assert len(warned) == 1
    with pytest.warns(UserWarning, match="this machine has 1 cores") as warned:
        warn_of_idle_threads(threads=4, rollout_threads=5)
    assert len(warned) == 2
