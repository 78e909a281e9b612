"""Imitation: to act as who demonstrates a task, from a handful of demonstrations (behaviour cloning).

    L(φ) = mean over steps ‖π_φ(o) − a‖² / size of a,   π_φ(o) being the most likely action (arXiv 1709.04905).

The support set of a task is every step of some of its demonstrations, the query set those of others. Actions are
clipped to [-1, 1], as the robot does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.core.losses import squared_error
from rlmaml.core.types import Examples, Outputs, Rollout, Tasks
from rlmaml.families.whole_episodes import checksum_of, divided, every_step, steps_of_episodes
from rlmaml.policies.sizes import Part, Sizes
from rlmaml.sampling.examples import Sets, drawn_by_index
from rlmaml.sampling.recorded import RecordedEpisodes, as_rollout, read_episodes

DEMONSTRATIONS = "demonstrations"
"""What a policy of this family says that it adapts from; see :attr:`Imitation.sheet`."""
LEAST_SCALE = 1e-3
"""Least typical size of a number of the observation, in its unit."""


class Demonstrations(NamedTuple):
    """What was demonstrated on every task; steps that are not valid are padding."""

    observations: Float[Tensor, "task demonstration time obs"]
    actions: Float[Tensor, "task demonstration time action"]
    valid: Bool[Tensor, "task demonstration time"]

    @property
    def sizes(self) -> Sizes:
        """Of an observation and an action."""
        return Sizes(self.observations.shape[-1], self.actions.shape[-1])

    def of_tasks(self, chosen: slice) -> "Demonstrations":
        """Those of some tasks."""
        return Demonstrations(*(field[chosen] for field in self))

    @property
    def scales(self) -> tuple[float, ...]:
        """Root mean square of each number of the observation, in its unit."""
        seen = self.observations[self.valid].double()
        return tuple(seen.square().mean(0).sqrt().clamp(min=LEAST_SCALE).tolist())


@dataclass(frozen=True)
class Imitation:
    """A family of tasks, each with demonstrations.

    Attributes:
        name: whose demonstrations they are.
        demonstrations: of every task.
        shots: demonstrations of a support set.
        queries: largest number of demonstrations of a query set.
        parts: of an observation, where it has several, as ``multimodal`` models read them.

    Raises:
        UserError: a number is too small, or a task has too few demonstrations.
    """

    name: str
    demonstrations: Demonstrations
    shots: int = 5
    queries: int = 10
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("shots", "queries"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} is {getattr(self, name)}; it must be at least 1.")
        counts = self.demonstrations.valid.any(-1).sum(-1)
        if bool((counts <= self.shots).any()):
            task = int(counts.argmin())
            raise UserError(
                f"Task {task} of {self.name} has {int(counts[task])} demonstrations; to learn from {self.shots} there "
                "must be one more, which is held out. Take fewer --shots, or record more."
            )

    @property
    def num_tasks(self) -> int:
        """How many tasks there are."""
        return len(self.demonstrations.valid)

    @property
    def variant(self) -> str:
        """Whose demonstrations, with a checksum over them, and how many."""
        tasks = f"{self.name}, {self.num_tasks} tasks {self._checksum}"
        return f"{tasks}, {self.shots} demonstrations, {self.queries} held out"

    @cached_property
    def _checksum(self) -> str:
        return checksum_of(self.demonstrations)

    @property
    def sizes(self) -> Sizes:
        """From what the robot sees to what it does."""
        return self.demonstrations.sizes._replace(parts=self.parts)

    @property
    def sheet(self) -> dict[str, Any]:
        """What is recorded in checkpoints: that policies of this family adapt from demonstrations."""
        return {"family": "imitation", "variant": self.variant, "adapts_from": DEMONSTRATIONS}

    @property
    def origin(self) -> str:
        """Whose demonstrations they are."""
        return self.name

    def having(self, shots: int) -> "Imitation":
        """The same with another number of demonstrations to learn from."""
        return replace(self, shots=shots)

    def sample_tasks(self, num_tasks: int, seeds: Sequence[int]) -> Tasks:
        """Tasks by their index, each as likely."""
        return drawn_by_index(self.num_tasks, seeds[:num_tasks])

    def every_task(self) -> Tasks:
        """All tasks."""
        return {"index": np.arange(self.num_tasks)}

    def sets(self, tasks: Tasks, seeds: Sequence[int]) -> Sets:
        """The steps of some demonstrations of every task, and those of others."""
        (seen, done, valid), index = self.demonstrations, tasks["index"]
        pairs = [divided(valid[task], self.shots, self.queries, seed) for task, seed in zip(index, seeds, strict=True)]
        return Sets(*(steps_of_episodes((seen, done, valid), index, chosen) for chosen in zip(*pairs, strict=True)))

    def loss(self, outputs: Outputs, data: Examples) -> Float[Tensor, ""]:
        """Mean squared error of the actions."""
        return squared_error(outputs, data)

    def score(self, outputs: Outputs, data: Examples) -> Float[Tensor, ""]:
        """Mean squared error of the actions."""
        return squared_error(outputs, data)


def demonstrated(sampled: Rollout, observed: int) -> Demonstrations:
    """Episodes of every task as demonstrations, of which the first numbers of the observation are seen.

    Args:
        sampled: the episodes.
        observed: how many numbers of the observation there are for who imitates; a demonstrator may be told more.

    Raises:
        UserError: actions are choices.
    """
    if not sampled.actions.is_floating_point():
        raise UserError("The demonstrator's actions are choices; imitation by squared error needs vectors of numbers.")
    return Demonstrations(sampled.observations[..., :observed], sampled.actions.clamp(-1.0, 1.0), sampled.valid)


def read_demonstrations(paths: Sequence[Path]) -> Demonstrations:
    """The demonstrations of one task per file; see :mod:`rlmaml.sampling.recorded`.

    Raises:
        UserError: a file is no recording, or of another robot than the first.
    """
    recorded = [read_episodes(path, rewards=False) for path in paths]
    first = sizes_of_recording(recorded[0])
    for path, episodes in zip(paths, recorded, strict=True):
        check_same_robot(sizes_of_recording(episodes), first, str(path), f"those in {paths[0]} have")
    shown = [demonstrated(as_rollout(episodes), first.observation) for episodes in recorded]
    shape = [max(one.valid.shape[axis] for one in shown) for axis in (1, 2)]

    def joined(*parts: Tensor) -> Tensor:
        padded = [part.new_zeros(1, *shape, *part.shape[3:]) for part in parts]
        for whole, part in zip(padded, parts, strict=True):
            whole[:, : part.shape[1], : part.shape[2]] = part
        return torch.cat(padded)

    return Demonstrations(*map(joined, *shown))


def steps_of(episodes: RecordedEpisodes) -> Examples:
    """Every step of one task's demonstrations as examples."""
    return every_step(*demonstrated(as_rollout(episodes), sizes_of_recording(episodes).observation))


def sizes_of_recording(episodes: RecordedEpisodes) -> Sizes:
    """Of an observation and an action of a recording."""
    return Sizes(episodes.observations.shape[1], episodes.actions.shape[1])


def check_same_robot(received: Sizes, sizes: Sizes, source: str, others: str, *, what: str = "demonstrations") -> None:
    """Refuse demonstrations, or other episodes, of another robot.

    Args:
        received: sizes of the observations and actions in them.
        sizes: those that are needed.
        source: where they are from.
        others: whose the needed ones are, with a verb.
        what: what they are.

    Raises:
        UserError: names both sizes.
    """
    if received[:2] != sizes[:2]:
        raise UserError(
            f"{source}: {what} of another robot, with {received.observation} observations and "
            f"{received.action} actions; {others} {sizes.observation} and {sizes.action}."
        )
