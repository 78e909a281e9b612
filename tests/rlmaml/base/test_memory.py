import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlmaml.base import memory
from rlmaml.base.memory import GIB, MemoryNeededError, available_memory, check_memory, keep_freed_memory


def test_what_needs_more_than_there_is_is_refused_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 2.0 * GIB)
    check_memory(2 * GIB, "This", "Take less.")
    said = r"^This would need 2,048\.0 GiB of memory at least; 2\.0 GiB are available\. Take less\.$"
    with pytest.raises(MemoryNeededError, match=said):
        check_memory(2048 * GIB, "This", "Take less.")


def test_the_least_of_machine_container_and_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/meminfo": ["MemTotal: 9 kB", "MemAvailable: 5 kB"],
        "/sys/fs/cgroup/memory.max": ["4096"],
        "/sys/fs/cgroup/memory.stat": ["anon 96", "file 4000"],
        "/proc/self/statm": ["2 1 1"],
    }
    monkeypatch.setattr(memory, "_lines", lambda path: files.get(str(path), []))
    monkeypatch.setattr("rlmaml.base.memory.resource.getpagesize", lambda: 100)
    assert available_memory() == 4000
    files["/sys/fs/cgroup/memory.max"] = ["max"]
    assert available_memory() == 5 * 1024
    monkeypatch.setattr("rlmaml.base.memory.resource.getrlimit", lambda _: (1000, 1000))
    assert available_memory() == 800
    files.clear()
    assert available_memory() == float("inf")
    assert memory._lines(Path("/there/is/none")) == []


KEEPING = """
from rlmaml.base.memory import keep_freed_memory
from tests.rlmaml.base.large_blocks import come_from_the_system
before = come_from_the_system()
keep_freed_memory()
print(before, come_from_the_system())
"""


def test_freed_memory_is_kept_from_now_on_where_the_c_library_can(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KEEPING], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout in ("True False\n", "None None\n")
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("ctypes.CDLL", None)
    keep_freed_memory()  # does nothing
