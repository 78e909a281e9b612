import pytest

from rlmaml.settings.methods import METHODS
from tests.rlmaml.algorithms.cases import CASES
from tests.rlmaml.algorithms.contract import AlgorithmContract, solved

__all__ = ["solved"]


@pytest.mark.parametrize("name", CASES)
class TestEveryAlgorithm(AlgorithmContract):
    pass


def test_every_method_has_a_case() -> None:
    assert {case.algorithm for case in CASES.values()} == METHODS.keys()
    assert {case.algorithm for case in CASES.values() if case.large is not None} == METHODS.keys()
