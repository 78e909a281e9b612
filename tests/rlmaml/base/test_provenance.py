import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from rlmaml.base.provenance import commit, provenance, versions


def test_versions_are_those_in_use() -> None:
    assert versions()["torch"] == torch.__version__
    assert versions()["numpy"] == np.__version__
    assert versions()["rlmaml"] == metadata.version("rlmaml")
    assert versions()["python"] == platform.python_version()


def test_the_commit_is_that_of_the_checkout() -> None:
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    head = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    assert provenance()["commit"] in (head, f"{head}+changes")


def test_a_file_that_was_touched_is_looked_at_without_a_lock_or_a_write_in_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *who, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    git("init", "--quiet")
    file = tmp_path / "file.py"
    file.write_text("1")
    git("add", "file.py")
    git("commit", "--quiet", "--message", "one")
    monkeypatch.setattr("rlmaml.base.provenance.__file__", str(file))
    (watch := tmp_path / "watch").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    watch.chmod(0o755)
    git("config", "core.fsmonitor", str(watch))  # which git would start, and a daemon of its own likewise
    os.utime(file, (0, 0))  # git would now like to write down that it is the same
    held = tmp_path / ".git" / "index.lock"
    before = (tmp_path / ".git" / "index").read_bytes()
    assert commit() == git("rev-parse", "HEAD")
    assert not (tmp_path / "started").exists()
    assert (tmp_path / ".git" / "index").read_bytes() == before
    file.write_text("2")
    held.touch()  # of another process
    assert commit() == git("rev-parse", "HEAD") + "+changes"
    assert held.exists()


def test_outside_a_checkout_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert commit() is None
