"""What a result was made with: commit, versions and machine."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("rlmaml", "torch", "gymnasium", "mujoco", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can move a result."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def provenance() -> dict[str, object]:
    """Commit, versions, platform and number of processors."""
    return {
        "commit": commit(),
        "versions": versions(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
    }


def commit() -> str | None:
    """The checkout's commit, marked ``+changes`` if files differ from it; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty=+changes"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
