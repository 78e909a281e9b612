from typing import Any

import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.policies.gaussian import GaussianPolicy
from rlmaml.policies.kinds import make_policy
from rlmaml.policies.matrices import filled, multiplied
from rlmaml.policies.perceptron import perceptron
from rlmaml.policies.reduced import ReducedPolicy
from rlmaml.policies.sizes import Sizes
from rlmaml.policies.smaller import (
    carried_rates,
    change_in_words,
    factored_policy,
    numbers_in,
    pruned_policy,
    reducible,
)
from rlmaml.rules.gradient_rule import gradient_rule
from rlmaml.settings.whole import configure
from tests.rlmaml.families.supervised import random_examples
from tests.rlmaml.makers import assert_same, gaussian_policy, random_theta


@pytest.fixture
def policy() -> GaussianPolicy:
    return gaussian_policy(hidden=(8, 6))


def test_a_pruned_policy_has_its_largest_weights_and_all_that_are_no_weights(policy: GaussianPolicy) -> None:
    theta = random_theta(policy)
    smaller, left = pruned_policy(policy, theta, 0.75)
    # a quarter of 8x3, 6x8 and 2x6 weights, 8 + 6 + 2 biases, 2 deviations
    assert numbers_in(left) == 6 + 12 + 3 + 16 + 2
    for name, whole in filled(left, smaller.kept).items():
        gone = whole == 0
        assert torch.equal(whole[~gone], theta[name][~gone])
        if theta[name].dim() == 2:
            assert theta[name][gone].abs().max() <= theta[name][~gone].abs().min()
    assert change_in_words(smaller) == "75 % pruned"


def test_what_was_pruned_stays_so_and_counts(policy: GaussianPolicy) -> None:
    half, left = pruned_policy(policy, random_theta(policy), 0.5)
    most, least = pruned_policy(half, left, 0.75)
    assert {name: len(own.entries) for name, own in most.kept.items()} == {
        "layer0.weight": 6,
        "layer1.weight": 12,
        "layer2.weight": 3,
    }
    for name, own in most.kept.items():
        assert set(own.entries.tolist()) <= set(half.kept[name].entries.tolist())
    for share in (0.5, 0.3, 1e-9):
        with pytest.raises(UserError, match=f"^--prune is {share:g}, which leaves .*: give a larger share"):
            pruned_policy(half, left, share)
    assert numbers_in(least) < numbers_in(left)


def test_a_factored_policy_acts_as_the_nearest_network_of_its_rank(policy: GaussianPolicy) -> None:
    theta = random_theta(policy)
    smaller, factors = factored_policy(policy, theta, 2)
    assert [name for name in factors if name.endswith("left")] == ["layer0.weight.left", "layer1.weight.left"]
    # 2·(8 + 3) and 2·(6 + 8) instead of 8x3 and 6x8; 2x6 stays
    assert numbers_in(factors) == 22 + 28 + 12 + 16 + 2
    again, same = factored_policy(gaussian_policy(hidden=(8, 6), rank=3), factored_policy(policy, theta, 3)[1], 2)
    assert again.settings == smaller.settings
    assert_same(multiplied(same)["layer1.weight"], multiplied(factors)["layer1.weight"])
    observations = torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3)
    expected = perceptron(multiplied(factors), "tanh")(observations)
    assert_same(perceptron(factors, "tanh")(observations), expected)
    assert not torch.allclose(perceptron(theta, "tanh")(observations), expected, atol=1e-2)
    assert change_in_words(smaller) == "rank 2"


@pytest.mark.parametrize("rank", [0, -1, 4, 64])
def test_factors_that_are_not_smaller_than_any_matrix_are_refused(policy: GaussianPolicy, rank: int) -> None:
    with pytest.raises(UserError, match=rf"^--low-rank is {rank}; .* 8x3, 6x8, 2x6: legal is 1 to 3\.$"):
        factored_policy(policy, random_theta(policy), rank)


def test_factors_of_no_lower_rank_and_of_a_pruned_policy_are_refused(policy: GaussianPolicy) -> None:
    smaller, factors = factored_policy(policy, random_theta(policy), 2)
    with pytest.raises(UserError, match=r"factored with rank 2: legal is 1 to 1\.$"):
        factored_policy(smaller, factors, 2)
    pruned, left = pruned_policy(smaller, factors, 0.5)
    assert change_in_words(pruned) == "rank 2, 50 % pruned"
    with pytest.raises(UserError, match=r"^--low-rank factors of a pruned policy"):
        factored_policy(pruned, left, 1)


@pytest.mark.parametrize("per", ["layer", "parameter"])
def test_learned_rates_stay_with_the_weights_that_are_left(policy: GaussianPolicy, per: str) -> None:
    settings = configure("maml-trpo" if per == "layer" else "meta-sgd", inner_steps=2, learn_step_sizes=True)
    theta = random_theta(policy)
    trained = {
        name: torch.randn(rate.shape, dtype=torch.float64)
        for name, rate in gradient_rule(settings.inner, policy).rates(theta).items()
    }
    smaller, left = pruned_policy(policy, theta, 0.5)
    rates = carried_rates(trained, gradient_rule(settings.inner, smaller).rates(left), policy.kept, smaller.kept)
    entries = smaller.kept["layer1.weight"].entries
    expected = trained["layer1.weight"]
    assert torch.equal(rates["layer1.weight"], expected if per == "layer" else expected.flatten(1)[:, entries])
    assert torch.equal(rates["layer1.bias"], trained["layer1.bias"])

    most, least = pruned_policy(smaller, left, 0.75)
    further = carried_rates(rates, gradient_rule(settings.inner, most).rates(least), smaller.kept, most.kept)
    entries = most.kept["layer1.weight"].entries
    assert torch.equal(further["layer1.weight"], expected if per == "layer" else expected.flatten(1)[:, entries])

    of_rank, factors = factored_policy(policy, theta, 2)
    rates = carried_rates(trained, gradient_rule(settings.inner, of_rank).rates(factors), policy.kept, of_rank.kept)
    means = expected if per == "layer" else expected.flatten(1).mean(1).view(2, 1, 1).expand(2, 6, 2)
    assert_same(rates["layer1.weight.left"], means)
    assert rates.keys() == factors.keys()


KINDS: dict[str, tuple[Sizes, dict[str, Any]]] = {
    "categorical": (Sizes(3, 4, discrete=True), {"hidden": (6,)}),
    "conv4": (Sizes(16, 2, discrete=True), {"image": (1, 4, 4), "filters": 3}),
    "embedded": (Sizes(3, 1), {"categories": (9, 4), "flags": 1, "hidden": (6,), "embedding": 4}),
    "gru": (Sizes(3, 2), {"hidden": (6,), "memory": 5}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_of_any_kind_what_is_pruned_is_0_in_what_it_says_whatever_an_inner_step_does(kind: str) -> None:
    sizes, options = KINDS[kind]
    settings = configure("maml-trpo", kind, **options)
    whole = make_policy(kind, settings.network, sizes)
    theta = random_theta(whole)
    smaller, left = pruned_policy(reducible(whole, settings.network, sizes), theta, 0.5)
    assert isinstance(smaller, ReducedPolicy)
    assert change_in_words(smaller).endswith("% pruned")
    read = smaller.whole(left)
    assert list(read) == list(theta)
    for tensor in read.values():
        assert int((tensor == 0).sum()) == (round(0.5 * tensor.numel()) if tensor.dim() >= 2 else 0)
    again = make_policy(kind, smaller.settings, sizes)
    assert isinstance(again, ReducedPolicy)
    assert {n: t.shape for n, t in again.init(0).items()} == {n: t.shape for n, t in left.items()}
    moved = {name: tensor + 1.0 for name, tensor in left.items()}
    assert all(torch.equal(smaller.whole(moved)[name] == 0, tensor == 0) for name, tensor in read.items())


@pytest.mark.parametrize(("kind", "rank"), [("categorical", 1), ("conv4", 1), ("embedded", 2)])
def test_of_any_kind_factors_say_what_their_product_says_and_adapt_in_the_place_of_the_head(
    kind: str, rank: int
) -> None:
    sizes, options = KINDS[kind]
    settings = configure("maml-trpo", kind, **options)
    whole = make_policy(kind, settings.network, sizes)
    smaller, factors = factored_policy(reducible(whole, settings.network, sizes), random_theta(whole), rank)
    examples = random_examples(2, sizes=(sizes.observation, 1))
    if kind == "embedded":
        examples = examples._replace(observations=examples.observations.abs().clamp(max=1.0).round())
    params = {name: tensor.expand(2, *tensor.shape) for name, tensor in factors.items()}
    product = {name: tensor.expand(2, *tensor.shape) for name, tensor in multiplied(factors).items()}
    assert numbers_in(factors) < numbers_in(multiplied(factors))
    said, expected = (
        policy.unroll(own, examples)[0].distribution for policy, own in ((smaller, params), (whole, product))
    )
    assert all(torch.allclose(one, other) for one, other in zip(said, expected, strict=True))
    heads = {name.removesuffix(".left").removesuffix(".right") for name in smaller.head}
    assert heads == set(whole.head)
    assert set(smaller.head) <= set(factors)
