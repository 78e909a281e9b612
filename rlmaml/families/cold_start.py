"""Cold start of a recommender: to predict what a user will rate from a few ratings of his (MeLU, arXiv 1908.00413).

A task is a user. From his own features and an item's the model predicts the rating; it adapts to the ratings of his
support set, and is judged on those of his query set. No user is in two parts of a split. An item is described by its
number, where there are enough ratings of it in the training, and by its features, which new items have as well. Ratings
are normalised by their mean and deviation in the training.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.core.losses import squared_error
from rlmaml.core.types import Examples, Outputs, Tasks
from rlmaml.families.ratings import Described, RatingTable
from rlmaml.policies.sizes import Sizes
from rlmaml.sampling.examples import Sets, drawn_by_index

LEAST_RATINGS = 5
"""Of an item in the training, from which it is known by its number."""
Indices = npt.NDArray[np.int64]
Which = Literal["last", "random"]


class Vocabulary(NamedTuple):
    """What the training has seen: the number of each value, from 1 on; 0 stands for all others."""

    categories: tuple[Mapping[str, int], ...]
    """Of the user's categories, then the item's, then the items by name."""
    flags: tuple[str, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Numbers of each category."""
        return tuple(len(known) + 1 for known in self.categories)


class Person(NamedTuple):
    """A user's ratings, by their index in the table."""

    known: Indices
    """What may be adapted on, in the order in which it was given."""
    asked: Indices | None = None
    """What he is judged by; None for some of the others."""


def vocabulary_of(table: RatingTable, trained: Indices) -> Vocabulary:
    """What is seen in the ratings of a training."""
    counts = np.bincount(table.what[trained], minlength=len(table.items.names))
    seen: list[Mapping[str, int]] = []
    for part, rows in ((table.users, np.unique(table.who[trained])), (table.items, np.flatnonzero(counts))):
        seen += [
            {each: number for number, each in enumerate(sorted({values[row] for row in rows}), 1)}
            for values in part.categories.values()
        ]
    often = np.flatnonzero(counts >= LEAST_RATINGS)
    seen.append({table.items.names[row]: number for number, row in enumerate(often, 1)})
    flags = {each for row in np.flatnonzero(counts) for each in table.items.flags[row]}
    return Vocabulary(tuple(seen), tuple(sorted(flags)))


def described_ratings(table: RatingTable, vocabulary: Vocabulary) -> Float[Tensor, "rating obs"]:
    """What the model reads of every rating: the numbers of its categories, and its item's flags."""

    def numbers(part: Described, known: Sequence[Mapping[str, int]]) -> npt.NDArray[np.float32]:
        columns = [*part.categories.values()]
        rows = [
            [own.get(values[row], 0) for own, values in zip(known, columns, strict=True)]
            for row in range(len(part.names))
        ]
        return np.array(rows, np.float32).reshape(len(part.names), len(columns))

    of_users = len(table.users.categories)
    users = numbers(table.users, vocabulary.categories[:of_users])
    items = numbers(table.items, vocabulary.categories[of_users:-1])
    names = np.array([[vocabulary.categories[-1].get(name, 0)] for name in table.items.names], np.float32)
    flags = np.array([[flag in own for flag in vocabulary.flags] for own in table.items.flags], np.float32)
    flags = flags.reshape(len(table.items.names), len(vocabulary.flags))
    return torch.from_numpy(np.hstack([users[table.who], *(part[table.what] for part in (items, names, flags))]))


@dataclass(frozen=True)
class ColdStart:
    """A family of users.

    Attributes:
        name: whose ratings they are.
        observations: what the model reads of every rating of the table.
        ratings: of every one, in the table's units.
        scale: mean and deviation of the training's ratings, lowest and highest one.
        people: the users.
        queries: ratings of a query set, where these are not fixed.
        which: whether these are the user's last ones, or drawn.

    Raises:
        UserError: a number is too small, or there is no user.
    """

    name: str
    observations: Float[Tensor, "rating obs"]
    ratings: Float[Tensor, " rating"]
    scale: tuple[float, float, float, float]
    people: tuple[Person, ...]
    queries: int = 10
    which: Which = "random"

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.queries < 1:
            raise UserError(f"--queries is {self.queries}; it must be at least 1.")
        if not self.people:
            raise UserError(
                f"There is no user for {self.name}. Take other --split or --ratings-per-user, or fewer --new-items."
            )
        for person in self.people:
            if len(person.known) <= (self.queries if person.asked is None else 0):
                raise UserError(
                    f"A user of {self.name} has {len(person.known)} ratings; with {self.queries} --queries there must "
                    "be one more to adapt on. Take fewer --queries, or more ratings with --ratings-per-user."
                )

    @property
    def variant(self) -> str:
        """Whose ratings, with a checksum over them, and how many."""
        return f"{self.name}, {len(self.people)} users {self._checksum}, {self.which} {self.queries} queries"

    @cached_property
    def _checksum(self) -> str:
        found = hashlib.sha256(self.ratings.numpy().tobytes() + self.observations.numpy().tobytes())
        for person in self.people:
            for part in person:
                found.update(b"-" if part is None else part.tobytes())
        return found.hexdigest()[:8]

    @property
    def sizes(self) -> Sizes:
        """From what is known of user and item to a rating."""
        return Sizes(self.observations.shape[-1], 1)

    @property
    def sheet(self) -> dict[str, Any]:
        """What is recorded in checkpoints: the scale of the ratings."""
        scale = dict(zip(("mean", "deviation", "lowest", "highest"), self.scale, strict=True))
        return {"family": "cold start", "variant": self.variant, "scale": scale}

    @property
    def origin(self) -> str:
        """Whose ratings they are."""
        return self.name

    def sample_tasks(self, num_tasks: int, seeds: Sequence[int]) -> Tasks:
        """Users by their index, each as likely."""
        return drawn_by_index(len(self.people), seeds[:num_tasks])

    def every_task(self) -> Tasks:
        """All users."""
        return {"index": np.arange(len(self.people))}

    def sets(self, tasks: Tasks, seeds: Sequence[int]) -> Sets:
        """The ratings that a user has given, and those that he is asked for."""
        divided = [self._divided(self.people[task], seed) for task, seed in zip(tasks["index"], seeds, strict=True)]
        return Sets(*(self.examples(chosen) for chosen in zip(*divided, strict=True)))

    def _divided(self, person: Person, seed: int) -> tuple[Indices, Indices]:
        if person.asked is not None:
            return person.known, person.asked
        order = person.known
        if self.which == "random":
            order = np.random.Generator(np.random.PCG64(seed)).permutation(order)
        return order[: -self.queries], order[-self.queries :]

    def examples(self, chosen: Sequence[Indices]) -> Examples:
        """Ratings of every user as examples; users with fewer have padding."""
        most = max(map(len, chosen))
        valid = torch.tensor([[index < len(own) for index in range(most)] for own in chosen])
        index = torch.from_numpy(np.stack([np.resize(own, most) for own in chosen]))
        mean, deviation, *_ = self.scale
        observations = self.observations[index]
        targets = ((self.ratings[index] - mean) / deviation).unsqueeze(-1)
        return Examples(observations, targets, valid, observations[:, :0])

    def in_stars(self, normalised: Tensor) -> Tensor:
        """Ratings in the table's units, within its range."""
        mean, deviation, lowest, highest = self.scale
        return (normalised * deviation + mean).clamp(lowest, highest)

    def loss(self, outputs: Outputs, data: Examples) -> Float[Tensor, ""]:
        """Mean squared error of the normalised rating."""
        return squared_error(outputs, data)

    def score(self, outputs: Outputs, data: Examples) -> Float[Tensor, ""]:
        """Mean absolute error, in units of a rating."""
        errors = (self.in_stars(outputs.distribution.mean) - self.in_stars(data.targets)).abs().squeeze(-1)
        return (errors * data.valid).sum() / data.valid.sum().clamp(min=1)


class Parts(NamedTuple):
    """Families of one table of ratings, whose users differ."""

    train: ColdStart
    validation: ColdStart
    scenarios: Mapping[str, ColdStart]
    """Those of the test, by who rates what; the first is that of new users and existing items."""
    split: Mapping[str, Sequence[str]]
    """Part -> its users, and the items that the training never sees."""
    vocabulary: Vocabulary


@dataclass(frozen=True)
class Division:
    """How users and items are divided.

    Attributes:
        shares: of users for training, validation and test.
        new_items: share of the items that the training never sees.
        least: fewest ratings of a user who takes part.
        most: and his most ones.
        queries: ratings of a query set.
        which: which of a user's ratings these are in the test.
        seed: of who and what is where.
    """

    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    new_items: float = 0.0
    least: int = 13
    most: int = 100
    queries: int = 10
    which: Which = "last"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: names the option, what was received and what is legal.
        """
        if min(self.shares) <= 0:
            raise UserError(f"--split is {self.shares}; it must be three numbers above 0.")
        if not 0 <= self.new_items < 1:
            raise UserError(f"--new-items is {self.new_items}; it must be from 0 to below 1.")
        if not self.queries < self.least <= self.most:
            raise UserError(
                f"--ratings-per-user is {self.least} to {self.most}; it must begin above --queries, which is "
                f"{self.queries}, and not end before that."
            )


def divided_ratings(table: RatingTable, division: Division) -> Parts:
    """Users for training, validation and test, and, with new items, four scenarios of the test.

    Existing users are as many of the training's as the test has, whose last ratings are never trained on.

    Raises:
        UserError: a part has no users; see :class:`ColdStart`.
    """
    generator = np.random.Generator(np.random.PCG64(division.seed))
    counts = np.bincount(table.who, minlength=len(table.users.names))
    eligible = generator.permutation(np.flatnonzero((counts >= division.least) & (counts <= division.most)))
    ends = np.rint(np.cumsum(division.shares) / sum(division.shares) * len(eligible)).astype(int)
    train, validation, test = (part.tolist() for part in np.split(eligible, ends[:2]))
    is_new = np.zeros(len(table.items.names), bool)
    is_new[generator.permutation(len(is_new))[: round(division.new_items * len(is_new))]] = True

    queries = division.queries
    of_user = {user: np.flatnonzero(table.who == user) for user in eligible.tolist()}
    old = {user: own[~is_new[table.what[own]]] for user, own in of_user.items()}
    new = {user: own[is_new[table.what[own]]] for user, own in of_user.items()}

    def enough(users: Sequence[int], *, times: int) -> list[int]:
        return [user for user in users if len(old[user]) > times * queries]

    kept = enough(train, times=2)[: len(test)] if division.new_items else []
    trained = {user: old[user][:-queries] if user in kept else old[user] for user in enough(train, times=1)}
    rows = np.concatenate([np.zeros(0, np.int64), *trained.values()])
    if not len(rows):
        raise UserError(f"{table.name} has no user to train on. Take other --ratings-per-user or fewer --queries.")
    vocabulary = vocabulary_of(table, rows)
    deviation = float(table.ratings[rows].std()) or 1.0
    scale = (float(table.ratings[rows].mean()), deviation, table.lowest, table.highest)
    observations = described_ratings(table, vocabulary)
    ratings = torch.from_numpy(table.ratings).float()

    def family(name: str, people: Sequence[Person], which: Which) -> ColdStart:
        return ColdStart(f"{table.name} ({name})", observations, ratings, scale, tuple(people), queries, which)

    def on_new(users: Sequence[int], known: Mapping[int, Indices]) -> list[Person]:
        return [Person(known[user], new[user][-queries:]) for user in users if len(new[user]) >= queries // 2]

    scenarios = {
        "new users, existing items": family(
            "new users, existing items", [Person(old[user]) for user in enough(test, times=1)], division.which
        )
    }
    if division.new_items:
        existing = [Person(trained[user], old[user][-queries:]) for user in kept]
        people = {
            "new users, new items": on_new(enough(test, times=0), old),
            "existing users, existing items": existing,
            "existing users, new items": on_new(kept, trained),
        }
        scenarios |= {name: family(name, own, division.which) for name, own in people.items()}
    names = {"train": trained, "validation": enough(validation, times=1), "test": enough(test, times=0)}
    split = {part: sorted(table.users.names[user] for user in users) for part, users in names.items()}
    split["new items"] = sorted(np.array(table.items.names, object)[is_new])
    return Parts(
        family("train", [Person(own) for own in trained.values()], "random"),
        family("validation", [Person(old[user]) for user in enough(validation, times=1)], division.which),
        scenarios,
        split,
        vocabulary,
    )
