from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import jaxtyping
import pytest

from rlmaml.settings.methods.registry import METHODS

for method in METHODS.values():
    import_module(method.module)  # before any checks are off


@pytest.fixture
def checked() -> None:
    """A test that asks for this runs with shapes checked."""


@pytest.fixture(autouse=True)
def shapes_are_checked_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Checks take longer than these small updates; one test of every case, and all tests of other rooms, have them."""
    if "checked" not in request.fixturenames:
        monkeypatch.setattr(jaxtyping, "jaxtyped", unchanged)  # functions inside functions are decorated anew each time
        jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def unchanged(**_: Any) -> Callable[[Any], Any]:
    """A decorator that does nothing."""
    return lambda function: function
