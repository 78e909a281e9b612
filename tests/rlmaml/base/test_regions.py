import time

import pytest

from rlmaml.base.regions import listening, region


def test_seconds_add_up_by_name_and_an_outer_region_counts_its_inner_ones() -> None:
    with listening() as seconds, region("outer"):
        for _ in range(2):
            with region("inner"):
                time.sleep(0.01)
    assert set(seconds) == {"outer", "inner"}
    assert seconds["outer"] >= seconds["inner"] >= 0.02


def test_a_region_that_fails_is_counted_all_the_same() -> None:
    with listening() as seconds, pytest.raises(ValueError, match="inside"), region("failing"):
        raise ValueError("inside")
    assert seconds["failing"] > 0


def test_nobody_need_listen_and_a_listener_hears_only_what_is_inside_it() -> None:
    with region("before"):
        pass
    with listening() as outer:
        with listening() as inner, region("within"):
            pass
        with region("after"):
            pass
    assert set(inner) == {"within"}
    assert set(outer) == {"after"}
