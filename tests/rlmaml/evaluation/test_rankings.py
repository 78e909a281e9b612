import itertools
import math

import pytest
import torch
from torch import Tensor

from rlmaml.evaluation.rankings import absolute_error, best_ndcg, best_precision, ndcg


def vector(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


ALL = torch.ones(4) > 0


def test_ndcg_is_that_of_a_ranking_by_hand() -> None:
    # ranked: ratings 2, 5, 3, 1, with gains 3, 31, 7, 1; discounts 1, 1/log2(3), 1/2
    predicted, ratings = vector(0.1, 0.9, 0.5, 0.7), vector(1, 2, 3, 5)
    second = 1 / math.log2(3)
    assert float(ndcg(predicted, ratings, ALL, 1)) == pytest.approx(3 / 31)
    assert float(ndcg(predicted, ratings, ALL, 3)) == pytest.approx(
        (3 + 31 * second + 7 / 2) / (31 + 7 * second + 3 / 2)
    )
    assert float(ndcg(ratings, ratings, ALL, 3)) == pytest.approx(1.0)


def test_of_ratings_that_are_all_0_every_order_is_the_ideal_one() -> None:
    ratings = vector(0, 0, 0, 7)
    for k in (1, 3):
        assert float(ndcg(vector(1, 2, 3, 4), ratings, torch.arange(4) < 3, k)) == 1.0
    assert float(ndcg(vector(1, 2, 3, 0), ratings, ALL, 3)) == 0.0


def test_the_best_two_are_found_by_half_and_rank_by_hand() -> None:
    # ranked: ratings 2, 5, 3, 1; of the best two, 5 and 3, one is among the first two, in the second place
    predicted, ratings = vector(0.1, 0.9, 0.5, 0.7), vector(1, 2, 3, 5)
    second = 1 / math.log2(3)
    assert float(best_precision(predicted, ratings, ALL, 2)) == 0.5
    assert float(best_ndcg(predicted, ratings, ALL, 2)) == pytest.approx(second / (1 + second))


def test_tied_ratings_share_the_last_place_of_the_best() -> None:
    # of the best two, 5 is one and each of the 4s the other one with probability 1/2
    predicted, ratings = vector(4, 3, 2, 1), vector(4, 5, 4, 1)
    second = 1 / math.log2(3)
    assert float(best_precision(predicted, ratings, ALL, 2)) == pytest.approx((0.5 + 1) / 2)
    assert float(best_ndcg(predicted, ratings, ALL, 2)) == pytest.approx((0.5 + second) / (1 + second))


@pytest.mark.parametrize("metric", [ndcg, best_ndcg, best_precision])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_ties_are_the_mean_over_every_way_to_break_them(metric: object, k: int) -> None:
    predicted, ratings = vector(2, 2, 1, 2, 0), vector(3, 5, 5, 1, 3)
    valid = torch.ones(5) > 0

    def ways(scores: Tensor) -> list[Tensor]:
        orders = [torch.tensor(order, dtype=torch.float64) for order in itertools.permutations(range(5))]
        kept = [
            o for o in orders if all((o[i] > o[j]) or not scores[i] > scores[j] for i in range(5) for j in range(5))
        ]
        assert len(kept) in (6, 4)
        return kept

    if metric is ndcg:  # ratings of the same value have the same gain in any order
        every = [metric(one, ratings, valid, k) for one in ways(predicted)]
    else:
        every = [metric(one, other, valid, k) for one in ways(predicted) for other in ways(ratings)]  # type: ignore[operator]
    assert float(metric(predicted, ratings, valid, k)) == pytest.approx(float(torch.stack(every).mean()))  # type: ignore[operator]


def test_a_ranking_that_says_nothing_finds_half_of_the_best_half() -> None:
    ratings = torch.arange(10, dtype=torch.float64)
    nothing, valid = torch.zeros(10, dtype=torch.float64), torch.ones(10) > 0
    assert float(best_precision(nothing, ratings, valid, 5)) == pytest.approx(0.5)
    assert float(best_ndcg(nothing, ratings, valid, 5)) == pytest.approx(0.5)


def test_padding_is_nowhere_in_a_ranking_and_fewer_items_than_places_are_all_found() -> None:
    predicted, ratings = vector(1, 2, 2, 9), vector(3, 4, 4, 5)
    valid = torch.tensor([True, True, False, False])
    for metric in (ndcg, best_ndcg, best_precision):
        own = metric(predicted[:2], ratings[:2], valid[:2], 5)
        assert float(metric(predicted, ratings, valid, 5)) == pytest.approx(float(own))
        assert float(own) == pytest.approx(1.0)
    assert float(absolute_error(predicted, ratings, valid)) == 2.0
