"""Ratings that users gave to items, with what is known of both, as one table whatever file they are from."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rlmaml.base.errors import UserError

AGES = ((18, "under 18"), (25, "18-24"), (35, "25-34"), (45, "35-44"), (50, "45-49"), (56, "50-55"))
"""MovieLens-1M's age groups, each by the age below which it ends."""
OLDEST = "56 and over"


class Described(NamedTuple):
    """Users, or items, by what is known of them."""

    names: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    """Category -> the value of each."""
    flags: tuple[frozenset[str], ...]
    """What holds of each, such as a film's genres."""


class RatingTable(NamedTuple):
    """All ratings, in the order in which they were given."""

    name: str
    users: Described
    items: Described
    who: npt.NDArray[np.int64]
    """The user of each rating, an index."""
    what: npt.NDArray[np.int64]
    """The item of each rating, an index."""
    ratings: npt.NDArray[np.float64]
    lowest: float
    """Lowest rating that can be given."""
    highest: float


class Row(NamedTuple):
    """One rating as it is in a file."""

    place: str
    """File and line."""
    user: str
    item: str
    rating: float
    time: float


def rating_table(
    name: str, users: Described, items: Described, rows: Sequence[Row], lowest: float, highest: float
) -> RatingTable:
    """The table of some rows; of one time, they stay in the order of the file.

    Raises:
        UserError: there are none; a user or an item is described twice, or not known; a rating is none that can be
            given, or not the only one of its user and item; with the line.
    """
    if not rows:
        raise UserError(f"{name} has no ratings.")
    numbers = [{each: index for index, each in enumerate(part.names)} for part in (users, items)]
    for kind, described, known in zip(("user", "item"), (users, items), numbers, strict=True):
        if len(known) < len(described.names):
            twice = next(each for index, each in enumerate(described.names) if known[each] != index)
            raise UserError(f"{name} describes {kind} {twice} twice. Leave one of them out.")
    given: dict[tuple[str, str], str] = {}
    for row in rows:
        for kind, known, part in zip(("user", "item"), numbers, (row.user, row.item), strict=True):
            if part not in known:
                raise UserError(f"{row.place}: {kind} {part} is not among the {kind}s. Add it there, or leave it out.")
        if not lowest <= row.rating <= highest:
            raise UserError(
                f"{row.place}: the rating is {row.rating:g}; it must be from {lowest:g} to {highest:g}. Correct it, or "
                "give the lowest and highest with --rating-range."
            )
        if (earlier := given.setdefault((row.user, row.item), row.place)) != row.place:
            raise UserError(
                f"{row.place}: user {row.user} rated item {row.item} already, in {earlier}. Leave one of them out."
            )
    ordered = sorted(rows, key=lambda row: row.time)
    who, what = (
        np.array([known[part] for part in parts])
        for known, parts in zip(numbers, zip(*((row.user, row.item) for row in ordered), strict=True), strict=True)
    )
    return RatingTable(name, users, items, who, what, np.array([row.rating for row in ordered]), lowest, highest)


def age_group(age: str, place: str) -> str:
    """The group of an age in years, as MovieLens-1M has it.

    Raises:
        UserError: it is no number.
    """
    try:
        years = float(age)
    except ValueError as error:
        raise UserError(f"{place}: the age is {age!r}; it must be a number of years.") from error
    return next((group for end, group in AGES if years < end), OLDEST)


def zip_region(zip_code: str) -> str:
    """The first digit of a zip code: a part of the country."""
    return zip_code[:1]
