"""Checkpoints: theta, how far the run is, and its configuration, in one safetensors file.

A safetensors file holds numbers and text only, so nothing in a checkpoint can execute code. Randomness needs no
state: every draw follows from the seed and the iteration. The order of theta's entries is kept, because the meta-update
adds over them in order.
"""

import json
from pathlib import Path
from typing import NamedTuple

import safetensors
import safetensors.torch

from rlmaml.base.errors import UserError
from rlmaml.base.files import write_atomically
from rlmaml.core.types import Params
from rlmaml.settings import config as configuration
from rlmaml.settings.config import TrainConfig

FORMAT = "rlmaml-checkpoint-1"
CHECKPOINT = "checkpoint.safetensors"
"""Name of a run's checkpoint in its directory."""


class Checkpoint(NamedTuple):
    """A run after ``iteration`` completed meta-iterations; theta may since have taken steps on one task."""

    theta: Params
    iteration: int
    config: TrainConfig
    steps_taken: int = 0


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically: an earlier one stays intact until the new one is complete.

    Raises:
        UserError: the directory is not writable or the disk is full.
    """
    metadata = {
        "format": FORMAT,
        "iteration": str(checkpoint.iteration),
        "steps_taken": str(checkpoint.steps_taken),
        "config": configuration.to_json(checkpoint.config),
        "order": json.dumps(list(checkpoint.theta)),
    }
    tensors = {name: tensor.cpu().clone() for name, tensor in checkpoint.theta.items()}
    write_atomically(path, safetensors.torch.save(tensors, metadata))


def load_checkpoint(path: Path, device: str = "cpu") -> Checkpoint:
    """Read a checkpoint.

    Raises:
        UserError: there is none, it is truncated, or it was written by something else or by another version.
    """
    try:
        with safetensors.safe_open(path, framework="pt", device=device) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise UserError(f"There is no checkpoint at {path}. Give the directory of a run.") from error
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{path} is truncated, or no checkpoint at all: {error}.") from error
    if metadata.get("format") != FORMAT:
        raise UserError(
            f"{path} is not a checkpoint of this version of rlmaml: its format is {metadata.get('format')!r}; "
            f"legal is {FORMAT!r}. Train anew, or use the version that wrote it."
        )
    try:
        theta = {name: tensors[name] for name in json.loads(metadata["order"])}
        config = configuration.from_json(metadata["config"])
        return Checkpoint(theta, int(metadata["iteration"]), config, int(metadata.get("steps_taken", "0")))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged: what it says of itself cannot be read ({error!r}).") from error


def check_fits(checkpoint: Checkpoint, fresh: Params, observed: str) -> None:
    """Refuse a checkpoint whose entries are not those of the policy that it is used with.

    Args:
        checkpoint: as read.
        fresh: what the policy's own theta looks like.
        observed: the environment, for the message.

    Raises:
        UserError: names the first entry that differs.
    """
    for name, tensor in fresh.items():
        stored = checkpoint.theta.get(name)
        if stored is None or stored.shape != tensor.shape:
            shape = "is missing" if stored is None else f"has shape {tuple(stored.shape)}"
            raise UserError(
                f"The checkpoint does not fit {observed}: its {name} {shape}, and {tuple(tensor.shape)} is needed. "
                "Choose the variant of the training, or one with the same observations and actions."
            )
