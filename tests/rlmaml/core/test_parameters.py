import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlmaml.core.parameters import (
    as_meta,
    detached,
    entries,
    flatten,
    meta_vector,
    repeated,
    unflatten,
    with_task_axis,
)
from rlmaml.core.types import Meta
from rlmaml.policies.gaussian import GaussianPolicy
from tests.rlmaml.makers import random_theta

SHAPES = st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=5)


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


def test_the_task_axis_repeats_theta_in_fresh_leaves(gaussian: GaussianPolicy) -> None:
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


def test_the_task_axis_begins_a_graph_of_its_own(gaussian: GaussianPolicy) -> None:
    recorded = {name: tensor.requires_grad_() for name, tensor in random_theta(gaussian).items()}
    params = with_task_axis(recorded, 2)
    assert all(tensor.is_leaf for tensor in params.values())


def test_detached_parameters_have_the_values_without_the_graph() -> None:
    params = {"weight": torch.ones(2).requires_grad_() * 2}
    assert not detached(params)["weight"].requires_grad
    assert torch.equal(detached(params)["weight"], params["weight"])


META = Meta(
    {"weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "bias": torch.tensor(5.0)},
    {"weight": torch.tensor([6.0, 7.0]), "bias": torch.tensor([8.0, 9.0])},
)


def test_meta_parameters_as_a_vector_are_weights_before_rates() -> None:
    assert meta_vector(META).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    every = [META.params["weight"], META.params["bias"], META.rates["weight"], META.rates["bias"]]
    assert all(one is other for one, other in zip(entries(META), every, strict=True))


@pytest.mark.parametrize("meta", [META, Meta(META.params, {})], ids=["learned rates", "no rates"])
def test_as_meta_inverts_meta_vector(meta: Meta) -> None:
    back = as_meta(2 * meta_vector(meta), meta)
    for part, other in zip(back, meta, strict=True):
        assert list(part) == list(other)
        assert all(torch.equal(part[name], 2 * other[name]) for name in other)


def test_meta_parameters_are_repeated_with_their_rates() -> None:
    points = repeated(META, 3)
    for part, other in zip(points, META, strict=True):
        assert list(part) == list(other)
        for name, tensor in part.items():
            assert tensor.is_leaf
            assert tensor.requires_grad
            assert torch.equal(tensor, torch.stack([other[name]] * 3))
