import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from rlmaml.base.errors import UserError
from rlmaml.policies.policy import GaussianMLP
from rlmaml.settings.config import TrainConfig
from rlmaml.storage.checkpoint import Checkpoint, check_fits, load_checkpoint, save_checkpoint


@pytest.fixture
def checkpoint() -> Checkpoint:
    return Checkpoint(GaussianMLP(3, 2, (5, 4)).init(7), 12, TrainConfig(seed=3, hidden=(5, 4)))


def test_a_checkpoint_comes_back_bit_for_bit_in_the_same_order(tmp_path: Path, checkpoint: Checkpoint) -> None:
    save_checkpoint(tmp_path / "c", checkpoint)
    loaded = load_checkpoint(tmp_path / "c")
    assert list(loaded.theta) == list(checkpoint.theta)
    assert all(torch.equal(loaded.theta[name], tensor) for name, tensor in checkpoint.theta.items())
    assert (loaded.iteration, loaded.config) == (12, checkpoint.config)


def test_an_order_other_than_the_alphabetical_one_survives(tmp_path: Path) -> None:
    theta = {"b": torch.tensor([1.0]), "a": torch.tensor([2.0])}
    save_checkpoint(tmp_path / "c", Checkpoint(theta, 0, TrainConfig()))
    assert list(load_checkpoint(tmp_path / "c").theta) == ["b", "a"]


def test_a_missing_checkpoint_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no checkpoint at"):
        load_checkpoint(tmp_path / "none")


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, checkpoint: Checkpoint, kept: int) -> None:
    path = tmp_path / "c"
    save_checkpoint(path, checkpoint)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="is truncated, or no checkpoint at all"):
        load_checkpoint(path)


def test_a_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    path = tmp_path / "c"
    torch.save({"theta": torch.zeros(2)}, path)
    with pytest.raises(UserError, match="is truncated, or no checkpoint at all"):
        load_checkpoint(path)


def test_a_safetensors_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_bytes(safetensors.torch.save({"w": torch.zeros(2)}))
    with pytest.raises(UserError, match="its format is None"):
        load_checkpoint(path)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is truncated, or no checkpoint at all"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("damage", [{"order": None}, {"iteration": "x"}, {"order": '["absent"]'}, {"order": "["}])
def test_a_checkpoint_with_damaged_words_is_refused(
    tmp_path: Path, checkpoint: Checkpoint, damage: dict[str, str | None]
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, checkpoint)
    with safetensors.safe_open(path, framework="pt") as file:
        words = {name: value for name, value in ({**file.metadata(), **damage}).items() if value is not None}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    safetensors.torch.save_file(tensors, path, words)
    with pytest.raises(UserError, match="is damaged"):
        load_checkpoint(path)


def test_a_checkpoint_of_another_version_is_named(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, checkpoint)
    with safetensors.safe_open(path, framework="pt") as file:
        words = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    newer = json.dumps(json.loads(words["config"]) | {"newer_setting": 1})
    safetensors.torch.save_file(tensors, path, words | {"config": newer})
    with pytest.raises(UserError, match=r"checkpoint\.safetensors: The stored configuration.*'newer_setting'"):
        load_checkpoint(path)


def test_a_checkpoint_that_does_not_fit_names_the_entry(checkpoint: Checkpoint) -> None:
    theta = checkpoint.theta
    check_fits(checkpoint, theta, "Robot-v0")
    name = next(iter(theta))
    with pytest.raises(UserError, match=f"does not fit Robot-v0: its {name} has shape"):
        check_fits(checkpoint, {name: torch.zeros(7, 7, 7)}, "Robot-v0")
    with pytest.raises(UserError, match="its absent is missing"):
        check_fits(checkpoint, {"absent": torch.zeros(1)}, "Robot-v0")
