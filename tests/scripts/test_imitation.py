from pathlib import Path

import numpy as np
import pytest

from rlmaml.base.plain_data import read_json
from rlmaml.deploy.adaptable import load
from rlmaml.storage.run_directory import RunDirectory
from tests.scripts.test_scripts import TINY, run_script
from tests.scripts.test_supervised import assert_scores_are_those_of_the_training

SMALL: tuple[object, ...] = (
    "--tasks",
    2,
    "--hidden",
    4,
    "--evaluation-tasks",
    2,
    "--no-pretrained",
    "--inner-steps",
    1,
)
SHOWN: tuple[object, ...] = ("--train-tasks", 3, "--test-tasks", 2, "--shots", 1, "--queries", 1, "--test-shots", 1, 2)
SHOWN += ("--test-episodes", 2, "--demonstrator-steps", 1)


@pytest.fixture(scope="module")
def demonstrator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 2-D navigation."""
    run_dir = tmp_path_factory.mktemp("demonstrator") / "run"
    assert run_script("train_nav.py", *TINY, "--run-dir", run_dir) == 0
    return run_dir


def recorded(path: Path, observation: int = 2, count: int = 3) -> Path:
    """Demonstrations without rewards."""
    generator = np.random.default_rng(count)
    steps, ends = 4 * count, np.arange(4 * count) % 4 == 3
    observations, actions = generator.standard_normal((steps, observation)), np.ones((steps, 2))
    np.savez(path, observations=observations, actions=actions, terminations=np.zeros(steps, bool), truncations=ends)
    return path


def test_who_imitates_a_run_is_judged_in_the_environment_resumed_and_adapted_to_a_file(
    tmp_path: Path, demonstrator: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words: list[object] = ["--demonstrator", demonstrator, *SMALL, *SHOWN, "--json", tmp_path / "returns.json"]

    def trained(directory: str, iterations: int) -> dict[str, object]:
        end = ("--iterations", iterations, "--cosine-iterations", 2, "--run-dir", tmp_path / directory, "--resume")
        assert run_script("train_imitation.py", *words, "--evaluation-steps", 2, *end) == 0
        return dict(read_json(tmp_path / "returns.json"))

    straight = trained("straight", 2)
    table = capsys.readouterr().out
    rows = (
        "zero-shot",
        "maml-trpo, 1 demonstration",
        "maml-trpo, 2 demonstrations",
        "demonstrator",
        "Share of the gap",
    )
    assert all(row in table for row in rows)
    assert len(straight["returns"]["mean"]) == 3  # type: ignore[index]
    assert set(straight) == {
        *("returns", "returns_by_row", "demonstrator", "share_of_gap", "errors", "rows", "config"),
    }
    assert_scores_are_those_of_the_training(tmp_path / "straight")
    trained("resumed", 1)
    resumed = trained("resumed", 2)
    checkpoints = [RunDirectory(tmp_path / name).checkpoint.read_bytes() for name in ("straight", "resumed")]
    assert checkpoints[0] == checkpoints[1]
    assert {name: resumed[name] for name in ("returns", "errors")} == {
        name: straight[name] for name in ("returns", "errors")
    }

    file, run_dir = recorded(tmp_path / "demonstrations.npz"), tmp_path / "straight"
    capsys.readouterr()
    assert run_script("adapt.py", run_dir, "--demonstrations", file) == 0
    assert "3 demonstrations, 1 inner step: squared error" in capsys.readouterr().out
    adapted = load(RunDirectory(run_dir).adapted)
    assert (adapted.steps_taken, adapted.adaptation) == (1, {"episodes": 3})
    other = recorded(tmp_path / "other.npz", observation=10)
    for arguments, error in (
        ((run_dir, "--demonstrations", other), "other.npz: demonstrations of another robot, with 10 observations"),
        ((demonstrator, "--demonstrations", file), "was not trained on demonstrations"),
        ((run_dir, "--demonstrations", file, "--online"), "--demonstrations needs no simulator"),
        ((run_dir,), "was trained on demonstrations, and adapts from these"),
    ):
        assert run_script("adapt.py", *arguments, "--overwrite") == 2
        assert error in capsys.readouterr().err


def test_who_is_told_the_task_demonstrates_to_who_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told, shown = tmp_path / "oracle", ("--demonstrator-steps", 0, "--iterations", 1, "--evaluation-steps", 1)
    assert run_script("train_nav.py", *TINY, "--algorithm", "oracle", "--run-dir", told) == 0
    words = ("--demonstrator", told, *SMALL, *SHOWN, *shown, "--run-dir", tmp_path / "imitates")
    assert run_script("train_imitation.py", *words) == 0, capsys.readouterr().err
    assert "demonstrator, after 0 steps" in capsys.readouterr().out
    assert (load(told).sizes.observation, load(tmp_path / "imitates").sizes.observation) == (4, 2)


def test_files_of_ones_own_are_learned_from_and_their_last_quarter_is_held_out(
    tmp_path: Path, demonstrator: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [recorded(tmp_path / f"{count}.npz", count=count) for count in (3, 4, 5, 6, 7)]
    words = (*SMALL, "--shots", 2, "--test-shots", 2, "--iterations", 1, "--run-dir", tmp_path / "run")
    json_file = tmp_path / "errors.json"
    assert run_script("train_imitation.py", "--demonstrations", *files, *words, "--json", json_file) == 0
    written = read_json(json_file)
    assert written["returns"] is None
    assert ", 4 tasks " in written["config"]["settings"]["run"]["variant"]
    assert ", 1 tasks " in capsys.readouterr().out
    other = [recorded(tmp_path / f"other{count}.npz", 10, count) for count in (3, 4)]
    again = ("--demonstrator", demonstrator, *words, "--overwrite")
    assert run_script("train_imitation.py", "--demonstrations", *other, *again) == 2
    assert (
        "another robot, with 10 observations and 2 actions; the demonstrator's has 2 and 2" in capsys.readouterr().err
    )
    assert run_script("train_imitation.py", "--demonstrator", tmp_path / "not_read", *words) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert run_script("train_imitation.py", *words, "--overwrite") == 2
    assert "Give --demonstrator RUN_DIR" in capsys.readouterr().err
