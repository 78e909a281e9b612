import pytest

from rlmaml.base.errors import UserError
from rlmaml.families.ratings import Described, RatingTable, Row, age_group, rating_table, zip_region


def described(*names: str) -> Described:
    return Described(names, {"age": ("18-24",) * len(names)}, (frozenset(),) * len(names))


def table(*rows: tuple[str, str, float, float], users: Described | None = None) -> RatingTable:
    lines = [Row(f"u.data, line {number}", *row) for number, row in enumerate(rows, 1)]
    return rating_table("mine", users or described("a", "b"), described("x", "y"), lines, 1.0, 5.0)


def test_ratings_stand_in_the_order_of_their_times_and_of_one_time_in_that_of_the_file() -> None:
    made = table(("a", "x", 5, 3.0), ("b", "x", 1, 1.0), ("a", "y", 2, 1.0))
    assert (made.who.tolist(), made.what.tolist(), made.ratings.tolist()) == ([1, 0, 0], [0, 1, 0], [1, 2, 5])


@pytest.mark.parametrize(
    ("row", "error"),
    [
        (("c", "x", 3.0, 0.0), "u.data, line 2: user c is not among the users. Add it there, or leave it out."),
        (("a", "z", 3.0, 0.0), "u.data, line 2: item z is not among the items"),
        (("b", "x", 5.5, 0.0), "u.data, line 2: the rating is 5.5; it must be from 1 to 5"),
        (("b", "x", float("nan"), 0.0), "u.data, line 2: the rating is nan"),
        (("a", "x", 3.0, 0.0), "line 2: user a rated item x already, in u.data, line 1. Leave one of them out."),
    ],
)
def test_a_rating_that_cannot_be_is_refused_by_its_line(row: tuple[str, str, float, float], error: str) -> None:
    with pytest.raises(UserError, match=error):
        table(("a", "x", 4.0, 0.0), row)


def test_no_rating_and_a_user_described_twice_are_refused() -> None:
    with pytest.raises(UserError, match="mine has no ratings"):
        table()
    with pytest.raises(UserError, match="mine describes user a twice"):
        table(("a", "x", 4.0, 0.0), users=described("a", "b", "a"))


def test_ages_are_movielens_groups_and_zip_codes_parts_of_the_country() -> None:
    groups = {"7": "under 18", "18": "18-24", "24": "18-24", "45": "45-49", "55": "50-55", "56": "56 and over"}
    assert {age: age_group(age, "u.user, line 1") for age in groups} == groups
    assert (zip_region("94043"), zip_region("")) == ("9", "")
    with pytest.raises(UserError, match=r"u.user, line 1: the age is 'old'; it must be a number of years"):
        age_group("old", "u.user, line 1")
