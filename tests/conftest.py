import contextlib
import io
import runpy
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="session")
def help_texts() -> dict[str, str]:
    """Script -> what its ``--help`` prints."""
    texts = {}
    for path in sorted(SCRIPTS.glob("*.py")):
        if path.name in ("common.py", "defaults.py"):
            continue
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
            patch.setattr(sys, "argv", [path.name, "--help"])
            patch.syspath_prepend(str(SCRIPTS))
            with pytest.raises(SystemExit):
                runpy.run_path(str(path), run_name="__main__")
        texts[path.name] = printed.getvalue()
    return texts
