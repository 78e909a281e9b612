"""What a result was made with: commit, versions and machine."""

import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from rlmaml import __version__

PACKAGES = ("gymnasium", "mujoco", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can move a result: of torch its build too, such as 2.13.0+cpu.

    rlmaml itself need not be installed.
    """
    import torch  # which whoever trains has loaded, and help needs not

    of_packages = {"torch": str(torch.__version__), **{name: _version(name) for name in PACKAGES}}
    return {"python": platform.python_version(), "rlmaml": __version__, **of_packages}


@cache
def _version(package: str) -> str:
    """Looked up once: what a process has imported stays as it is."""
    return metadata.version(package)


def provenance() -> dict[str, object]:
    """Commit, versions, platform and number of processors."""
    return {
        "commit": commit(),
        "versions": versions(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
    }


def commit() -> str | None:
    """The checkout's commit, marked ``+changes`` if files differ from it; None outside a checkout.

    Nothing is written to the repository and no lock is taken in it, as ``git describe --dirty`` would.
    """
    try:
        head, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
        return f"{head}+changes" if changed else head
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*words: str) -> str:
    quiet = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(Path(__file__).parent)]
    return subprocess.run([*quiet, *words], capture_output=True, text=True, check=True).stdout.strip()
