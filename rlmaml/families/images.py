"""Few-shot classification of images: a task is N classes, K images of each to adapt on, and others to be judged by.

Classes are labelled 0 … N − 1 in the order in which a task draws them (arXiv 1606.04080). Numbers are brightness in
[0, 1]. The classes of a training and of a test are different ones: see :func:`split_classes`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.core.losses import cross_entropy, share_correct
from rlmaml.core.types import Examples, Outputs, Tasks
from rlmaml.policies.sizes import Sizes
from rlmaml.sampling.examples import Sets

PARTS = ("train", "validation", "test")
FOLDERS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
"""Folders that classes lie in where they are split already -> the part that they are."""
TRAINED = 0.6
"""Share of the classes that are for training where nobody says how many; the others are for the test."""
HELD_BACK = 4
"""One of so many images of a training class is for validation, where no classes are."""


@dataclass(frozen=True)
class FewShot:
    """A family of classification tasks, from images that are in memory.

    Attributes:
        name: of the images, in a few words.
        images: class -> its images, flattened from channels, height and width.
        ways: classes of a task.
        shots: images per class in a support set.
        queries: images per class in a query set.
        transductive: whether the batch statistics of a query set are its own; else they are those of the support set.

    Raises:
        UserError: there are too few classes, or a class has too few images.
    """

    name: str
    images: Mapping[str, UInt8[Tensor, "image obs"]]
    ways: int
    shots: int
    queries: int
    transductive: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("shots", "queries"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} is {getattr(self, name)}; it must be at least 1.")
        if not 2 <= self.ways <= len(self.images):
            raise UserError(
                f"--ways is {self.ways}; it must be from 2 to {len(self.images)}, the classes of {self.name}."
            )
        for name, images in self.images.items():
            if len(images) < self.shots + self.queries:
                raise UserError(
                    f"Class {name} of {self.name} has {len(images)} images; --shots {self.shots} and --queries "
                    f"{self.queries} need {self.shots + self.queries}. Ask for fewer, or leave the class out."
                )

    @property
    def variant(self) -> str:
        """Images, with a checksum over them, ways and shots."""
        by = "transductive" if self.transductive else "by the support's statistics"
        images = f"{self.name}, images {self._checksum}"
        return f"{images}, {self.ways}-way {self.shots}-shot, {self.queries} queries, {by}"

    @cached_property
    def _checksum(self) -> str:
        found = hashlib.sha256()
        for name, images in self.images.items():
            found.update(f"{name}: {len(images)}\n".encode())
            found.update(images.numpy().tobytes())
        return found.hexdigest()[:8]

    @property
    def sizes(self) -> Sizes:
        """From an image to one of the ways."""
        return Sizes(next(iter(self.images.values())).shape[1], self.ways, discrete=True)

    def judged_by(self, *, transductive: bool) -> "FewShot":
        """The same with the batch statistics of a query set its own or not."""
        return replace(self, transductive=transductive)

    def sample_tasks(self, num_tasks: int, seeds: Sequence[int]) -> Tasks:
        """Different classes in an order, by their indices."""
        drawn = [_generator(seed).permutation(len(self.images))[: self.ways] for seed in seeds[:num_tasks]]
        return {"classes": np.array(drawn)}

    def sets(self, tasks: Tasks, seeds: Sequence[int]) -> Sets:
        """Images of every class, each in one of both sets at most."""
        number, classes = self.shots + self.queries, list(self.images.values())
        every = []
        for chosen, seed in zip(tasks["classes"], seeds, strict=True):
            generator = _generator(seed)
            own = [classes[index] for index in chosen]
            every.append(torch.stack([images[generator.permutation(len(images))[:number]] for images in own]))
        images = torch.stack(every).float() / 255
        support, query = (part.flatten(1, 2) for part in (images[:, :, : self.shots], images[:, :, self.shots :]))
        none = support[:, :0]
        return Sets(
            self._labelled(support, self.shots, none),
            self._labelled(query, self.queries, none if self.transductive else support),
        )

    def loss(self, outputs: Outputs, data: Examples) -> Float[Tensor, ""]:
        """Cross-entropy in nats."""
        return cross_entropy(outputs, data)

    def score(self, outputs: Outputs, data: Examples) -> Float[Tensor, ""]:
        """Accuracy."""
        return share_correct(outputs, data)

    def _labelled(self, images: Tensor, each: int, references: Tensor) -> Examples:
        labels = torch.arange(self.ways).repeat_interleave(each).expand(len(images), -1)
        return Examples(images, labels, torch.ones(labels.shape, dtype=torch.bool), references)


def split_classes(names: Sequence[str], seed: int, numbers: tuple[int, int, int]) -> dict[str, list[str]]:
    """Classes for training, validation and test: no class is in two of them.

    Args:
        names: of the classes; their order does not matter.
        seed: of the shuffle.
        numbers: how many classes there are for training, validation and test.

    Raises:
        UserError: there are fewer classes, or a number below 0.
    """
    if min(numbers) < 0 or sum(numbers) > len(names):
        raise UserError(f"--split is {numbers}; it must be three numbers not below 0, at most {len(names)} in all.")
    shuffled = [sorted(names)[index] for index in _generator(seed).permutation(len(names))]
    ends = np.cumsum([0, *numbers])
    return {part: shuffled[first:last] for part, first, last in zip(PARTS, ends[:-1], ends[1:], strict=True)}


def split_of(names: Sequence[str], seed: int, numbers: tuple[int, ...]) -> dict[str, list[str]]:
    """Classes for training, validation and test: as many as are asked for, or else as their folders say, or six of ten.

    Args:
        names: of the classes.
        seed: of the shuffle, where they are in no folders of parts.
        numbers: as in :func:`split_classes`, or empty.

    Raises:
        UserError: there are fewer classes.
    """
    if numbers:
        if len(numbers) != len(PARTS):
            raise UserError(f"--split is {numbers}; it must be three numbers: of training, validation and test.")
        return split_classes(names, seed, (numbers[0], numbers[1], numbers[2]))
    folders = {name.split("/")[0] for name in names}
    if folders <= set(FOLDERS) and {"train", "test"} <= folders:
        parts: dict[str, list[str]] = {part: [] for part in PARTS}
        for name in sorted(names):
            parts[FOLDERS[name.split("/")[0]]].append(name)
        check_apart(parts)
        return parts
    trained = round(TRAINED * len(names))
    return split_classes(names, seed, (trained, 0, len(names) - trained))


def check_apart(parts: Mapping[str, Sequence[str]]) -> None:
    """Refuse folders of parts that have a class in common.

    Raises:
        UserError: names it.
    """
    seen: dict[str, str] = {}
    for name in (name for part in parts.values() for name in part):
        own = name.split("/", 1)[-1]
        if own in seen:
            raise UserError(
                f"{seen[own]} and {name} are one class in two parts; a test needs classes that were not trained on. "
                "Give one of these folders alone, or numbers with --split."
            )
        seen[own] = name


def held_back(images: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The images of every class that stay, and one in :data:`HELD_BACK` that is for validation."""
    kept = {name: own[[i for i in range(len(own)) if i % HELD_BACK]] for name, own in images.items()}
    return kept, {name: own[::HELD_BACK] for name, own in images.items()}


def rotated(images: Mapping[str, UInt8[Tensor, "image obs"]], image: tuple[int, int, int]) -> dict[str, Tensor]:
    """Every class, and as classes of their own its images turned by 90, 180 and 270 degrees (arXiv 1606.04080).

    Args:
        images: class -> its images.
        image: channels, height and width, of a square.
    """
    return {
        name if not turns else f"{name}, turned by {90 * turns}": own.view(-1, *image).rot90(turns, (2, 3)).flatten(1)
        for name, own in images.items()
        for turns in range(4)
    }


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))
