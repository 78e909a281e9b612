"""A run is gone on with by the command that is named, without its options."""

import json
import re
import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from rlmaml.settings.whole import configure
from rlmaml.storage.checkpoint import load_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from tests.scripts.test_scripts import SCRIPTS, TINY, Run, run, run_script

__all__ = ["run"]

WAVES = ("--tasks", 3, "--hidden", 4, "--evaluation-tasks", 2, "--evaluation-steps", 1, "--shots", 5, "--no-pretrained")


def typed(command: str) -> int:
    """What a command that was named does."""
    python, script, *words = shlex.split(command)
    assert python == "python"
    return run_script(Path(script).name, *words)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("train_nav.py", (*TINY, "--algorithm", "cavia", "--context", 3, "--seed", 2)),
        ("train_sinusoid.py", (*WAVES, "--iterations", 2)),
        pytest.param(
            "train_locomotion.py",
            ("HalfCheetahVel-v0", *TINY, "--variant", "rothfuss2019"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_who_resumes_without_the_options_of_before_is_told_the_command_that_works(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str], script: str, words: tuple[object, ...]
) -> None:
    directory = RunDirectory(tmp_path / "my run")
    assert run(script, *words, "--run-dir", directory.path) == 0
    capsys.readouterr()
    named = words[:1] if script == "train_locomotion.py" else ()
    assert run(script, *named, "--run-dir", directory.path, "--resume", "--iterations", 3, "--hidden", 9) == 2
    said = capsys.readouterr().err
    assert ("--algorithm was 'cavia'" if "cavia" in words else "--hidden was ") in said
    command = said.partition("To go on with it as it was begun: ")[2].strip()
    assert typed(command) == 0
    stored = load_checkpoint(directory.checkpoint)
    assert (stored.iteration, stored.settings.run.iterations) == (3, 3)


@pytest.mark.parametrize(
    ("settings", "more", "given", "words"),
    [
        (configure(), {}, {}, "train_nav.py"),
        (configure(env_id="AntVel-v0", variant="gymnasium"), {}, {}, "train_locomotion.py AntVel-v0"),
        (
            configure(env_id="Carts-v0", variant="a"),
            {"family": {"from": "carts.py:Carts"}},
            {},
            "train_locomotion.py --family carts.py:Carts",
        ),
        (
            configure(env_id="Carts-v0", variant="a"),
            {},
            {"family": "my/c.py:C"},
            "train_locomotion.py --family my/c.py:C",
        ),
        (configure(policy="net.py:Net"), {}, {"policy": "my/net.py:Net"}, "train_nav.py --policy my/net.py:Net"),
        (configure(policy="net.py:Net"), {}, {}, "train_nav.py --policy net.py:Net"),
        (
            configure("maml-trpo", env_id="dynamics-AntVel-v0", variant="AntVel-v0, gymnasium"),
            {"made_by": {"variant": "gymnasium", "train_robots": 7, "acting": "/a b"}},
            {},
            "train_dynamics.py AntVel-v0 --variant gymnasium --train-robots 7 --acting '/a b'",
        ),
    ],
)
def test_the_command_has_the_script_and_what_no_file_of_settings_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any, more: dict[str, Any], given: Any, words: str
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "argv", ["scripts/compress.py"])
    resume_command = import_module("resuming").resume_command
    assert resume_command(tmp_path) is None
    RunDirectory(tmp_path).settings.write_text(json.dumps({"settings": settings.as_plain(), **more}))
    kept = f"--config {tmp_path}/run.json --run-dir {tmp_path} --resume"
    assert resume_command(tmp_path, **given) == f"python scripts/{words} {kept}"
    assert resume_command(tmp_path, ["--iterations", "4"], **given).endswith("--resume --iterations 4")
    RunDirectory(tmp_path).settings.write_text(re.sub("maml-trpo", "unheard-of", json.dumps(settings.as_plain())))
    assert resume_command(tmp_path) is None
