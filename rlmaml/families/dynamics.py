"""Models of a robot: to predict from what it sees and does what it sees next, from an episode of the very robot.

    f(o_t, a_t) → o_{t+1} − o_t,   L(φ) = mean over steps ‖f_φ − change‖² / size of o, all in normalised numbers.

It is the supervised problem within arXiv 1803.11347. A task is one robot, whose body or motors have changed. Its
support set is every step of some recorded episodes, its query set those of others. Observations and changes are
normalised by mean and deviation over the training's robots, so that an error of 1 is that of the training's mean
change. Actions are clipped to [-1, 1], as the robot does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.core.losses import squared_error
from rlmaml.core.types import Examples, Outputs, Rollout, Tasks
from rlmaml.families.whole_episodes import checksum_of, divided, steps_of_episodes
from rlmaml.policies.sizes import Part, Sizes
from rlmaml.sampling.examples import Sets, drawn_by_index
from rlmaml.sampling.recorded import RecordedEpisodes, as_rollout

LEAST_DEVIATION = 1e-6
"""Of a number, in its unit; one that varies less is constant, and is left as it is."""


class Transitions(NamedTuple):
    """What every task's robot did; steps that are not valid are padding."""

    observations: Float[Tensor, "task episode time obs"]
    actions: Float[Tensor, "task episode time action"]
    changes: Float[Tensor, "task episode time obs"]
    """From an observation to the next one, each in its unit per control step."""
    valid: Bool[Tensor, "task episode time"]

    @property
    def sizes(self) -> Sizes:
        """Of an observation and an action of the robot."""
        return Sizes(self.observations.shape[-1], self.actions.shape[-1])


class Normalisation(NamedTuple):
    """Mean and deviation of every number of an observation, and of its change, in its unit."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    change_mean: tuple[float, ...]
    change_deviation: tuple[float, ...]


def normalisation_of(transitions: Transitions) -> Normalisation:
    """Of transitions, over all tasks; a number that does not vary has a deviation of 1."""
    found: list[tuple[float, ...]] = []
    for field in (transitions.observations, transitions.changes):
        values = field[transitions.valid].double()
        deviation = values.std(0, unbiased=False)
        varies = deviation >= LEAST_DEVIATION
        found += [tuple(values.mean(0).tolist()), tuple(torch.where(varies, deviation, 1.0).tolist())]
    return Normalisation(*found)


@dataclass(frozen=True)
class Dynamics:
    """A family of robots, each with recorded episodes.

    Attributes:
        name: whose episodes they are.
        transitions: of every robot.
        normalisation: of the training's robots.
        shots: episodes of a support set.
        queries: largest number of episodes of a query set.
        parts: of an observation, where it has several, as ``multimodal`` models read them; the action is one more.
        in_order: whether the first episodes are learned from and the next ones held out, or which ones is drawn.

    Raises:
        UserError: a number is too small, or a robot has too few episodes.
    """

    name: str
    transitions: Transitions
    normalisation: Normalisation
    shots: int = 1
    queries: int = 2
    in_order: bool = False
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers."""
        for option, number in (("--support-episodes", self.shots), ("--query-episodes", self.queries)):
            if number < 1:
                raise UserError(f"{option} is {number}; it must be at least 1.")
        counts = self.transitions.valid.any(-1).sum(-1)
        if bool((counts <= self.shots).any()):
            task = int(counts.argmin())
            raise UserError(
                f"Robot {task} of {self.name} has {int(counts[task])} usable episodes; to adapt on {self.shots} there "
                "must be one more, on which it is judged. Take fewer --support-episodes, or record more."
            )

    @property
    def num_tasks(self) -> int:
        """How many robots there are."""
        return len(self.transitions.valid)

    @property
    def variant(self) -> str:
        """Whose episodes, with a checksum over them, and how many; of a test's, one over the units of errors, too."""
        robots = f"{self.name}, {self.num_tasks} robots {self._checksum}"
        units = f", normalised by {checksum_of([torch.tensor(self.normalisation)])}" if self.in_order else ""
        return f"{robots}, {self.shots} episodes, {self.queries} held out{units}"

    @cached_property
    def _checksum(self) -> str:
        return checksum_of(self.transitions)

    @property
    def sizes(self) -> Sizes:
        """From an observation and an action to the change of the observation."""
        seen, done, *_ = self.transitions.sizes
        return Sizes(seen + done, seen, parts=self.parts)

    @property
    def sheet(self) -> dict[str, Any]:
        """What is recorded in checkpoints: how the model's numbers are made of the robot's."""
        return {"family": "dynamics", "variant": self.variant, "normalisation": self.normalisation._asdict()}

    @property
    def origin(self) -> str:
        """Whose episodes they are."""
        return self.name

    def sample_tasks(self, num_tasks: int, seeds: Sequence[int]) -> Tasks:
        """Robots by their index, each as likely."""
        return drawn_by_index(self.num_tasks, seeds[:num_tasks])

    def every_task(self) -> Tasks:
        """All robots."""
        return {"index": np.arange(self.num_tasks)}

    def sets(self, tasks: Tasks, seeds: Sequence[int]) -> Sets:
        """The steps of some episodes of every robot, and those of others."""
        valid, index = self.transitions.valid, tasks["index"]
        pairs = [
            divided(valid[task], self.shots, self.queries, None if self.in_order else seed)
            for task, seed in zip(index, seeds, strict=True)
        ]
        return Sets(*(steps_of_episodes(self._fields, index, chosen) for chosen in zip(*pairs, strict=True)))

    @cached_property
    def _fields(self) -> tuple[Tensor, Tensor, Tensor]:
        """What the model reads, what it is to say, and which steps are valid."""
        mean, deviation, change_mean, change_deviation = map(torch.tensor, self.normalisation)
        seen, done, changes, valid = self.transitions
        return torch.cat([(seen - mean) / deviation, done], -1), (changes - change_mean) / change_deviation, valid

    def loss(self, outputs: Outputs, data: Examples) -> Float[Tensor, ""]:
        """Mean squared error of the normalised change."""
        return squared_error(outputs, data)

    def score(self, outputs: Outputs, data: Examples) -> Float[Tensor, ""]:
        """Mean squared error of the normalised change."""
        return squared_error(outputs, data)

    def squared_errors(self, outputs: Outputs, data: Examples) -> Float[Tensor, " obs"]:
        """The mean squared error of every number of the next observation, in the square of its unit."""
        errors = outputs.distribution.mean - data.targets
        in_units = errors * torch.tensor(self.normalisation.change_deviation).to(errors)
        total: Tensor = (in_units.square() * data.valid.unsqueeze(-1)).sum(0)
        return total / data.valid.sum().clamp(min=1)


def transitions_of(sampled: Rollout, observed: int) -> Transitions:
    """The transitions of every task's episodes, of which the first numbers of the observation are the robot's.

    Args:
        sampled: the episodes.
        observed: how many numbers of the observation there are; who acted may have been told more.

    Raises:
        UserError: actions are choices.
    """
    if not sampled.actions.is_floating_point():
        raise UserError("The robot's actions are choices; a model of it needs vectors of numbers.")
    seen, final = (field[..., :observed] for field in (sampled.observations, sampled.final_observations))
    last = last_steps(sampled.valid).unsqueeze(-1)
    following = torch.where(last, final.unsqueeze(2), torch.cat([seen[:, :, 1:], seen[:, :, :1]], 2))
    return Transitions(seen, sampled.actions.clamp(-1.0, 1.0), following - seen, sampled.valid)


def recorded_transitions(episodes: RecordedEpisodes) -> Transitions:
    """The transitions of one robot's recording; where it does not say what was seen last, no episode's last step."""
    sampled = as_rollout(episodes)
    if episodes.final_observations is None:
        sampled = sampled._replace(valid=sampled.valid & ~last_steps(sampled.valid))
    return transitions_of(sampled, episodes.observations.shape[1])


def last_steps(valid: Bool[Tensor, "*axes time"]) -> Bool[Tensor, "*axes time"]:
    """The last valid step of every episode."""
    return valid & ~torch.cat([valid[..., 1:], torch.zeros_like(valid[..., :1])], -1)
