import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_loop_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code, {})
    assert re.search(r"^2: return -\d+\.\d before, -\d+\.\d after adaptation$", capsys.readouterr().out, re.MULTILINE)


def test_every_file_and_option_the_readme_names_exists() -> None:
    for path in re.findall(r"`((?:rlmaml|envs|scripts|tests)/[\w./]*)`|\]\(([\w./]+)\)", README):
        assert (ROOT / "".join(path)).exists(), path


def test_every_option_the_readme_names_is_explained_by_a_script() -> None:
    scripts = set(re.findall(r"scripts/\w+\.py", README)) - {"scripts/defaults.py"}
    help_text = "".join(
        subprocess.run([sys.executable, ROOT / script, "--help"], check=True, capture_output=True, text=True).stdout
        for script in sorted(scripts)
    )
    for option in set(re.findall(r"--[a-z][a-z-]+", README)) - {"--logdir"}:
        assert option in help_text, option
