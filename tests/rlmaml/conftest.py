from collections.abc import Iterator

import pytest

from rlmaml.base.threads import torch_threads
from rlmaml.policies.categorical import CategoricalPolicy
from rlmaml.policies.gaussian import GaussianPolicy
from tests.once import filled_once
from tests.rlmaml import two_ranks
from tests.rlmaml.makers import categorical_policy, gaussian_policy
from tests.rlmaml.shapes import shapes_checked


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


@pytest.fixture
def unchecked() -> Iterator[None]:
    """A test that asks for this takes a path on which another test checks the shapes."""
    with shapes_checked(False):
        yield


@pytest.fixture
def gaussian() -> GaussianPolicy:
    return gaussian_policy()


@pytest.fixture
def categorical() -> CategoricalPolicy:
    return categorical_policy(num_actions=4)


@pytest.fixture(scope="session")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> two_ranks.Ranks:
    """What became of two processes, which are started once, whichever worker of pytest needs them first."""
    return two_ranks.read(filled_once(tmp_path_factory, "two_ranks", two_ranks.start))
