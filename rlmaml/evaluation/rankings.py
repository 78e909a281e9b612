"""How good predicted ratings are, as numbers and as the order in which one user's items are recommended.

Ties, of predictions and of ratings, are broken in every way alike: what is given back is the mean over all of them, so
that it depends on no order of the items (McSherry and Najork, ECIR 2008). With ``c`` items strictly before an item and
``t`` items at its place, itself among them, its rank is each of ``c + 1, …, c + t`` with probability 1/t.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def absolute_error(
    predicted: Float[Tensor, " item"], ratings: Float[Tensor, " item"], valid: Bool[Tensor, " item"]
) -> Float[Tensor, ""]:
    """``mean |predicted − rating|``, in units of a rating."""
    return ((predicted - ratings).abs() * valid).sum() / valid.sum().clamp(min=1)


def ndcg(
    predicted: Float[Tensor, " item"], ratings: Float[Tensor, " item"], valid: Bool[Tensor, " item"], k: int
) -> Float[Tensor, ""]:
    """``DCG@k / ideal DCG@k`` with the gain ``2^rating − 1`` and the discount ``1 / log₂(rank + 1)``.

    Of items without any gain, whose ratings are all 0, every order is the ideal one: it is 1.
    """
    gains = torch.exp2(ratings) - 1
    found, ideal = (discounted(gains, scores, valid, k) for scores in (predicted, ratings))
    return torch.where(ideal > 0, found / ideal.where(ideal > 0, 1.0), 1.0)


def best_ndcg(
    predicted: Float[Tensor, " item"], ratings: Float[Tensor, " item"], valid: Bool[Tensor, " item"], k: int
) -> Float[Tensor, ""]:
    """The same with the gain of 1 for the ``k`` items of the highest ratings, and 0 for others."""
    found = discounted(among_first(ratings, valid, k), predicted, valid, k)
    return found / discount_sums(k, predicted)[valid.sum().clamp(max=k)]


def best_precision(
    predicted: Float[Tensor, " item"], ratings: Float[Tensor, " item"], valid: Bool[Tensor, " item"], k: int
) -> Float[Tensor, ""]:
    """The share of the first ``k`` recommended items that are among the ``k`` of the highest ratings."""
    both = among_first(predicted, valid, k) * among_first(ratings, valid, k)
    return both.sum() / valid.sum().clamp(1, k)


def discounted(
    gains: Float[Tensor, " item"], scores: Float[Tensor, " item"], valid: Bool[Tensor, " item"], k: int
) -> Float[Tensor, ""]:
    """``Σ gain / log₂(rank + 1)`` over the first ``k`` items in the order of falling scores."""
    sums = discount_sums(k, scores)
    before, tied = places(scores, valid)
    mean = (sums[(before + tied).clamp(max=k)] - sums[before.clamp(max=k)]) / tied.clamp(min=1)
    return (gains * mean * valid).sum()


def discount_sums(k: int, like: Tensor) -> Float[Tensor, " place"]:
    """``Σ 1 / log₂(rank + 1)`` over the first 0, 1, … k ranks."""
    ranks = torch.arange(1, k + 1, dtype=like.dtype, device=like.device)
    return torch.cat([ranks.new_zeros(1), (1 / torch.log2(ranks + 1)).cumsum(0)])


def among_first(scores: Float[Tensor, " item"], valid: Bool[Tensor, " item"], k: int) -> Float[Tensor, " item"]:
    """The probability of every item to be one of the first ``k`` in the order of falling scores."""
    before, tied = places(scores, valid)
    return (k - before).clamp(min=0).minimum(tied) / tied.clamp(min=1) * valid


def places(scores: Float[Tensor, " item"], valid: Bool[Tensor, " item"]) -> tuple[Tensor, Tensor]:
    """For every item how many valid ones score more, and how many as much, itself among them."""
    higher = (scores.unsqueeze(0) > scores.unsqueeze(1)) & valid
    equal = (scores.unsqueeze(0) == scores.unsqueeze(1)) & valid
    return higher.sum(1), equal.sum(1)
