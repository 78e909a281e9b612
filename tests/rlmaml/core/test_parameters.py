import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlmaml.core.parameters import (
    detach,
    flatten,
    learned_step_sizes,
    policy_parameters,
    sum_over_tasks,
    unflatten,
    with_step_sizes,
    with_task_axis,
)
from rlmaml.core.types import Params
from rlmaml.policies.policy import GaussianMLP
from tests.rlmaml.makers import assert_same, random_theta

SHAPES = st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=5)


@settings(deadline=None)
@given(SHAPES)
def test_unflatten_inverts_flatten(shapes: list[tuple[int, ...]]) -> None:
    params = {f"entry{i}": torch.randn(shape) for i, shape in enumerate(shapes)}
    vector = flatten(params.values())
    assert vector.shape == (sum(math.prod(shape) for shape in shapes),)
    back = unflatten(vector, params)
    assert list(back) == list(params)
    assert all(torch.equal(back[name], params[name]) for name in params)


def test_flatten_keeps_the_order_of_the_entries() -> None:
    params = {"b": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "a": torch.tensor(5.0)}
    assert flatten(params.values()).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_the_task_axis_repeats_theta_in_fresh_leaves(gaussian: GaussianMLP) -> None:
    theta = random_theta(gaussian)
    params = with_task_axis(theta, 3)
    for name, tensor in params.items():
        assert tensor.is_leaf
        assert tensor.requires_grad
        assert all(torch.equal(row, theta[name]) for row in tensor)
        with torch.no_grad():
            tensor[0] += 1.0
        assert not torch.equal(tensor[0], theta[name])
        assert torch.equal(tensor[1], theta[name])


def test_sum_over_tasks_is_the_gradient_at_shared_parameters(gaussian: GaussianMLP) -> None:
    theta = random_theta(gaussian)
    observations = torch.randn(3, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def gradient(params: Params) -> tuple[torch.Tensor, ...]:
        output = gaussian(params, observations)
        value = output.mean.square().sum() + output.log_std.exp().sum()
        return torch.autograd.grad(value, list(params.values()))

    shared = {name: tensor.clone().requires_grad_() for name, tensor in theta.items()}
    assert_same(sum_over_tasks(gradient(with_task_axis(theta, 3))), flatten(gradient(shared)))


def test_detach_cuts_the_graph() -> None:
    params = {"weight": torch.ones(2).requires_grad_() * 2}
    assert not detach(params)["weight"].requires_grad
    assert torch.equal(detach(params)["weight"], params["weight"])


def test_learned_step_sizes_start_at_the_given_ones_for_every_entry(gaussian: GaussianMLP) -> None:
    theta = random_theta(gaussian)
    extended = with_step_sizes(theta, (0.1, 0.02))
    assert policy_parameters(extended).keys() == theta.keys()
    for step, expected in enumerate((0.1, 0.02, 0.02)):  # the last one serves all further steps
        sizes = learned_step_sizes(extended, step)
        assert sizes.keys() == theta.keys()
        assert all(float(size) == pytest.approx(expected, rel=1e-6) for size in sizes.values())


def test_learned_step_sizes_broadcast_against_task_parameters(gaussian: GaussianMLP) -> None:
    params = with_task_axis(with_step_sizes(random_theta(gaussian), (0.1,)), 3)
    for name, size in learned_step_sizes(params, 0).items():
        assert size.shape == (3, *[1] * (params[name].dim() - 1))


def test_theta_without_learned_step_sizes_has_none(gaussian: GaussianMLP) -> None:
    theta = random_theta(gaussian)
    assert learned_step_sizes(theta, 0) == {}
    assert policy_parameters(theta) == theta


def test_learned_step_sizes_share_no_memory(gaussian: GaussianMLP) -> None:
    extended = with_step_sizes(random_theta(gaussian), (0.1,))
    assert len({tensor.data_ptr() for tensor in extended.values()}) == len(extended)
