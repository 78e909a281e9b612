import os
from collections.abc import Iterator

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is first imported: waiting threads sleep

import pytest

from rlmaml.base.threads import torch_threads
from rlmaml.policies.policy import CategoricalMLP, GaussianMLP


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


@pytest.fixture
def gaussian() -> GaussianMLP:
    return GaussianMLP(observation_size=3, action_size=2, hidden=(4,))


@pytest.fixture
def categorical() -> CategoricalMLP:
    return CategoricalMLP(observation_size=3, num_actions=4, hidden=(3,))
