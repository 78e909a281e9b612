"""Supervised task families: from tasks to support and query sets, and to what the loop reads of them.

The inner steps of a task go down the loss on its support set, the same in every step; after the last one stands its
query set, on which the meta-objective is the loss (arXiv 1703.03400, algorithm 2). An inner step is never given a query
example: not as data, and not in the batch statistics of a network that has any.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from rlmaml.base.errors import NonFiniteError, UserError
from rlmaml.base.random_streams import RandomStreams
from rlmaml.core.types import Adaptation, Examples, Outputs, Stage, Tasks
from rlmaml.policies.sizes import Sizes
from rlmaml.sampling.collect import Collect


class Sets(NamedTuple):
    """The examples of every task."""

    support: Examples
    """What a task adapts on."""
    query: Examples
    """What it is judged by."""


@runtime_checkable
class SupervisedFamily(Protocol):
    """A distribution over supervised tasks."""

    @property
    def variant(self) -> str:
        """In a few words, one exactly defined problem: a run is resumed with the same one alone."""

    @property
    def sizes(self) -> Sizes:
        """Numbers of an observation, and of a target or, where ``discrete``, how many classes there are."""

    def sample_tasks(self, num_tasks: int, seeds: Sequence[int]) -> Tasks:
        """Tasks drawn from the family, the i-th from ``seeds[i]`` alone."""

    def sets(self, tasks: Tasks, seeds: Sequence[int]) -> Sets:
        """Support and query sets, those of the i-th task drawn from ``seeds[i]`` alone."""

    def loss(self, outputs: Outputs, data: Examples) -> Float[Tensor, ""]:
        """The loss of ONE task, from what the model says: what inner steps go down, and meta-updates on query sets."""

    def score(self, outputs: Outputs, data: Examples) -> Float[Tensor, ""]:
        """What ONE task is judged by, such as its accuracy."""


@runtime_checkable
class ListedFamily(SupervisedFamily, Protocol):
    """A supervised family whose tasks are so many, such as recorded ones: in a test each of them counts once."""

    def every_task(self) -> Tasks:
        """All of its tasks, in their order."""


def first_task(family: SupervisedFamily) -> Sets:
    """The sets of one task, for a look at what a family is before it is trained on."""
    return family.sets(family.sample_tasks(1, [0]), [0])


def drawn_by_index(num_tasks: int, seeds: Sequence[int]) -> Tasks:
    """Tasks that are known by their index below ``num_tasks``, each as likely, the i-th from ``seeds[i]`` alone."""
    return {"index": np.array([np.random.Generator(np.random.PCG64(seed)).integers(num_tasks) for seed in seeds])}


def examples_of(
    family: SupervisedFamily, tasks: Tasks, streams: RandomStreams, indices: Sequence[int], steps: int
) -> Collect:
    """Hands out support sets before every inner step, and query sets after the last.

    Args:
        family: whose tasks they are.
        tasks: the tasks.
        streams: random streams of the iteration.
        indices: of the tasks, from which their examples follow.
        steps: number of inner steps; without any, the query sets are what is learned from.

    Raises:
        UserError: the family's sets are not what its sizes say.
        NonFiniteError: an observation or a target is NaN or infinite.
    """
    support, query = family.sets(tasks, streams.example_seeds(indices))
    for name, part in (("support", support), ("query", query)):
        check_examples(part, len(indices), family.sizes, f"The {name} set of {family.variant}")

    def collect(adaptation: Adaptation, k: int) -> Stage:  # noqa: ARG001
        return Stage(support if k < steps else query)

    return collect


def check_examples(examples: Examples, num_tasks: int, sizes: Sizes, whose: str) -> None:
    """Refuse a set that is not what a family's sizes say.

    Raises:
        UserError: names the field, with the shape that it has and the one that it needs, or the illegal class.
        NonFiniteError: an observation or a target is NaN or infinite.
    """
    num_examples = examples.valid.shape[-1]
    targets = (num_tasks, num_examples) if sizes.discrete else (num_tasks, num_examples, sizes.action)
    needed: dict[str, tuple[int, ...]] = {
        "valid": (num_tasks, num_examples),
        "observations": (num_tasks, num_examples, sizes.observation),
        "targets": targets,
        "references": (num_tasks, examples.references.shape[1], sizes.observation),
    }
    for name, shape in needed.items():
        received = tuple(getattr(examples, name).shape)
        if received != shape:
            raise UserError(f"{whose} has {name} of shape {received}; {shape} is needed: [task, example, …].")
    if not examples.observations.isfinite().all() or not examples.targets.isfinite().all():
        raise NonFiniteError(whose, "an observation or a target of its examples is not a number; leave them out")
    if sizes.discrete and examples.targets.numel():
        least, most = int(examples.targets.min()), int(examples.targets.max())
        if least < 0 or most >= sizes.action:
            raise UserError(f"{whose} has targets from {least} to {most}; they must be from 0 to {sizes.action - 1}.")
