import os
from collections.abc import Iterator

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is first imported: waiting threads sleep
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # read when MKL is first called: as in the scripts

import pytest

from rlmaml.base.threads import torch_threads
from rlmaml.policies.categorical import CategoricalPolicy
from rlmaml.policies.gaussian import GaussianPolicy
from tests.rlmaml.makers import categorical_policy, gaussian_policy


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


@pytest.fixture
def gaussian() -> GaussianPolicy:
    return gaussian_policy()


@pytest.fixture
def categorical() -> CategoricalPolicy:
    return categorical_policy(num_actions=4)
