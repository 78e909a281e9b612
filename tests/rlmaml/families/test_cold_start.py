from dataclasses import replace

import numpy as np
import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.core.distributions import Gaussian
from rlmaml.core.types import Outputs
from rlmaml.families.cold_start import Division, Parts, Person, divided_ratings, vocabulary_of
from rlmaml.families.made_ratings import made_ratings
from rlmaml.families.ratings import Described, RatingTable
from rlmaml.sampling.examples import ListedFamily, check_examples

TABLE = made_ratings(60, 50, seed=1)
DIVISION = Division(new_items=0.3, queries=4, least=9)


@pytest.fixture(scope="module")
def parts() -> Parts:
    return divided_ratings(TABLE, DIVISION)


def small_table() -> RatingTable:
    """Two users and three items; the last item is rated by the second user alone."""
    users = Described(("a", "b"), {"gender": ("M", "F")}, (frozenset(), frozenset()))
    items = Described(
        ("x", "y", "z"), {"year": ("1995", "1994", "1993")}, (frozenset("c"), frozenset(), frozenset("d"))
    )
    who, what = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2])
    return RatingTable("small", users, items, who, what, np.array([5.0, 1.0, 2.0, 3.0]), 1.0, 5.0)


def test_no_user_and_no_new_item_is_in_two_parts(parts: Parts) -> None:
    users = [set(names) for part, names in parts.split.items() if part != "new items"]
    assert [len(names) for names in users] == [48, 6, 6]
    assert len(set.union(*users)) == 60
    is_new = {TABLE.items.names.index(name) for name in parts.split["new items"]}
    assert len(is_new) == 15

    def of(people: tuple[Person, ...], field: str) -> list[np.ndarray]:
        return [own for own in (getattr(person, field) for person in people) if own is not None]

    for family in (parts.train, parts.validation, *parts.scenarios.values()):
        for known in of(family.people, "known"):
            assert not is_new & set(TABLE.what[known].tolist())
            assert len(set(TABLE.who[known].tolist())) == 1
    for name, family in parts.scenarios.items():
        for asked in of(family.people, "asked"):
            assert (set(TABLE.what[asked].tolist()) <= is_new) == name.endswith("new items")
            assert len(asked) <= 4
    seen = {int(row) for known in of(parts.train.people, "known") for row in known}
    for family in parts.scenarios.values():
        assert not seen & {int(row) for asked in of(family.people, "asked") for row in asked}


def test_existing_users_are_of_the_training_and_new_ones_are_not(parts: Parts) -> None:
    assert set(parts.scenarios) == {
        f"{users} users, {items} items" for users in ("new", "existing") for items in ("new", "existing")
    }
    trained = set(parts.split["train"])
    for name, family in parts.scenarios.items():
        users = {TABLE.users.names[TABLE.who[person.known[0]]] for person in family.people}
        assert users <= trained if name.startswith("existing") else not users & trained


def test_a_support_and_a_query_set_are_ratings_of_one_user_and_share_none(parts: Parts) -> None:
    family = parts.train
    assert isinstance(family, ListedFamily)
    tasks = family.sample_tasks(7, range(7))
    support, query = family.sets(tasks, range(7))
    for examples in (support, query):
        check_examples(examples, 7, family.sizes, "it")
    assert query.valid.sum(-1).tolist() == [4] * 7
    for row, task in enumerate(tasks["index"]):
        known = family.people[task].known
        given, asked = family._divided(family.people[task], row)
        assert sorted([*given, *asked]) == sorted(known)
        shown = family.in_stars(support.targets[row, support.valid[row], 0])
        np.testing.assert_allclose(shown, TABLE.ratings[given], atol=1e-4)
    assert len({tuple(family._divided(family.people[0], seed)[1]) for seed in range(9)}) > 5
    again = family.sets({"index": tasks["index"][3:4]}, [3])
    assert torch.equal(again.query.targets[0], query.targets[3])


def test_the_last_ratings_are_asked_for_where_that_is_said(parts: Parts) -> None:
    family = parts.scenarios["new users, existing items"]
    assert family.which == "last"
    for seed in (0, 1):
        _, query = family.sets(family.every_task(), [seed] * len(family.people))
        for own, person in zip(family.in_stars(query.targets[..., 0]), family.people, strict=True):
            np.testing.assert_allclose(own, TABLE.ratings[person.known[-4:]], atol=1e-4)


def test_what_the_training_has_not_seen_is_the_number_0() -> None:
    table = small_table()
    vocabulary = vocabulary_of(table, np.array([0, 1]))
    assert vocabulary.categories == ({"M": 1}, {"1994": 1, "1995": 2}, {})
    assert vocabulary.flags == ("c",)
    assert vocabulary.counts == (2, 3, 1)
    often = replace_ratings(table, 6)
    assert vocabulary_of(often, np.arange(6)).categories[-1] == {"y": 1}


def replace_ratings(table: RatingTable, count: int) -> RatingTable:
    """The same with ratings of its second item alone."""
    return table._replace(who=np.zeros(count, int), what=np.ones(count, int), ratings=np.ones(count))


def test_ratings_are_normalised_by_those_of_the_training_and_errors_are_in_stars(parts: Parts) -> None:
    family = parts.train
    rows = np.concatenate([person.known for person in family.people])
    mean, deviation, lowest, highest = family.scale
    assert (mean, deviation) == pytest.approx((TABLE.ratings[rows].mean(), TABLE.ratings[rows].std()))
    support, _ = family.sets({"index": np.array([0])}, [0])
    data = type(support)(*(field[0] for field in support))
    away = data.targets + 0.5 / deviation
    expected = [
        abs(min(rating + 0.5, highest) - rating) for rating in TABLE.ratings[family._divided(family.people[0], 0)[0]]
    ]
    said = Outputs(Gaussian(away, torch.zeros_like(away)))
    assert float(family.score(said, data)) == pytest.approx(np.mean(expected), abs=1e-4)
    assert float(family.loss(said, data)) == pytest.approx((0.5 / deviation) ** 2, abs=1e-4)
    assert lowest == 1.0


def test_other_ratings_or_users_are_another_variant(parts: Parts) -> None:
    other = replace(parts.train, people=parts.train.people[1:])
    changed = replace(parts.train, ratings=parts.train.ratings + 1)
    assert len({family.variant for family in (parts.train, other, changed)}) == 3


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"shares": (1.0, 0.0, 1.0)}, r"--split is \(1.0, 0.0, 1.0\); it must be three numbers above 0"),
        ({"new_items": 1.0}, "--new-items is 1.0; it must be from 0 to below 1"),
        ({"least": 10, "queries": 10}, "--ratings-per-user is 10 to 100; it must begin above --queries, which is 10"),
        ({"least": 50, "most": 20}, "--ratings-per-user is 50 to 20"),
    ],
)
def test_a_division_that_cannot_be_is_refused(wrong: dict[str, object], error: str) -> None:
    with pytest.raises(UserError, match=error):
        Division(**wrong)  # type: ignore[arg-type]


def test_a_part_without_users_and_a_user_without_a_rating_to_adapt_on_are_refused(parts: Parts) -> None:
    with pytest.raises(UserError, match=r"There is no user for it"):
        replace(parts.train, name="it", people=())
    with pytest.raises(UserError, match="A user of it has 4 ratings; with 4 --queries there must be one more"):
        replace(parts.train, name="it", people=(Person(np.arange(4)),))
    with pytest.raises(UserError, match="made has no user to train on"):
        divided_ratings(TABLE, Division(least=99, most=100))
