"""What all fuzzing shares: how many cases, how long one may take, damaged contents, values of any kind."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

CASES = int(os.environ.get("FUZZ_CASES", "10000"))
"""Of all kinds together, in process."""
SHARES = {
    "configurations": 0.25,
    "task words": 0.2,
    "recordings": 0.15,
    "checkpoints": 0.15,
    "JSON files": 0.15,
    "reset options": 0.05,
    "command lines": 0.04,
    "MJCF": 0.01,
}
COMMANDS = int(os.environ.get("FUZZ_COMMANDS", "200"))
"""Command lines in processes of their own."""
LONGEST = 120
"""Seconds after which a case hangs."""

Test = TypeVar("Test", bound=Callable[..., None])


def fuzzed(count: int) -> Callable[[Test], Test]:
    """So many cases of a test, the same ones each time."""
    ignored = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(
        max_examples=max(count, 1),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[*ignored, HealthCheck.data_too_large],
    )


def share(what: str) -> int:
    """How many of the cases are of a kind."""
    return round(CASES * SHARES[what])


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """What hangs in this block fails."""

    def fail(number: int, frame: FrameType | None) -> NoReturn:
        raise TimeoutError(f"It took more than {LONGEST} s.")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


SCALARS: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, -1, 2, 10**6, 2**31, 2**63, 2**64, 10**400, 1e-320, 1e308, -0.0])
    | st.floats()
    | st.text(max_size=8)
)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    SCALARS | st.binary(max_size=4) | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
PLAIN: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A content with bits flipped, bytes replaced, inserted or left out, or its end cut off."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(len(changed) - 1, 0)))
        how = draw(st.sampled_from(["flip", "replace", "insert", "leave out", "cut"]))
        if how == "cut":
            del changed[place:]
        elif how == "insert":
            changed[place:place] = draw(st.binary(min_size=1, max_size=9))
        elif how == "leave out":
            del changed[place : place + draw(st.integers(1, 9))]
        elif place < len(changed):
            changed[place] ^= 1 << draw(st.integers(0, 7)) if how == "flip" else draw(st.integers(1, 255))
    return bytes(changed)


@st.composite
def altered(draw: st.DrawFn, plain: Any) -> Any:
    """Plain data in which one value, at any depth, is another one, or is gone."""
    if isinstance(plain, dict) and plain and draw(st.integers(0, 9)):
        name = draw(st.sampled_from(sorted(plain)))
        if not draw(st.integers(0, 9)):
            return {other: value for other, value in plain.items() if other != name}
        return {**plain, name: draw(altered(plain[name]))}
    if isinstance(plain, list) and plain and draw(st.integers(0, 3)):
        place = draw(st.integers(0, len(plain) - 1))
        return [*plain[:place], draw(altered(plain[place])), *plain[place + 1 :]]
    return draw(PLAIN)
