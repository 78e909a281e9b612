import time

import pytest

from rlmaml.base.stopwatch import Stopwatch


def test_parts_add_up_and_nested_parts_count_in_both(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 1.0, 3.0, 7.0, 20.0, 25.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(moments))
    clock = Stopwatch()
    with clock.part("outer"), clock.part("inner"):
        pass
    with clock.part("inner"):
        pass
    assert clock.seconds == {"outer": 7.0, "inner": 2.0 + 5.0}


def test_time_is_counted_when_the_block_fails() -> None:
    clock = Stopwatch()
    with pytest.raises(ZeroDivisionError), clock.part("failing"):
        _ = 1 / 0
    assert clock.seconds["failing"] > 0
