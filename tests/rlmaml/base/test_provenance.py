import platform
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from rlmaml.base.provenance import commit, provenance, versions


def test_versions_are_those_in_use() -> None:
    assert versions()["torch"] == torch.__version__
    assert versions()["numpy"] == np.__version__
    assert versions()["python"] == platform.python_version()


def test_the_commit_is_that_of_the_checkout() -> None:
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    head = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    assert provenance()["commit"] in (head, f"{head}+changes")


def test_outside_a_checkout_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert commit() is None
