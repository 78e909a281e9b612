import math

import pytest
import torch

from rlmaml.core.parameters import unflatten, with_task_axis
from rlmaml.core.types import Batch
from rlmaml.policies.gaussian import MIN_STD, GaussianPolicy
from rlmaml.policies.perceptron import perceptron
from tests.rlmaml.makers import (
    assert_same,
    gaussian_policy,
    of_task,
    random_batch,
    random_task_params,
    random_theta,
    vector,
)


@pytest.fixture
def batch(gaussian: GaussianPolicy) -> Batch:
    return random_batch(gaussian, random_theta(gaussian), num_tasks=3)


def test_the_mean_is_a_perceptron_and_the_deviation_the_same_everywhere(gaussian: GaussianPolicy, batch: Batch) -> None:
    params = random_task_params(gaussian, 3)
    distribution = gaussian.unroll(params, batch)[0].distribution
    for task in range(3):
        alone = of_task(params, task)
        assert_same(distribution.mean[task], perceptron(alone, "tanh")(batch.observations[task]))
        assert_same(distribution.log_std[task], alone["log_std"].expand_as(distribution.mean[task]))


def test_observations_are_divided_by_their_scales(batch: Batch) -> None:
    plain, scaled = gaussian_policy(), gaussian_policy(observation_scales=(0.5, 4.0, 2.0))
    theta = random_theta(plain)
    divided = batch._replace(observations=batch.observations / torch.tensor([0.5, 4.0, 2.0]))
    expected = plain.unroll(theta, divided)[0].distribution.mean
    assert_same(scaled.unroll(theta, batch)[0].distribution.mean, expected)
    assert_same(scaled.unroll(with_task_axis(theta, 3), batch)[0].distribution.mean, expected)
    assert not torch.allclose(plain.unroll(theta, batch)[0].distribution.mean, expected, atol=0.1)
    assert scaled.describe()["observations_divided_by"] == [0.5, 4.0, 2.0]
    assert plain.describe()["observations_divided_by"] == 1.0


@pytest.mark.parametrize("has_task_axis", [False, True])
def test_the_standard_deviation_has_a_floor(gaussian: GaussianPolicy, batch: Batch, has_task_axis: bool) -> None:
    theta = random_theta(gaussian) | {"log_std": torch.tensor([-50.0, -1.0], dtype=torch.float64)}
    given = with_task_axis(theta, 3) if has_task_axis else theta
    log_std = gaussian.unroll(given, batch)[0].distribution.log_std
    assert_same(log_std[2, 0, 0], torch.tensor([math.log(MIN_STD), -1.0], dtype=torch.float64))


def test_the_initial_deviation_is_that_of_the_settings() -> None:
    policy = gaussian_policy(action_size=6, initial_std=0.5)
    theta = policy.init(0)
    assert torch.equal(theta["log_std"], torch.full((6,), math.log(0.5)))
    assert policy.numbers(theta) == {"std": pytest.approx(0.5)}
    assert policy.numbers(theta | {"log_std": torch.tensor([0.0, math.log(3.0)])}) == {"std": pytest.approx(2.0)}


def test_the_first_policy_acts_nearly_alike_everywhere() -> None:
    policy = gaussian_policy(hidden=(64, 64))
    batch = random_batch(policy, random_theta(policy), num_tasks=3)
    means = policy.unroll({n: t.double() for n, t in policy.init(0).items()}, batch)[0].distribution.mean
    assert 0 < means.abs().max() < 0.1


def test_unflattened_parameters_act_alike(gaussian: GaussianPolicy, batch: Batch) -> None:
    theta = random_theta(gaussian)
    back = unflatten(vector(theta), theta)
    one, other = (gaussian.unroll(params, batch)[0].distribution for params in (theta, back))
    assert torch.equal(one.mean, other.mean)
