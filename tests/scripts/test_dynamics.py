from pathlib import Path

import numpy as np
import pytest

from rlmaml.base.plain_data import read_json
from rlmaml.storage.run_directory import RunDirectory
from tests.scripts.test_scripts import TINY, run_script
from tests.scripts.test_supervised import assert_scores_are_those_of_the_training

SMALL: tuple[object, ...] = ("Navigation2D-v0", "--variant", "dynamics", "--iterations", 2, "--tasks", 2)
SMALL += ("--hidden", 4, "--train-robots", 4, "--test-robots", 3, "--episode-steps", 5)


def recorded(path: Path, observation: int = 2) -> Path:
    """Three episodes without rewards."""
    generator, ends = np.random.default_rng(0), np.arange(12) % 4 == 3
    np.savez(
        path,
        observations=generator.standard_normal((12, observation)),
        actions=generator.standard_normal((12, 2)),
        terminations=np.zeros(12, bool),
        truncations=ends,
    )
    return path


def test_a_model_of_changed_robots_is_trained_resumed_and_judged_in_the_units_of_what_is_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = recorded(tmp_path / "mine.npz")

    def trained(directory: str, iterations: int) -> dict[str, dict[str, list[float]]]:
        words: tuple[object, ...] = ("--iterations", iterations, "--cosine-iterations", 2, "--resume")
        words += ("--evaluation-steps", 2, "--recorded", file)
        json_file = tmp_path / "errors.json"
        where = ("--run-dir", tmp_path / directory, "--json", json_file)
        assert run_script("train_dynamics.py", *SMALL, *words, *where) == 0
        return dict(read_json(json_file))

    straight = trained("straight", 2)
    table = capsys.readouterr().out
    for words in ("zero-shot", "pretrained", "on 3 held-out tasks", "x [m]", "maml-trpo, 2 steps", "mine.npz"):
        assert words in table
    assert len(straight["errors"]["mean"]) == len(straight["errors"]["ci95"]) == 3
    assert set(straight) == {"errors", "rows", "observations", "recorded", "config"}
    assert np.shape(straight["observations"]["rows"]["pretrained"]["mean"]) == (3, 2)  # type: ignore[call-overload]
    assert RunDirectory(tmp_path / "straight").figure.exists()
    assert_scores_are_those_of_the_training(tmp_path / "straight")
    trained("resumed", 1)
    assert trained("resumed", 2)["errors"] == straight["errors"]
    checkpoints = [RunDirectory(tmp_path / name).checkpoint.read_bytes() for name in ("straight", "resumed")]
    assert checkpoints[0] == checkpoints[1]


def test_the_policy_of_a_run_moves_the_robots_and_what_does_not_fit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_script("train_nav.py", *TINY, "--run-dir", tmp_path / "nav") == 0
    words = (*SMALL, "--no-pretrained", "--evaluation-steps", 1, "--run-dir", tmp_path / "run", "--overwrite")
    assert run_script("train_dynamics.py", *words, "--acting", tmp_path / "nav", "--algorithm", "reptile") == 0
    assert "pretrained" not in capsys.readouterr().out
    other = recorded(tmp_path / "other.npz", observation=3)
    for wrong, error in (
        (("--recorded", other), "episodes of another robot, with 3 observations and 2 actions; this one has 2 and 2"),
        (("--test-robots", 0), "--test-robots is 0; it must be at least 1"),
        (("--variant", "none"), 'has no variant "none"'),
        (("--algorithm", "e-maml"), "learns from episodes"),
    ):
        assert run_script("train_dynamics.py", *words, *wrong) == 2
        assert error in capsys.readouterr().err
    assert run_script("train_dynamics.py", "HalfCheetahDir-v0", *words[3:], "--acting", tmp_path / "nav") == 2
    assert "was trained on Navigation2D-v0; the robots are HalfCheetahDir-v0" in capsys.readouterr().err
