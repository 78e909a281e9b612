"""Named random streams, each derived from (seed, phase, iteration, name, index): no global generator anywhere.

Because a draw depends only on its name and indices, a stream gives the same numbers with any number of threads or
processes, and a resumed run continues exactly where the interrupted one would have.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np


class Phase(IntEnum):
    """What the numbers are drawn for; phases never share a number."""

    TRAINING = 0
    EVALUATION = 1
    FILM = 2


class Stream(IntEnum):
    """What is drawn."""

    PARAMETERS = 0
    TASKS = 1
    INITIAL_STATES = 2
    ACTIONS = 3
    PARAMETER_NOISE = 4
    MINIBATCHES = 5
    SEARCH = 6
    EXAMPLES = 7


@dataclass(frozen=True)
class RandomStreams:
    """The random streams of one iteration of one phase of a run.

    Attributes:
        seed: the run's seed, a non-negative integer.
        phase: training or evaluation.
        iteration: meta-iteration, counted from 0.
        tasks: indices of the tasks at hand, for draws that are made once per task.
    """

    seed: int
    phase: Phase = Phase.TRAINING
    iteration: int = 0
    tasks: Sequence[int] = ()

    def generator(self, stream: Stream, *indices: int) -> np.random.Generator:
        """Generator of one stream; ``indices`` are, in order, the stage and the task where they apply."""
        key = (self.phase, self.iteration, stream, *indices)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=key)))

    def parameter_seed(self) -> int:
        """Seed from which theta is initialised."""
        return _integers(self.generator(Stream.PARAMETERS), 1)[0]

    def task_seeds(self, num_tasks: int) -> list[int]:
        """One seed per task, so that task i does not depend on how many tasks are sampled."""
        return [_integers(self.generator(Stream.TASKS, task), 1)[0] for task in range(num_tasks)]

    def initial_state_seeds(self, k: int, tasks: Sequence[int], num_episodes: int) -> list[int]:
        """One seed per copy, task-major, for the initial states of stage k; tasks are given by their indices."""
        return [
            seed for task in tasks for seed in _integers(self.generator(Stream.INITIAL_STATES, k, task), num_episodes)
        ]

    def example_seeds(self, tasks: Sequence[int]) -> list[int]:
        """One seed per task for its support and query sets; tasks are given by their indices."""
        seeds = _integers(self.generator(Stream.EXAMPLES), max(tasks, default=-1) + 1)
        return [seeds[task] for task in tasks]

    def action_generators(self, k: int, tasks: Sequence[int]) -> list[np.random.Generator]:
        """One generator per task for the action noise of stage k; tasks are given by their indices."""
        return [self.generator(Stream.ACTIONS, k, task) for task in tasks]

    def minibatch_keys(self, epoch: int) -> list[float]:
        """One number in [0, 1) per task at hand: minibatches of an epoch take the tasks in the order of these."""
        return [float(self.generator(Stream.MINIBATCHES, epoch, task).random()) for task in self.tasks]

    def parameter_noise_generators(self, k: int) -> list[np.random.Generator]:
        """One generator per task at hand, for noise on its parameters after inner step k."""
        return [self.generator(Stream.PARAMETER_NOISE, k, task) for task in self.tasks]

    def search_generators(self, k: int) -> list[np.random.Generator]:
        """One generator per task at hand, for what a search tries after stage k."""
        return [self.generator(Stream.SEARCH, k, task) for task in self.tasks]


def _integers(generator: np.random.Generator, count: int) -> list[int]:
    return [int(value) for value in generator.integers(2**31, size=count)]
