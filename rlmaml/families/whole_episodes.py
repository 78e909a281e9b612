"""Tasks that come as episodes: every step of some is learned from, and every step of others is held out.

Whole episodes are held out: steps beside those that were learned from would say little.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool
from torch import Tensor

from rlmaml.core.types import Examples


def divided(
    valid: Bool[Tensor, "episode time"], shots: int, queries: int, seed: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which episodes of a task are learned from, and which of the others are held out.

    Args:
        valid: its valid steps; an episode without any is passed over.
        shots: how many are learned from.
        queries: largest number that are held out.
        seed: of the order in which they are taken; None for that in which they are given.
    """
    usable = np.flatnonzero(valid.any(-1).numpy())
    order = usable if seed is None else np.random.Generator(np.random.PCG64(seed)).permutation(usable)
    return order[:shots], order[shots : shots + queries]


def steps_of_episodes(
    fields: tuple[Tensor, Tensor, Tensor], tasks: npt.NDArray[np.int64], chosen: Sequence[npt.NDArray[np.int64]]
) -> Examples:
    """Every step of the chosen episodes of each task; tasks with fewer have padding.

    Args:
        fields: observations, targets, and which of them are valid, ``[task, episode, time, …]``.
        tasks: indices of the tasks.
        chosen: of each, the indices of its episodes.
    """
    most = max(map(len, chosen))
    there = torch.tensor([[index < len(own) for index in range(most)] for own in chosen])
    index = torch.tensor(np.array([np.resize(own, most) for own in chosen]))
    task = torch.as_tensor(tasks).unsqueeze(-1)
    observations, targets, valid = (field[task, index] for field in fields)
    return every_step(observations, targets, valid & there.unsqueeze(-1))


def every_step(observations: Tensor, targets: Tensor, valid: Bool[Tensor, "task episode time"]) -> Examples:
    """The steps of all episodes of a task as its examples."""
    observations, targets, valid = (field.flatten(1, 2) for field in (observations, targets, valid))
    return Examples(observations, targets, valid, observations[:, :0])


def checksum_of(fields: Sequence[Tensor]) -> str:
    """Eight digits that tell these tensors from others."""
    found = hashlib.sha256()
    for field in fields:
        found.update(f"{tuple(field.shape)}\n".encode() + field.contiguous().numpy().tobytes())
    return found.hexdigest()[:8]
