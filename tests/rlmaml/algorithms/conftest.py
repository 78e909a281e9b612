from collections.abc import Iterator

import jaxtyping
import pytest


@pytest.fixture
def checked() -> None:
    """A test that asks for this runs with shapes checked."""


@pytest.fixture(autouse=True)
def shapes_are_checked_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """Checks take longer than these small updates; one test of every case, and all tests of other rooms, have them."""
    jaxtyping.config.update("jaxtyping_disable", "checked" not in request.fixturenames)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
