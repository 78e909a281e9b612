from collections.abc import Iterable

import pytest

from rlmaml.algorithms.registry import make_meta_algorithm
from rlmaml.settings.methods.registry import METHODS
from rlmaml.settings.whole import configure
from tests.rlmaml.algorithms.cases import CASES, Case
from tests.rlmaml.algorithms.contract import AlgorithmContract, solved

__all__ = ["solved"]


@pytest.mark.parametrize("name", CASES)
class TestEveryAlgorithm(AlgorithmContract):
    pass


def test_every_method_has_a_case_but_the_one_that_is_never_trained() -> None:
    assert {case.algorithm for case in CASES.values()} == METHODS.keys() - {"random"}


def test_every_meta_algorithm_has_a_large_case() -> None:
    def kinds(cases: Iterable[Case]) -> set[type]:
        return {type(make_meta_algorithm(configure(case.algorithm))) for case in cases}

    assert kinds(case for case in CASES.values() if case.large is not None) == kinds(CASES.values())
