import json
from pathlib import Path

import pytest

from rlmaml.storage.run_directory import RunDirectory
from tests.scripts.test_scripts import run_script

TINY = ("--iterations", 2, "--tasks", 3, "--hidden", 4, "--evaluation-tasks", 5)


def test_sine_waves_are_trained_on_resumed_and_tabled_beside_the_published_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        *TINY,
        "--waves",
        "li2017",
        "--shots",
        5,
        "--run-dir",
        tmp_path / "run",
        "--json",
        tmp_path / "errors.json",
    ]
    assert run_script("train_sinusoid.py", *words, "--algorithm", "meta-sgd", "--seed", 3) == 0
    table = capsys.readouterr().out
    assert all(row in table for row in ("zero-shot", "meta-sgd", "pretrained", "Meta-SGD, arXiv 1707.09835"))
    written = json.loads((tmp_path / "errors.json").read_text())
    assert len(written["errors"]["mean"]) == len(written["errors"]["ci95"]) == 11
    assert written["config"]["settings"]["run"]["seed"] == 3
    assert RunDirectory(tmp_path / "run").figure.exists()
    assert run_script("train_sinusoid.py", *words, "--algorithm", "meta-sgd", "--seed", 3) == 2
    assert "errors.json exists" in capsys.readouterr().err
    assert run_script("train_sinusoid.py", *words, "--algorithm", "meta-sgd", "--seed", 3, "--resume") == 0
    assert json.loads((tmp_path / "errors.json").read_text())["errors"] == written["errors"]


def test_a_method_of_episodes_ends_with_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script("train_sinusoid.py", "--algorithm", "rl2", "--run-dir", tmp_path / "run") == 2
    assert "--algorithm is 'rl2', which learns from episodes" in capsys.readouterr().err
