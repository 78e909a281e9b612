from pathlib import Path

import pytest

from rlmaml.base.errors import UserError
from rlmaml.storage.checkpoint import load_checkpoint
from rlmaml.storage.kept_checkpoints import newest_checkpoint, policy_checkpoint
from rlmaml.storage.no_policy import POLICIES, no_policy_at, what_it_is
from rlmaml.storage.run_directory import RunDirectory


def told(path: Path | str) -> str:
    """What is said of what somebody gives as a policy."""
    with pytest.raises(UserError) as caught:
        policy_checkpoint(Path(path))
    return str(caught.value)


@pytest.mark.parametrize(
    ("task", "cure"),
    [
        ("goal=0.3,-0.2", "RUN_DIR --task goal=0.3,-0.2."),
        ("motor_gain.bthigh=-1", "RUN_DIR --task motor_gain.bthigh=-1."),
        ("0.3,0.3", "RUN_DIR --task NAME=0.3,0.3."),
        ("-1.5e-3", "RUN_DIR --task NAME=-1.5e-3."),
    ],
)
def test_a_task_in_place_of_a_run_is_called_one_with_the_order_of_words(
    task: str, cure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told(task) == f"There is no checkpoint at {task}. It looks like a task. The run comes first: {cure}"


def test_a_run_that_is_not_there_is_answered_with_one_of_almost_that_name(tmp_path: Path) -> None:
    (tmp_path / "Navigation-seed0").mkdir()
    assert told(tmp_path / "Navigation-sed0").endswith("that adapt.py wrote. Did you mean Navigation-seed0?")
    assert told(tmp_path / "away" / "x").endswith("that adapt.py wrote.")


def test_a_folder_of_runs_names_those_in_it_and_another_folder_what_is_needed(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        RunDirectory(tmp_path / name).checkpoint.touch()
    (tmp_path / "empty").mkdir()
    assert told(tmp_path) == f"There is no checkpoint at {tmp_path}. It holds the runs a, b; give one of them."
    assert told(tmp_path / "empty").endswith(f"Give {POLICIES}.")


def test_of_a_run_that_has_lost_its_checkpoint_the_file_is_named(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.settings.touch()
    with pytest.raises(UserError, match=rf"^There is no checkpoint at {run.checkpoint}\. Give the directory of a run"):
        newest_checkpoint(run)


def test_a_file_of_a_run_that_is_no_policy_is_told_by_its_name_with_the_run(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    files = {
        run.settings: "holds the settings of a run, and no policy.",
        run.metrics: "is the record of a training, and no policy.",
        run.evaluation: "holds what a run reached on held-out tasks, and no policy.",
        tmp_path / "events.out.tfevents.1.2.3": "is what TensorBoard shows of a training, and no policy.",
        tmp_path / "e.json": "is text, and no policy.",
    }
    for path in files:
        path.write_text('{"settings": 3}')
    for path, words in files.items():
        assert told(path) == f"{path} {words} Give {POLICIES}."
    run.checkpoint.touch()
    for path, words in files.items():
        assert told(path) == f"{path} {words} Give its directory, {tmp_path}."


def test_a_recording_and_an_exported_policy_are_told_by_their_kind_and_others_are_damaged(tmp_path: Path) -> None:
    for name, words in (
        ("e.npz", "holds recorded episodes, and no policy. Give RUN_DIR --episodes FILE"),
        ("policy.onnx", "is a policy as it was exported, which is not loaded again."),
        ("policy.pt2", "is a policy as it was exported, which is not loaded again."),
        ("a.safetensors", "is truncated, or no checkpoint at all: "),
    ):
        path = tmp_path / name
        path.write_bytes(b"something else")
        with pytest.raises(UserError) as caught:
            load_checkpoint(path)
        assert str(caught.value).startswith(f"{path} {words}")
    assert what_it_is(tmp_path / "a.safetensors") is None
    assert isinstance(no_policy_at(tmp_path / "nowhere"), UserError)
