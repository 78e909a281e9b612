import torch

from rlmaml.core.distributions import Categorical
from rlmaml.policies.categorical import CategoricalPolicy
from rlmaml.policies.perceptron import perceptron
from tests.rlmaml.makers import assert_same, random_batch, random_theta


def test_the_logits_are_a_perceptron(categorical: CategoricalPolicy) -> None:
    theta = random_theta(categorical)
    batch = random_batch(categorical, theta, num_tasks=2)
    distribution = categorical.unroll(theta, batch)[0].distribution
    assert isinstance(distribution, Categorical)
    assert_same(distribution.logits, perceptron(theta, "tanh")(batch.observations))
    assert set(batch.actions.flatten().tolist()) == {0, 1, 2, 3}


def test_nothing_says_only_how_much_actions_vary(categorical: CategoricalPolicy) -> None:
    assert categorical.exploration == ()
    assert categorical.numbers(categorical.init(0)) == {}
    assert all(torch.is_tensor(tensor) for tensor in categorical.init(0).values())
