import pytest
import torch
from torch import Tensor

from rlmaml.core.kronecker import FisherBlocks, LayerFactors, added, kronecker_inverse, rate_curvature
from rlmaml.core.losses import likelihood_ratio, policy_gradient
from rlmaml.core.parameters import with_task_axis
from rlmaml.core.policy import Policy
from rlmaml.core.surrogate import fisher_products
from rlmaml.core.task_sums import ALONE, TaskMean, mean_over_usable
from rlmaml.core.types import Batch, Meta, Params
from rlmaml.rules.gradient_rule import GradientRule
from rlmaml.rules.rates import PerEntry
from tests.rlmaml.makers import (
    assert_same,
    categorical_policy,
    gaussian_policy,
    random_batch,
    random_theta,
    vector,
)

LINEAR: dict[str, Policy] = {"gaussian": gaussian_policy(hidden=()), "categorical": categorical_policy(hidden=())}
DEEP = gaussian_policy()


def one_step(kind: str) -> tuple[Params, Batch, Tensor, TaskMean]:
    """A policy without hidden layers in a single state: there the factors are exact."""
    theta = random_theta(LINEAR[kind])
    batch = random_batch(LINEAR[kind], theta, num_tasks=1, num_episodes=1, horizon=1)
    return theta, batch, batch.valid.double(), mean_over_usable(ALONE, [batch.valid])


def blocks_of(policy: Policy, params: Params, batch: Batch, weights: Tensor) -> FisherBlocks:
    found = policy.fisher_blocks(params, batch, weights)
    assert isinstance(found, FisherBlocks)
    return found


def dense_fisher(kind: str, theta: Params, batch: Batch, weights: Tensor, mean: TaskMean) -> Tensor:
    points = with_task_axis(theta, 1)
    said = LINEAR[kind].unroll(points, batch)[0].distribution
    products = fisher_products([said], [weights], list(points.values()))
    rows = []
    for row in torch.eye(len(vector(theta)), dtype=torch.float64):
        pieces = torch.split(row, [tensor.numel() for tensor in theta.values()])
        tangents = [piece.view_as(point) for piece, point in zip(pieces, points.values(), strict=True)]
        rows.append(mean.total(products(tangents)))
    return torch.stack(rows)


def places(theta: Params) -> Params:
    """Where each entry's numbers are in the vector of all."""
    numbers, found = torch.arange(len(vector(theta))), {}
    for name, piece in zip(theta, torch.split(numbers, [t.numel() for t in theta.values()]), strict=True):
        found[name] = piece.view(theta[name].shape)
    return found


def dense_blocks(blocks: FisherBlocks, theta: Params) -> Tensor:
    """The approximation as a matrix, from its definition ``F[(o, i), (o', i')] = G[o, o'] A[i, i']``."""
    where, size = places(theta), len(vector(theta))
    matrix = torch.zeros(size, size, dtype=torch.float64)
    for layer in blocks.layers:
        joint = torch.cat([where[layer.weight], where[layer.bias].unsqueeze(1)], 1)
        matrix[joint.reshape(-1, 1), joint.reshape(1, -1)] = torch.kron(layer.outputs, layer.inputs)
    for name, diagonal in blocks.diagonal.items():
        matrix[where[name], where[name]] = diagonal
    return matrix


def deep_problem(num_tasks: int) -> tuple[Params, Params, Batch]:
    theta = random_theta(DEEP)
    params = {name: p.detach() for name, p in with_task_axis(theta, num_tasks).items()}
    return theta, params, random_batch(DEEP, theta, num_tasks)


@pytest.mark.parametrize("kind", LINEAR)
def test_in_one_state_of_a_policy_without_hidden_layers_the_blocks_are_the_fisher_information(kind: str) -> None:
    theta, batch, weights, mean = one_step(kind)
    found = blocks_of(LINEAR[kind], {name: p.unsqueeze(0) for name, p in theta.items()}, batch, weights)
    ours = dense_blocks(added([found], mean), theta)
    assert_same(ours, dense_fisher(kind, theta, batch, weights, mean))
    assert ours.norm() > 0.1


def test_the_factors_of_deeper_layers_are_those_of_the_definition() -> None:
    theta, params, batch = deep_problem(1)
    weights = batch.valid.double() / batch.valid.sum()
    found = blocks_of(DEEP, params, batch, weights)
    rows, scale = batch.observations[batch.valid], weights[batch.valid].unsqueeze(-1)
    hidden = torch.tanh(rows @ theta["layer0.weight"].T + theta["layer0.bias"])
    inputs = torch.cat([hidden, torch.ones(len(rows), 1, dtype=torch.float64)], 1)
    assert_same(found.layers[1].inputs[0], (scale * inputs).T @ inputs)
    # The first layer's outputs z reach the mean by way of tanh: ∂mean_a/∂z = W_a (1 − tanh² z).
    pulled = [theta["layer1.weight"][a] * (1 - hidden**2) / theta["log_std"][a].exp() for a in range(2)]
    assert_same(found.layers[0].outputs[0], sum((scale * own).T @ own for own in pulled))  # type: ignore[arg-type]


def test_observations_are_divided_by_their_scales_as_the_network_does() -> None:
    scaled, plain = gaussian_policy(observation_scales=(2.0, 0.5, 3.0)), DEEP
    _, params, batch = deep_problem(2)
    divided = batch._replace(observations=batch.observations / torch.tensor([2.0, 0.5, 3.0], dtype=torch.float64))
    weights = batch.valid.double()
    for ours, other in zip(
        blocks_of(scaled, params, batch, weights).layers, blocks_of(plain, params, divided, weights).layers, strict=True
    ):
        assert_same(ours.inputs, other.inputs)
        assert_same(ours.outputs, other.outputs)


def test_blocks_are_added_over_stages_and_tasks() -> None:
    _, params, batch = deep_problem(3)
    mean = mean_over_usable(ALONE, [batch.valid])
    stages = [blocks_of(DEEP, params, batch, weight * batch.valid.double()) for weight in (0.25, 0.5)]
    total, once = added(stages, mean), blocks_of(DEEP, params, batch, 0.75 * batch.valid.double())
    for ours, other in zip(total.layers, once.layers, strict=True):
        assert_same(ours.inputs, other.inputs.sum(0))
        assert_same(ours.outputs, other.outputs.sum(0))
    assert_same(total.diagonal["log_std"], once.diagonal["log_std"].sum(0))


def test_the_inverse_is_that_of_the_damped_factors_and_diagonal() -> None:
    damping = 0.03
    theta, params, batch = deep_problem(2)
    mean = mean_over_usable(ALONE, [batch.valid])
    blocks = added([blocks_of(DEEP, params, batch, batch.valid.double() / batch.valid.sum())], mean)
    damped = []
    for layer in blocks.layers:
        balance = ((layer.inputs.trace() / len(layer.inputs)) / (layer.outputs.trace() / len(layer.outputs))).sqrt()
        pair = [
            factor + scale * damping**0.5 * torch.eye(len(factor), dtype=torch.float64)
            for factor, scale in ((layer.inputs, balance), (layer.outputs, 1 / balance))
        ]
        damped.append(LayerFactors(layer.weight, layer.bias, *pair))
    matrix = dense_blocks(FisherBlocks(damped, {"log_std": blocks.diagonal["log_std"] + damping}), theta)
    direction = vector(random_theta(DEEP, seed=3))
    inverse = kronecker_inverse(blocks, {}, Meta(theta, {}), damping)
    assert_same(matrix @ inverse(direction), direction, rtol=1e-9, atol=1e-11)


def test_the_curvature_of_learned_rates_is_that_of_the_moves_they_make() -> None:
    theta, batch, weights, mean = one_step("gaussian")
    policy = LINEAR["gaussian"]
    rule = GradientRule(1, (0.3,), policy_gradient(likelihood_ratio), learned=PerEntry())
    rates = rule.rates(theta)
    points = Meta({name: p.unsqueeze(0) for name, p in theta.items()}, {n: r.unsqueeze(0) for n, r in rates.items()})
    begun = rule.begin(points)
    moves = rule.jacobian(policy, points, begun, rule.step(policy, points, begun, batch, 0), 0, bends_on=None).moves
    blocks = added([blocks_of(policy, points.params, batch, weights)], mean)
    ours = rate_curvature(blocks, [moves], [0.5], rates, mean)
    fisher = dense_fisher("gaussian", theta, batch, weights, mean)
    for name, where in places(theta).items():
        move = torch.zeros(len(fisher), dtype=torch.float64)
        move[where.flatten()] = moves[name].flatten()
        assert_same(ours[name], (0.5 * move @ fisher @ move).unsqueeze(0))
        one_each = torch.stack([torch.zeros_like(theta[name])] * 2)
        squares = 0.5 * fisher.diagonal()[where.flatten()] * moves[name].flatten().square()
        of_every = rate_curvature(blocks, [moves, moves], [0.5, 0.25], {name: one_each}, mean)[name]
        assert_same(of_every[0].flatten(), squares)
        assert_same(of_every[1], 0.5 * of_every[0])
    solved = kronecker_inverse(blocks, ours, Meta(theta, rates), 0.1)(torch.ones(len(fisher) + len(rates)).double())
    expected = [1 / (float(curvature) + 0.1) for curvature in ours.values()]
    assert_same(solved[len(fisher) :], torch.tensor(expected, dtype=torch.float64))
