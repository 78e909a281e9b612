import contextlib
import os
import subprocess
import sys
import warnings

import pytest
import torch

from rlmaml.base.threads import torch_threads, warn_of_idle_threads


def test_the_number_of_threads_holds_inside_the_block_alone() -> None:
    before = torch.get_num_threads()
    with contextlib.suppress(ZeroDivisionError), torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        _ = 1 / 0
    assert torch.get_num_threads() == before


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


FORKED = """
import faulthandler, os, sys, warnings
import torch
from rlmaml.base.threads import is_forked, torch_threads, warn_of_fork
warnings.simplefilter("error")
numbers = torch.rand(3000, 300, generator=torch.Generator().manual_seed(0))
def computed():
    with torch_threads(2):
        return (torch.tanh(numbers) @ numbers.T).exp().sum(0)
warn_of_fork(2)
expected = computed()
child = os.fork()
if not child:
    faulthandler.dump_traceback_later(20, exit=True)  # ends a wait for ever
    print(is_forked(), torch.equal(computed(), expected), torch.equal(computed(), expected), flush=True)
    try:
        warn_of_fork(2)
    except UserWarning as warning:
        print(warning, flush=True)
    warn_of_fork(1)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
def test_in_a_forked_process_torch_computes_the_same_on_one_thread_and_the_warning_names_spawn() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "True True True"
    assert 'multiprocessing.get_context("spawn")' in second
