import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="session")
def help_texts() -> dict[str, str]:
    """Script -> what its ``--help`` prints."""
    scripts = [path for path in sorted(SCRIPTS.glob("*.py")) if path.name not in ("common.py", "defaults.py")]
    return {
        path.name: subprocess.run([sys.executable, path, "--help"], check=True, capture_output=True, text=True).stdout
        for path in scripts
    }
