"""Whether shapes are checked. Checks take longer than the small updates of tests: each path is checked once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jaxtyping
import pytest

jaxtyped = jaxtyping.jaxtyped


@contextmanager
def shapes_checked(checked: bool) -> Iterator[None]:
    """Shapes are checked inside, or not; afterwards as they were before."""
    before = jaxtyping.config.jaxtyping_disable
    with pytest.MonkeyPatch.context() as patch:  # functions inside functions are decorated anew each time
        patch.setattr(jaxtyping, "jaxtyped", jaxtyped if checked else unchanged)
        jaxtyping.config.update("jaxtyping_disable", not checked)
        try:
            yield
        finally:
            jaxtyping.config.update("jaxtyping_disable", before)


def unchanged(**_: Any) -> Callable[[Any], Any]:
    """A decorator that does nothing."""
    return lambda function: function
