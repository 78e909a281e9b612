"""Whether programs can be run apart from the machine's disks or network, which may be forbidden: it is tried."""

import functools
import shutil
import subprocess


@functools.cache
def can_unshare(what: str) -> bool:
    """Whether ``unshare`` is there and works with these flags."""
    if not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", what, "true"], capture_output=True, check=False).returncode == 0
