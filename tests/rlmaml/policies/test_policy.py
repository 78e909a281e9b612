import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rlmaml.base.threads import torch_threads
from rlmaml.core.adapt import adapt
from rlmaml.core.distributions import Categorical, Gaussian
from rlmaml.core.losses import likelihood_ratio
from rlmaml.core.parameters import flatten, unflatten, with_task_axis
from rlmaml.core.types import Params
from rlmaml.policies.policy import MIN_STD, CategoricalMLP, GaussianMLP, ModulePolicy, Policy, init_mlp, mlp
from tests.rlmaml.makers import assert_same, random_batch, random_task_params, random_theta, vector

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


class GaussianModule(nn.Module):
    """The Gaussian policy as anybody would write it."""

    def __init__(self, sizes: tuple[int, ...], activation: str = "tanh") -> None:
        super().__init__()
        linears = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
        between: list[nn.Module] = [module for linear in linears for module in (linear, ACTIVATIONS[activation]())]
        self.layers = nn.Sequential(*between[:-1])
        self.log_std = nn.Parameter(torch.zeros(sizes[-1]))

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.layers(observations)
        return mean, self.log_std.expand_as(mean)


def plain_name(name: str) -> str:
    """``layer1.weight`` of ours is ``layers.2.weight`` of the module: activations count there."""
    if name == "log_std":
        return name
    layer, kind = name.removeprefix("layer").split(".")
    return f"layers.{2 * int(layer)}.{kind}"


def plain_params(params: Params) -> Params:
    return {plain_name(name): tensor for name, tensor in params.items()}


def noise(generator: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return generator.standard_normal((*shape, 2), dtype=np.float32)


def two_policies(activation: str = "tanh", hidden: tuple[int, ...] = (5, 4)) -> tuple[GaussianMLP, ModulePolicy]:
    ours = GaussianMLP(observation_size=3, action_size=2, hidden=hidden, activation=activation)
    module = GaussianModule((3, *hidden, 2), activation).double()
    return ours, ModulePolicy(module, Gaussian, noise)


def observations(*shape: int) -> Tensor:
    return torch.randn((*shape, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("hidden", [(5, 4), (64, 128)])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_mlp_is_plain_torch_modules(activation: str, hidden: tuple[int, ...]) -> None:
    ours, theirs = two_policies(activation, hidden)
    theta = random_theta(ours)
    mean, _ = torch.func.functional_call(theirs.module, plain_params(theta), (observations(4, 5),))
    assert_same(ours(theta, observations(4, 5)).mean, mean)
    assert mean.std() > 0.1


@pytest.mark.parametrize("width", [64, 100])
def test_one_thread_and_two_compute_the_same_bits(width: int) -> None:
    policy = GaussianMLP(observation_size=3, action_size=2, hidden=(width, width))
    theta = policy.init(0)
    for rows in range(1001, 1017):
        for params, seen in (
            (theta, observations(rows).float()),
            (with_task_axis(theta, 1), observations(1, rows).float()),
            (with_task_axis(theta, 3), observations(3, rows).float()),
        ):
            alone = policy(params, seen).mean
            with torch_threads(2):
                assert torch.equal(policy(params, seen).mean, alone)


def test_observations_are_divided_by_their_scales_and_by_1_beyond_the_last() -> None:
    plain = GaussianMLP(observation_size=3, action_size=2, hidden=(5, 4))
    scaled = dataclasses.replace(plain, observation_scales=(0.5, 4.0))
    theta, seen = random_theta(plain), observations(4, 5)
    divided = seen / torch.tensor([0.5, 4.0, 1.0])
    assert_same(scaled(theta, seen).mean, plain(theta, divided).mean)
    assert_same(scaled(with_task_axis(theta, 4), seen).mean, plain(theta, divided).mean)
    assert not torch.allclose(scaled(theta, seen).mean, plain(theta, seen).mean, atol=0.1)


def test_a_perceptron_without_hidden_layers_is_linear() -> None:
    theta = {name: tensor.double() for name, tensor in init_mlp((3, 2), 0, 1.0).items()}
    theta["layer0.bias"] += 0.5
    expected = observations(4) @ theta["layer0.weight"].T + theta["layer0.bias"]
    assert_same(mlp(theta, "tanh")(observations(4)), expected)


@pytest.mark.parametrize("axes", [(3, 5), (3, 5, 7)], ids=["task episode", "task episode time"])
@pytest.mark.parametrize("kind", ["gaussian", "categorical"])
def test_row_i_is_served_by_parameter_set_i(kind: str, axes: tuple[int, ...], request: pytest.FixtureRequest) -> None:
    policy: Policy = request.getfixturevalue(kind)
    params = random_task_params(policy, 3)
    together = policy(params, observations(*axes))
    for task in range(3):
        alone = policy({name: tensor[task] for name, tensor in params.items()}, observations(*axes)[task])
        for batched, single in zip(together, alone, strict=True):
            assert batched.shape[:-1] == axes
            assert_same(batched[task], single)
    assert not torch.allclose(together[0][0], together[0][1])


@pytest.mark.parametrize("axes", [(), (4,), (3, 5), (3, 5, 7)])
def test_theta_serves_any_axes(axes: tuple[int, ...], gaussian: GaussianMLP, categorical: CategoricalMLP) -> None:
    assert gaussian(random_theta(gaussian), observations(*axes)).mean.shape == (*axes, 2)
    assert categorical(random_theta(categorical), observations(*axes)).logits.shape == (*axes, 4)


def test_theta_equals_task_parameters_that_repeat_it(gaussian: GaussianMLP) -> None:
    theta = random_theta(gaussian)
    without, repeated = gaussian(theta, observations(3, 5)), gaussian(with_task_axis(theta, 3), observations(3, 5))
    assert_same(without.mean, repeated.mean)
    assert_same(without.log_std, repeated.log_std)


@pytest.mark.parametrize("has_task_axis", [False, True])
def test_a_module_policy_is_the_mlp_with_the_same_weights(has_task_axis: bool) -> None:
    ours, theirs = two_policies()
    params = random_task_params(ours, 3) if has_task_axis else random_theta(ours)
    mine, plain = ours(params, observations(3, 5, 2)), theirs(plain_params(params), observations(3, 5, 2))
    assert isinstance(plain, Gaussian)
    assert_same(mine.mean, plain.mean)
    assert_same(mine.log_std, plain.log_std)


def test_a_module_policy_has_the_second_order_meta_gradient_of_the_mlp() -> None:
    ours, theirs = two_policies()
    theta = random_theta(ours)
    pre = random_batch(ours, theta, num_tasks=3)
    post = random_batch(ours, random_task_params(ours, 3), num_tasks=3, seed=1)

    def meta_gradient(policy: Policy, params: Params) -> Tensor:
        points = with_task_axis(params, 3)
        adapted = adapt(policy, points, pre, loss=likelihood_ratio, step_size=0.5, create_graph=True)
        loss = -policy(adapted, post.observations).log_prob(post.actions) * post.advantages * post.valid
        return flatten(torch.autograd.grad(loss.sum(), list(points.values())))

    expected = meta_gradient(ours, theta)
    assert_same(meta_gradient(theirs, plain_params(theta)), expected)
    assert expected.norm() > 0.1


def test_a_module_policy_starts_at_its_modules_own_parameters_and_never_changes_them() -> None:
    _, policy = two_policies()
    before = {name: tensor.detach().clone() for name, tensor in policy.module.named_parameters()}
    theta = policy.init(3)
    assert theta.keys() == before.keys()
    for tensor in theta.values():
        tensor.add_(1.0)
    policy(theta, observations(4))
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.module.named_parameters())


def test_a_module_policy_may_be_categorical(categorical: CategoricalMLP) -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 4)).double()
    policy = ModulePolicy(module, Categorical, categorical.draw_noise)
    theta = random_theta(categorical)
    renamed = dict(zip(policy.init(0), theta.values(), strict=True))
    plain = policy(renamed, observations(5))
    assert isinstance(plain, Categorical)
    assert_same(plain.logits, categorical(theta, observations(5)).logits)
    assert policy.draw_noise(np.random.default_rng(0), (5, 2)).shape == (5, 2)


def test_the_standard_deviation_has_a_floor(gaussian: GaussianMLP) -> None:
    theta = random_theta(gaussian)
    theta["log_std"] = torch.tensor([-50.0, -1.0], dtype=torch.float64)
    log_std = gaussian(theta, observations(4)).log_std
    assert_same(log_std[0], torch.tensor([math.log(MIN_STD), -1.0], dtype=torch.float64))


def test_initial_weights_are_glorot_uniform_and_the_last_layer_is_small() -> None:
    policy = GaussianMLP(observation_size=40, action_size=60, hidden=(50,), initial_std=0.5, output_scale=0.01)
    theta = policy.init(0)
    for name, fans, scale in (("layer0", 40 + 50, 1.0), ("layer1", 50 + 60, 0.01)):
        bound = scale * math.sqrt(6 / fans)
        weight = theta[f"{name}.weight"]
        assert weight.abs().max() <= bound
        assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert not theta[f"{name}.bias"].any()
    assert torch.equal(theta["log_std"], torch.full((60,), math.log(0.5)))


def test_initial_parameters_depend_on_the_seed_alone(gaussian: GaussianMLP) -> None:
    torch.manual_seed(1)
    one, other = vector(gaussian.init(5)), vector(gaussian.init(6))
    torch.manual_seed(2)
    assert torch.equal(one, vector(gaussian.init(5)))
    assert not torch.equal(one, other)


def test_unflattened_parameters_act_alike(gaussian: GaussianMLP) -> None:
    theta = random_theta(gaussian)
    back = unflatten(vector(theta), theta)
    assert torch.equal(gaussian(back, observations(4)).mean, gaussian(theta, observations(4)).mean)


@pytest.mark.parametrize("has_task_axis", [False, True])
def test_a_bound_policy_is_the_policy(has_task_axis: bool) -> None:
    ours, theirs = two_policies()
    params = random_task_params(ours, 3) if has_task_axis else random_theta(ours)
    act, plain_act = ours.bind(params), theirs.bind(plain_params(params))
    for axes in ((3, 5), (3, 5, 2)):
        for bound, called in (
            (act(observations(*axes)), ours(params, observations(*axes))),
            (plain_act(observations(*axes)), theirs(plain_params(params), observations(*axes))),
        ):
            assert all(torch.equal(one, other) for one, other in zip(bound, called, strict=True))
