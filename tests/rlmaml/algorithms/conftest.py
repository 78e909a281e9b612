from collections.abc import Iterator
from importlib import import_module

import pytest

from rlmaml.settings.methods.registry import METHODS
from tests.rlmaml.shapes import shapes_checked

for method in METHODS.values():
    import_module(method.module)  # before any checks are off


@pytest.fixture
def checked() -> None:
    """A test that asks for this runs with shapes checked."""


@pytest.fixture(autouse=True)
def shapes_are_checked_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """One test of every case has its shapes checked."""
    with shapes_checked("checked" in request.fixturenames):
        yield
