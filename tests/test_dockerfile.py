"""No engine is needed: what can be wrong in the image's own lines is seen without one."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
IGNORED = [line.removeprefix("**/") for line in (ROOT / ".dockerignore").read_text().split()]


def test_the_image_has_the_python_and_the_libraries_that_the_project_asks_for() -> None:
    (python,) = re.findall(r"^FROM python:(3\.\d+)", DOCKERFILE, re.MULTILINE)
    assert f'requires-python = ">={python}"' in (ROOT / "pyproject.toml").read_text()
    assert "libegl1" in DOCKERFILE
    assert "MUJOCO_GL=egl" in DOCKERFILE
    (script,) = re.findall(r'^CMD \["python", "(.*?)"', DOCKERFILE, re.MULTILINE)
    assert (ROOT / script).is_file()


@pytest.mark.slow
def test_the_lines_that_install_make_an_environment_in_which_the_project_runs(tmp_path: Path) -> None:
    copy = tmp_path / "rlmaml"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*IGNORED))
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    settings = re.findall(r"(PIP_\w+)=(\S+)", DOCKERFILE)
    assert settings
    lines = re.findall(r"^RUN python (-m pip .*)$", DOCKERFILE, re.MULTILINE)
    assert len(lines) == 2
    once = {"PIP_RETRIES": "0"}  # an index that is not reached is not asked again for every package
    for line in lines:
        subprocess.run([python, *shlex.split(line)], check=True, cwd=copy, env=environment | dict(settings) | once)
    (command,) = re.findall(r"^CMD \[(.*)\]$", DOCKERFILE, re.MULTILINE)
    words = [word.strip('"') for word in command.split(", ")]
    done = subprocess.run([python, *words[1:]], check=True, cwd=copy, env=environment, capture_output=True, text=True)
    assert "--config" in done.stdout
