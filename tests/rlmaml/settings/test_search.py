from typing import Any

import pytest

from rlmaml.base.errors import UserError
from rlmaml.settings.search import SearchSettings


def test_a_budget_is_spent_by_attempts_of_as_many_episodes_as_are_averaged() -> None:
    assert SearchSettings("cmaes").attempts == 20
    assert SearchSettings("hill-climbing", 50, 5).attempts == 10


def test_every_search_takes_every_named_budget_and_spends_no_more() -> None:
    for kind in ("cmaes", "hill-climbing", "gradient"):
        for episodes, left in ((5, kind == "gradient"), (10, 0), (20, 0), (50, 0)):
            search: Any = SearchSettings(kind, episodes)
            assert search.attempts * search.average == episodes - left


def test_every_kind_of_search_has_episodes_per_attempt_that_it_can_work_with_by_default() -> None:
    for kind, average in {"cmaes": 1, "hill-climbing": 1, "gradient": 2}.items():
        search: Any = SearchSettings(kind)  # type: ignore[arg-type]
        assert (search.average, search.attempts) == (average, 20 // average)
        assert search.as_plain() == {"search": kind, "search_episodes": 20, "search_average": average}
        assert SearchSettings(**search.as_plain()).as_plain() == search.as_plain()
    assert SearchSettings("gradient", 20, 5).average == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search_episodes": 0}, "--search-episodes is 0; it must be a number above 0"),
        ({"search_average": 0}, "--search-average is 0; it must be a number above 0"),
        (
            {"search": "gradient", "search_average": 1},
            "--search-average is 1; it must be 2 or more",
        ),
        (
            {"search_episodes": 2, "search_average": 3},
            "--search-episodes is 2; it must be --search-average, 3, or more",
        ),
        ({"search": None, "search_episodes": 10}, "--search-episodes is 10; it must be left out without --search"),
        ({"search": None, "search_average": 2}, "--search-average is 2; it must be left out without --search"),
    ],
)
def test_an_illegal_search_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SearchSettings(**{"search": "cmaes"} | options)
