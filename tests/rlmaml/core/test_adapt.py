from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rlmaml.core.adapt import adapt, adapt_in_steps, task_losses
from rlmaml.core.losses import INNER_LOSSES, dice, likelihood_ratio, log_likelihood
from rlmaml.core.parameters import flatten, learned_step_sizes, unflatten, with_step_sizes, with_task_axis
from rlmaml.core.types import Batch, Params
from rlmaml.policies.policy import GaussianMLP
from tests.rlmaml.makers import (
    assert_same,
    central_differences,
    padded_batch,
    random_batch,
    random_task_params,
    random_theta,
    select_tasks,
    vector,
)

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
LOSSES = pytest.mark.parametrize("loss", INNER_LOSSES.values(), ids=INNER_LOSSES)
NUM_TASKS = 3


def recording(params: Params) -> Params:
    return {name: tensor.clone().requires_grad_() for name, tensor in params.items()}


def post_loss(policy: GaussianMLP, params: Params, batch: Batch) -> Tensor:
    """What the meta-gradients below are taken of; smooth, and not 0 at the sampling policy."""
    return task_losses(policy, params, batch, likelihood_ratio).sum() + task_losses(policy, params, batch, dice).sum()


def meta_gradient(
    policy: GaussianMLP, params: Params, pre: list[Batch], post: Batch, loss: Loss, sizes: list[float], second: bool
) -> Params:
    points = recording(params)
    adapted = adapt_in_steps(policy, points, pre, loss=loss, step_sizes=sizes, create_graph=second)[-1]
    gradients = torch.autograd.grad(post_loss(policy, adapted, post), list(points.values()))
    return dict(zip(points, gradients, strict=True))


@LOSSES
def test_batched_adaptation_is_a_loop_over_tasks(gaussian: GaussianMLP, loss: Loss) -> None:
    params = random_task_params(gaussian, NUM_TASKS)
    batch = random_batch(gaussian, params, NUM_TASKS)
    together = adapt(gaussian, params, batch, loss=loss, step_size=0.5)
    for task in range(NUM_TASKS):
        one = {name: tensor[task : task + 1] for name, tensor in params.items()}
        alone = adapt(gaussian, one, select_tasks(batch, [task]), loss=loss, step_size=0.5)
        for name, tensor in alone.items():
            assert_same(together[name][task] - params[name][task], (tensor - one[name])[0])
            assert (tensor - one[name]).norm() > 1e-3


@pytest.mark.parametrize("second", [True, False], ids=["second order", "first order"])
@LOSSES
def test_the_batched_meta_gradient_is_a_loop_over_tasks(gaussian: GaussianMLP, loss: Loss, second: bool) -> None:
    params = random_task_params(gaussian, NUM_TASKS)
    pre = [random_batch(gaussian, params, NUM_TASKS, seed=seed) for seed in (0, 1)]
    post = random_batch(gaussian, params, NUM_TASKS, seed=2)
    together = meta_gradient(gaussian, params, pre, post, loss, [0.5, 0.3], second)
    for task in range(NUM_TASKS):
        one = {name: tensor[task : task + 1] for name, tensor in params.items()}
        its_pre, its_post = [select_tasks(batch, [task]) for batch in pre], select_tasks(post, [task])
        alone = meta_gradient(gaussian, one, its_pre, its_post, loss, [0.5, 0.3], second)
        for name, gradient in alone.items():
            assert_same(together[name][task : task + 1], gradient)
        assert vector(alone).norm() > 1e-2


def test_one_step_moves_against_the_gradient_of_every_tasks_own_loss(gaussian: GaussianMLP) -> None:
    params = recording(random_task_params(gaussian, NUM_TASKS))
    batch = random_batch(gaussian, params, NUM_TASKS)
    adapted = adapt(gaussian, params, batch, loss=likelihood_ratio, step_size=0.5)
    for task in range(NUM_TASKS):
        own = task_losses(gaussian, params, batch, likelihood_ratio)[task]
        for name, gradient in zip(params, torch.autograd.grad(own, list(params.values())), strict=True):
            assert_same((params[name] - adapted[name])[task], 0.5 * gradient[task])
            others = [other for other in range(NUM_TASKS) if other != task]
            assert not gradient[others].any()


def test_one_small_step_lowers_every_tasks_loss(gaussian: GaussianMLP) -> None:
    params = random_task_params(gaussian, NUM_TASKS)
    batch = random_batch(gaussian, params, NUM_TASKS)
    adapted = adapt(gaussian, params, batch, loss=likelihood_ratio, step_size=0.01)
    before = task_losses(gaussian, params, batch, likelihood_ratio)
    assert (task_losses(gaussian, adapted, batch, likelihood_ratio) < before).all()


def test_theta_and_task_parameters_that_repeat_it_have_the_same_losses(gaussian: GaussianMLP) -> None:
    theta = random_theta(gaussian)
    batch = random_batch(gaussian, random_theta(gaussian, 1), NUM_TASKS)
    expected = task_losses(gaussian, with_task_axis(theta, NUM_TASKS), batch, dice)
    assert_same(task_losses(gaussian, theta, batch, dice), expected)


@pytest.mark.parametrize("num_steps", [1, 2])
@LOSSES
def test_the_second_order_meta_gradient_is_that_of_finite_differences(
    gaussian: GaussianMLP, loss: Loss, num_steps: int
) -> None:
    params = random_task_params(gaussian, 2)
    pre = [random_batch(gaussian, params, 2, seed=seed) for seed in range(num_steps)]
    post, sizes = random_batch(gaussian, params, 2, seed=9), [0.5, 0.3][:num_steps]

    def value(numbers: Tensor) -> Tensor:
        stages = adapt_in_steps(gaussian, unflatten(numbers, params), pre, loss=loss, step_sizes=sizes)
        return post_loss(gaussian, stages[-1], post)

    numeric = central_differences(value, vector(params))
    second = vector(meta_gradient(gaussian, params, pre, post, loss, sizes, second=True))
    first = vector(meta_gradient(gaussian, params, pre, post, loss, sizes, second=False))
    assert_same(second, numeric, rtol=1e-6, atol=1e-8)
    assert (first - numeric).norm() > 1e-2 * numeric.norm()


@LOSSES
def test_the_first_order_meta_gradient_misses_step_size_times_hessian(gaussian: GaussianMLP, loss: Loss) -> None:
    # d L_post(θ − α ∇L(θ)) / dθ = (I − α ∇²L(θ)) v with v the gradient at the adapted parameters; first order is v.
    params = random_task_params(gaussian, 1)
    pre, post = random_batch(gaussian, params, 1), random_batch(gaussian, params, 1, seed=1)

    def inner(numbers: Tensor) -> Tensor:
        return task_losses(gaussian, unflatten(numbers, params), pre, loss).sum()

    hessian = torch.as_tensor(torch.autograd.functional.hessian(inner, vector(params)))  # type: ignore[no-untyped-call]
    first = vector(meta_gradient(gaussian, params, [pre], post, loss, [0.5], second=False))
    second = vector(meta_gradient(gaussian, params, [pre], post, loss, [0.5], second=True))
    adapted = recording(adapt(gaussian, params, pre, loss=loss, step_size=0.5))
    outer = flatten(torch.autograd.grad(post_loss(gaussian, adapted, post), list(adapted.values())))
    assert_same(first, outer)
    assert_same(second, outer - 0.5 * hessian @ outer)
    assert (second - first).norm() > 1e-2 * first.norm()


def learned_meta_gradients(policy: GaussianMLP, second: bool) -> tuple[Params, Params]:
    """Ours and that of finite differences, with respect to the parameters and the learned step sizes."""
    theta = with_step_sizes(random_theta(policy), (0.5, 0.3))
    pre = [random_batch(policy, random_theta(policy), 1, seed=seed) for seed in (0, 1)]
    post = random_batch(policy, random_theta(policy), 1, seed=2)
    params = {name: tensor.unsqueeze(0) for name, tensor in theta.items()}

    def value(numbers: Tensor) -> Tensor:
        stages = adapt_in_steps(policy, unflatten(numbers, params), pre, loss=log_likelihood, step_sizes=[])
        return post_loss(policy, stages[-1], post)

    ours = meta_gradient(policy, params, pre, post, log_likelihood, [], second)
    return ours, unflatten(central_differences(value, vector(params)), params)


def test_learned_step_sizes_have_the_gradient_of_finite_differences(gaussian: GaussianMLP) -> None:
    ours, numeric = learned_meta_gradients(gaussian, second=True)
    for name, expected in numeric.items():
        assert_same(ours[name], expected, rtol=1e-6, atol=1e-8)
        assert expected.norm() > 1e-4


def test_first_order_still_learns_the_last_step_size(gaussian: GaussianMLP) -> None:
    ours, numeric = learned_meta_gradients(gaussian, second=False)
    for name in (name for name in ours if name.startswith("log_step_size")):
        assert_same(ours[name][:, -1], numeric[name][:, -1], rtol=1e-6, atol=1e-8)
        assert not torch.allclose(ours[name][:, 0], numeric[name][:, 0], rtol=1e-3)


def test_learned_step_sizes_at_their_start_are_the_given_ones(gaussian: GaussianMLP) -> None:
    theta = random_theta(gaussian)
    pre = [random_batch(gaussian, theta, NUM_TASKS, seed=seed) for seed in (0, 1, 2)]
    given, learned = (with_task_axis(t, NUM_TASKS) for t in (theta, with_step_sizes(theta, (0.5, 0.25))))
    expected = adapt_in_steps(gaussian, given, pre, loss=dice, step_sizes=[0.5, 0.25, 0.25])
    actual = adapt_in_steps(gaussian, learned, pre, loss=dice, step_sizes=[])
    for stage, other in zip(actual, expected, strict=True):
        assert stage.keys() == other.keys() == theta.keys()
        for name in theta:
            assert_same(stage[name], other[name], rtol=1e-6, atol=1e-7)  # the logarithms are single precision


def test_each_entry_moves_by_its_own_learned_step_size(gaussian: GaussianMLP) -> None:
    theta = random_theta(gaussian)
    batch, params = random_batch(gaussian, theta, NUM_TASKS), with_task_axis(theta, NUM_TASKS)
    extended = with_task_axis(with_step_sizes(theta, (1.0,)), NUM_TASKS)
    for factor, name in enumerate(theta):
        extended["log_step_size." + name] = torch.full((NUM_TASKS, 1), float(factor), dtype=torch.float64).log()
    unit = adapt(gaussian, params, batch, loss=dice, step_size=1.0)
    own = adapt(gaussian, params, batch, loss=dice, step_size=learned_step_sizes(extended, 0))
    for factor, name in enumerate(theta):
        assert_same(own[name] - params[name], factor * (unit[name] - params[name]))


def test_stages_are_single_steps_in_a_row(gaussian: GaussianMLP) -> None:
    params = random_task_params(gaussian, NUM_TASKS)
    pre = [random_batch(gaussian, params, NUM_TASKS, seed=seed) for seed in (0, 1)]
    stages = adapt_in_steps(gaussian, params, pre, loss=dice, step_sizes=[0.5, 0.25])
    once = adapt(gaussian, params, pre[0], loss=dice, step_size=0.5)
    twice = adapt(gaussian, once, pre[1], loss=dice, step_size=0.25)
    for stage, expected in zip(stages, (params, once, twice), strict=True):
        assert all(torch.equal(stage[name], expected[name]) for name in params)
    assert not torch.allclose(vector(once), vector(twice), rtol=1e-3)


@LOSSES
def test_permuting_tasks_permutes_adaptation(gaussian: GaussianMLP, loss: Loss) -> None:
    params, order = random_task_params(gaussian, 4), [2, 0, 3, 1]
    batch = random_batch(gaussian, params, 4)
    expected = adapt(gaussian, params, batch, loss=loss, step_size=0.5)
    permuted = {name: tensor[order] for name, tensor in params.items()}
    actual = adapt(gaussian, permuted, select_tasks(batch, order), loss=loss, step_size=0.5)
    for name in params:
        assert_same(actual[name], expected[name][order])


@LOSSES
def test_padding_changes_no_adaptation(gaussian: GaussianMLP, loss: Loss) -> None:
    params = random_task_params(gaussian, NUM_TASKS)
    batch = random_batch(gaussian, params, NUM_TASKS)
    assert not batch.valid.all()
    expected = adapt(gaussian, params, batch, loss=loss, step_size=0.5)
    actual = adapt(gaussian, params, padded_batch(batch), loss=loss, step_size=0.5)
    for name in params:
        assert_same(actual[name], expected[name])


def test_adaptation_works_where_gradients_are_switched_off_and_leaves_its_input_alone(gaussian: GaussianMLP) -> None:
    params = random_task_params(gaussian, NUM_TASKS)
    before = vector(params).clone()
    batch = random_batch(gaussian, params, NUM_TASKS)
    expected = adapt(gaussian, params, batch, loss=dice, step_size=0.5)
    with torch.no_grad():
        adapted = adapt(gaussian, params, batch, loss=dice, step_size=0.5)
    assert torch.equal(vector(adapted), vector(expected))
    assert torch.equal(vector(params), before)
    assert not any(tensor.requires_grad for tensor in params.values())
