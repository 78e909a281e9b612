from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from rlmaml.core.losses import POLICY_GRADIENTS, InnerLoss, dice, likelihood_ratio, log_likelihood, policy_gradient
from rlmaml.core.parameters import as_meta, flatten, meta_vector, unflatten, with_task_axis
from rlmaml.core.types import Adaptation, Batch, Meta, Outputs, Params
from rlmaml.policies.gaussian import GaussianPolicy
from rlmaml.rules.gradient_rule import GradientRule, gradient_rule, task_losses
from rlmaml.settings.inner import DifferentiatedInnerSettings, InnerSettings
from tests.rlmaml.makers import (
    assert_same,
    central_differences_in_rows,
    gaussian_policy,
    padded_batch,
    random_batch,
    random_task_params,
    random_theta,
    rows_as_meta,
    same_task,
    select_tasks,
    vector,
)

LOSSES = pytest.mark.parametrize("loss", [*map(policy_gradient, POLICY_GRADIENTS.values())], ids=POLICY_GRADIENTS)
LIKELIHOOD_RATIO, DICE = policy_gradient(likelihood_ratio), policy_gradient(dice)
SIZES = (0.5, 0.3)
NUM_TASKS = 3
GAUSSIAN = gaussian_policy()


def recording(params: Params) -> Params:
    return {name: tensor.clone().requires_grad_() for name, tensor in params.items()}


def adapted(
    policy: GaussianPolicy, rule: GradientRule, meta: Meta, pre: list[Batch], *, create_graph: bool = False
) -> list[Params]:
    """Task parameters before and after every step."""
    adaptation = rule.begin(meta)
    stages = [adaptation.params]
    for k, batch in enumerate(pre):
        adaptation = rule.step(policy, meta, adaptation, batch, k, create_graph=create_graph)
        stages.append(adaptation.params)
    return stages


def step(policy: GaussianPolicy, params: Params, batch: Batch, loss: InnerLoss, size: float) -> Params:
    """One step from task parameters that are no copies of theta."""
    return adapted(policy, GradientRule(1, (size,), loss), Meta(params, {}), [batch])[-1]


def post_losses(policy: GaussianPolicy, params: Params, batch: Batch) -> Tensor:
    """What the meta-gradients below are taken of, per task; smooth, and not 0 at the sampling policy."""
    return task_losses(policy, params, batch, LIKELIHOOD_RATIO) + task_losses(policy, params, batch, DICE)


def meta_gradient(policy: GaussianPolicy, rule: GradientRule, meta: Meta, pre: list[Batch], post: Batch) -> Meta:
    points = Meta(recording(meta.params), recording(meta.rates))
    last = adapted(policy, rule, points, pre, create_graph=True)[-1]
    every = [*points.params.values(), *points.rates.values()]
    return as_meta(flatten(torch.autograd.grad(post_losses(policy, last, post).sum(), every)), meta)


def numeric_meta_gradient(
    policy: GaussianPolicy, rule: GradientRule, meta: Meta, pre: list[Batch], post: Batch
) -> Meta:
    """That of a single task, by finite differences; every row of points is a task of its own."""
    like = Meta(*({name: tensor[0] for name, tensor in part.items()} for part in meta))

    def values(rows: Tensor) -> Tensor:
        repeated_pre = [same_task(batch, 0, len(rows)) for batch in pre]
        moved = adapted(policy, rule, rows_as_meta(rows, like), repeated_pre)[-1]
        return post_losses(policy, moved, same_task(post, 0, len(rows)))

    return as_meta(central_differences_in_rows(values, meta_vector(meta)), meta)


@LOSSES
def test_batched_adaptation_is_a_loop_over_tasks(gaussian: GaussianPolicy, loss: InnerLoss) -> None:
    params = random_task_params(gaussian, NUM_TASKS)
    batch = random_batch(gaussian, params, NUM_TASKS)
    together = step(gaussian, params, batch, loss, 0.5)
    for task in range(NUM_TASKS):
        one = {name: tensor[task : task + 1] for name, tensor in params.items()}
        alone = step(gaussian, one, select_tasks(batch, [task]), loss, 0.5)
        for name, tensor in alone.items():
            assert_same(together[name][task] - params[name][task], (tensor - one[name])[0])
            assert (tensor - one[name]).norm() > 1e-3


@pytest.mark.parametrize("first_order", [False, True], ids=["second order", "first order"])
@LOSSES
def test_the_batched_meta_gradient_is_a_loop_over_tasks(
    gaussian: GaussianPolicy, loss: InnerLoss, first_order: bool
) -> None:
    rule = GradientRule(2, SIZES, loss, first_order=first_order)
    params = random_task_params(gaussian, NUM_TASKS)
    pre = [random_batch(gaussian, params, NUM_TASKS, seed=seed) for seed in (0, 1)]
    post = random_batch(gaussian, params, NUM_TASKS, seed=2)
    together = meta_gradient(gaussian, rule, Meta(params, {}), pre, post).params
    for task in range(NUM_TASKS):
        one = Meta({name: tensor[task : task + 1] for name, tensor in params.items()}, {})
        its_pre, its_post = [select_tasks(batch, [task]) for batch in pre], select_tasks(post, [task])
        alone = meta_gradient(gaussian, rule, one, its_pre, its_post).params
        for name, gradient in alone.items():
            assert_same(together[name][task : task + 1], gradient)
        assert vector(alone).norm() > 1e-2


def test_one_step_moves_against_the_gradient_of_every_tasks_own_loss(gaussian: GaussianPolicy) -> None:
    params = recording(random_task_params(gaussian, NUM_TASKS))
    batch = random_batch(gaussian, params, NUM_TASKS)
    moved = step(gaussian, params, batch, LIKELIHOOD_RATIO, 0.5)
    for task in range(NUM_TASKS):
        own = task_losses(gaussian, params, batch, LIKELIHOOD_RATIO)[task]
        for name, gradient in zip(params, torch.autograd.grad(own, list(params.values())), strict=True):
            assert_same((params[name] - moved[name])[task], 0.5 * gradient[task])
            others = [other for other in range(NUM_TASKS) if other != task]
            assert not gradient[others].any()


def test_one_small_step_lowers_every_tasks_loss(gaussian: GaussianPolicy) -> None:
    params = random_task_params(gaussian, NUM_TASKS)
    batch = random_batch(gaussian, params, NUM_TASKS)
    moved = step(gaussian, params, batch, LIKELIHOOD_RATIO, 0.01)
    before = task_losses(gaussian, params, batch, LIKELIHOOD_RATIO)
    assert (task_losses(gaussian, moved, batch, LIKELIHOOD_RATIO) < before).all()


def test_theta_and_task_parameters_that_repeat_it_have_the_same_losses(gaussian: GaussianPolicy) -> None:
    theta = random_theta(gaussian)
    batch = random_batch(gaussian, random_theta(gaussian, 1), NUM_TASKS)
    expected = task_losses(gaussian, with_task_axis(theta, NUM_TASKS), batch, DICE)
    assert_same(task_losses(gaussian, theta, batch, DICE), expected)


@pytest.mark.parametrize("num_steps", [1, 2])
@LOSSES
def test_the_second_order_meta_gradient_is_that_of_finite_differences(
    gaussian: GaussianPolicy, loss: InnerLoss, num_steps: int
) -> None:
    meta = Meta(random_task_params(gaussian, 1), {})
    pre = [random_batch(gaussian, meta.params, 1, seed=seed) for seed in range(num_steps)]
    post = random_batch(gaussian, meta.params, 1, seed=9)
    second, first = (GradientRule(num_steps, SIZES, loss, first_order=order) for order in (False, True))
    numeric = vector(numeric_meta_gradient(gaussian, second, meta, pre, post))
    assert_same(vector(meta_gradient(gaussian, second, meta, pre, post)), numeric, rtol=1e-6, atol=1e-8)
    assert (vector(meta_gradient(gaussian, first, meta, pre, post)) - numeric).norm() > 1e-2 * numeric.norm()


@LOSSES
def test_the_first_order_meta_gradient_misses_step_size_times_hessian(
    gaussian: GaussianPolicy, loss: InnerLoss
) -> None:
    # d L_post(θ − α ∇L(θ)) / dθ = (I − α ∇²L(θ)) v with v the gradient at the adapted parameters; first order is v.
    params = random_task_params(gaussian, 1)
    pre, post = random_batch(gaussian, params, 1), random_batch(gaussian, params, 1, seed=1)

    def inner(numbers: Tensor) -> Tensor:
        return task_losses(gaussian, unflatten(numbers, params), pre, loss).sum()

    hessian = torch.as_tensor(torch.autograd.functional.hessian(inner, vector(params)))  # type: ignore[no-untyped-call]
    second, first = (
        vector(meta_gradient(gaussian, GradientRule(1, (0.5,), loss, first_order=order), Meta(params, {}), [pre], post))
        for order in (False, True)
    )
    moved = recording(step(gaussian, params, pre, loss, 0.5))
    outer = flatten(torch.autograd.grad(post_losses(gaussian, moved, post).sum(), list(moved.values())))
    assert_same(first, outer)
    assert_same(second, outer - 0.5 * hessian @ outer)
    assert (second - first).norm() > 1e-2 * first.norm()


def test_without_a_graph_no_derivative_passes_the_gradient(gaussian: GaussianPolicy) -> None:
    theta = random_theta(gaussian)
    batch = random_batch(gaussian, theta, 2)
    whole, cut = (
        Meta(recording({name: tensor.unsqueeze(0).repeat_interleave(2, 0) for name, tensor in theta.items()}), {})
        for _ in range(2)
    )
    rule = GradientRule(1, (0.5,), DICE)
    with_graph = flatten(adapted(gaussian, rule, whole, [batch], create_graph=True)[-1].values())
    without = flatten(adapted(gaussian, rule, cut, [batch])[-1].values())
    assert torch.equal(with_graph, without)
    cotangent = torch.linspace(-1, 1, len(without), dtype=torch.float64)
    through = flatten(torch.autograd.grad(with_graph, list(whole.params.values()), cotangent))
    identity = flatten(torch.autograd.grad(without, list(cut.params.values()), cotangent))
    assert torch.equal(identity, cotangent)
    assert (through - identity).norm() > 0.1


def learned_meta_gradients(policy: GaussianPolicy, first_order: bool) -> tuple[Meta, Meta]:
    """Ours and that of finite differences, with respect to the parameters and the learned step sizes."""
    theta = random_theta(policy)
    rule = GradientRule(2, SIZES, policy_gradient(log_likelihood), learned=True, first_order=first_order)
    pre = [random_batch(policy, theta, 1, seed=seed) for seed in (0, 1)]
    post = random_batch(policy, theta, 1, seed=2)
    meta = Meta(*({name: tensor.unsqueeze(0) for name, tensor in part.items()} for part in (theta, rule.rates(theta))))
    ours = meta_gradient(policy, rule, meta, pre, post)
    return ours, numeric_meta_gradient(policy, rule, meta, pre, post)


def test_learned_step_sizes_have_the_gradient_of_finite_differences(gaussian: GaussianPolicy) -> None:
    ours, numeric = learned_meta_gradients(gaussian, first_order=False)
    for part, others in zip(ours, numeric, strict=True):
        for name, expected in others.items():
            assert_same(part[name], expected, rtol=1e-6, atol=1e-8)
            assert expected.norm() > 1e-4


def test_first_order_still_learns_the_last_step_size(gaussian: GaussianPolicy) -> None:
    ours, numeric = learned_meta_gradients(gaussian, first_order=True)
    assert ours.rates
    for name, gradient in ours.rates.items():
        assert_same(gradient[:, -1], numeric.rates[name][:, -1], rtol=1e-6, atol=1e-8)
        assert not torch.allclose(gradient[:, 0], numeric.rates[name][:, 0], rtol=1e-3)


def test_learned_step_sizes_at_their_start_are_the_given_ones(gaussian: GaussianPolicy) -> None:
    theta = random_theta(gaussian)
    params = with_task_axis(theta, NUM_TASKS)
    pre = [random_batch(gaussian, theta, NUM_TASKS, seed=seed) for seed in (0, 1, 2)]
    given, learned = (GradientRule(2, (0.5, 0.25), DICE, learned=learned) for learned in (False, True))
    rates = learned.rates(theta)
    assert rates.keys() == theta.keys()
    assert all(rate.shape == (2,) and rate.dtype == torch.float64 for rate in rates.values())
    expected = adapted(gaussian, given, Meta(params, {}), pre)  # the last size serves the third step
    actual = adapted(gaussian, learned, Meta(params, with_task_axis(rates, NUM_TASKS)), pre)
    for stage, other in zip(actual, expected, strict=True):
        assert stage.keys() == other.keys() == theta.keys()
        for name in theta:
            assert_same(stage[name], other[name], rtol=1e-6, atol=1e-7)  # the logarithms are single precision


def test_nothing_is_learned_where_sizes_are_given(gaussian: GaussianPolicy) -> None:
    assert GradientRule(2, SIZES, DICE).rates(random_theta(gaussian)) == {}


def test_learned_step_sizes_share_no_memory(gaussian: GaussianPolicy) -> None:
    rates = GradientRule(2, SIZES, DICE, learned=True).rates({n: t.float() for n, t in random_theta(gaussian).items()})
    pointers = {tensor.data_ptr() for tensor in rates.values()}
    assert len(pointers) == len(rates) > 1


def test_each_entry_moves_by_its_own_learned_step_size(gaussian: GaussianPolicy) -> None:
    theta = random_theta(gaussian)
    batch, params = random_batch(gaussian, theta, NUM_TASKS), with_task_axis(theta, NUM_TASKS)
    rule = GradientRule(1, (1.0,), DICE, learned=True)
    rates = {
        name: torch.full((NUM_TASKS, 1), float(factor), dtype=torch.float64).log() for factor, name in enumerate(theta)
    }
    unit = step(gaussian, params, batch, DICE, 1.0)
    own = adapted(gaussian, rule, Meta(params, rates), [batch])[-1]
    for factor, name in enumerate(theta):
        assert_same(own[name] - params[name], factor * (unit[name] - params[name]))


def test_steps_in_a_row_take_the_sizes_in_order_and_then_the_last_one(gaussian: GaussianPolicy) -> None:
    params = random_task_params(gaussian, NUM_TASKS)
    pre = [random_batch(gaussian, params, NUM_TASKS, seed=seed) for seed in range(3)]
    stages = adapted(gaussian, GradientRule(2, (0.5, 0.25), DICE), Meta(params, {}), pre)
    expected = [params]
    for batch, size in zip(pre, (0.5, 0.25, 0.25), strict=True):
        expected.append(step(gaussian, expected[-1], batch, DICE, size))
    for stage, other in zip(stages, expected, strict=True):
        assert all(torch.equal(stage[name], other[name]) for name in params)
    assert not torch.allclose(vector(stages[1]), vector(stages[2]), rtol=1e-3)


@LOSSES
def test_permuting_tasks_permutes_adaptation(gaussian: GaussianPolicy, loss: InnerLoss) -> None:
    params, order = random_task_params(gaussian, 4), [2, 0, 3, 1]
    batch = random_batch(gaussian, params, 4)
    expected = step(gaussian, params, batch, loss, 0.5)
    permuted = {name: tensor[order] for name, tensor in params.items()}
    actual = step(gaussian, permuted, select_tasks(batch, order), loss, 0.5)
    for name in params:
        assert_same(actual[name], expected[name][order])
        assert not torch.allclose(actual[name], expected[name], rtol=1e-3)


@LOSSES
def test_padding_changes_no_adaptation(gaussian: GaussianPolicy, loss: InnerLoss) -> None:
    params = random_task_params(gaussian, NUM_TASKS)
    batch = random_batch(gaussian, params, NUM_TASKS)
    assert not batch.valid.all()
    expected = step(gaussian, params, batch, loss, 0.5)
    actual = step(gaussian, params, padded_batch(batch), loss, 0.5)
    for name in params:
        assert_same(actual[name], expected[name])


def test_adaptation_works_where_gradients_are_switched_off_and_leaves_its_input_alone(
    gaussian: GaussianPolicy,
) -> None:
    params = random_task_params(gaussian, NUM_TASKS)
    before = vector(params).clone()
    batch = random_batch(gaussian, params, NUM_TASKS)
    expected = step(gaussian, params, batch, DICE, 0.5)
    with torch.no_grad():
        moved = step(gaussian, params, batch, DICE, 0.5)
    assert torch.equal(vector(moved), vector(expected))
    assert torch.equal(vector(params), before)
    assert not any(tensor.requires_grad for tensor in params.values())


class Regression(NamedTuple):
    """Supervised data of every task."""

    observations: Tensor
    targets: Tensor


def squared_error(outputs: Outputs, data: Any) -> Tensor:
    error: Tensor = ((outputs.distribution.mean - data.targets) ** 2).mean()
    return error


def regression_data() -> Regression:
    generator = torch.Generator().manual_seed(0)
    shape = (NUM_TASKS, 5, 4)
    return Regression(*(torch.randn((*shape, size), generator=generator, dtype=torch.float64) for size in (3, 2)))


RULES: dict[str, dict[str, Any]] = {
    "given sizes": {},
    "learned sizes": {"learned": True},
    "first order": {"first_order": True, "learned": True},
    "head only": {"entries": GAUSSIAN.head, "learned": True},
    "regression": {"loss": squared_error},
}


@pytest.mark.parametrize("name", RULES)
def test_the_jacobian_of_a_step_is_that_of_autograd_and_its_transpose_its_transpose(name: str) -> None:
    rule = GradientRule(**{"steps": 2, "step_sizes": SIZES, "loss": DICE, **RULES[name]})
    params = random_task_params(GAUSSIAN, NUM_TASKS)
    rates = with_task_axis(rule.rates({entry: tensor[0] for entry, tensor in params.items()}), NUM_TASKS)
    points = Meta(recording(params), recording(rates))
    data: Any = regression_data() if name == "regression" else random_batch(GAUSSIAN, params, NUM_TASKS)
    stepped = rule.step(GAUSSIAN, points, rule.begin(points), data, 1, create_graph=True)
    after = stepped.params
    jacobian = rule.jacobian(GAUSSIAN, Meta(params, rates), rule.begin(points), stepped, 1, bends_on=data)
    tangent, rate_tangent, cotangent = noise(params, 1), noise(rates, 2), noise(params, 3)

    pulled, rates_pulled = jacobian.transpose(cotangent)
    leaves = [*points.params.values(), *points.rates.values()]
    expected = torch.autograd.grad(list(after.values()), leaves, list(cotangent.values()), materialize_grads=True)
    for ours, theirs in zip([*pulled.values(), *rates_pulled.values()], expected, strict=True):
        assert_same(ours, theirs)

    pushed = jacobian.forward(tangent, rate_tangent)
    inner = [(pushed[entry] * cotangent[entry]).sum() for entry in params]
    outer = [(pulled[entry] * tangent[entry]).sum() for entry in params]
    outer += [(rates_pulled[entry] * rate_tangent[entry]).sum() for entry in rates]
    assert_same(torch.stack(inner).sum(), torch.stack(outer).sum())
    for entry, move in jacobian.moves.items():  # what a change of the step's own rate does
        assert_same(move, (after[entry] - params[entry]).detach())
    assert bool(jacobian.moves) == rule.learned


def noise(like: Params, seed: int) -> Params:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(tensor.shape, generator=generator, dtype=torch.float64) for name, tensor in like.items()}


def test_how_a_step_bends_may_be_seen_on_a_part_of_the_data_or_left_out(gaussian: GaussianPolicy) -> None:
    params = random_task_params(gaussian, NUM_TASKS)
    batch, part = (random_batch(gaussian, params, NUM_TASKS, seed=seed) for seed in (0, 1))
    rule, meta = GradientRule(1, (0.5,), DICE), Meta(params, {})
    tangent = noise(params, 1)
    begun = rule.begin(meta)
    after, after_part = (rule.step(gaussian, meta, begun, data, 0) for data in (batch, part))
    on_part = rule.jacobian(gaussian, meta, begun, after, 0, bends_on=part).forward(tangent, {})
    of_part = rule.jacobian(gaussian, meta, begun, after_part, 0, bends_on=part).forward(tangent, {})
    left_out = rule.jacobian(gaussian, meta, begun, after, 0, bends_on=None).forward(tangent, {})
    for name, tensor in tangent.items():
        assert torch.equal(on_part[name], of_part[name])
        assert torch.equal(left_out[name], tensor)
        assert not torch.allclose(on_part[name], tensor, rtol=1e-3)


def test_a_step_begins_at_theta_and_remembers_nothing(gaussian: GaussianPolicy) -> None:
    meta = Meta(random_task_params(gaussian, NUM_TASKS), {})
    rule = GradientRule(1, (0.5,), DICE)
    assert rule.begin(meta) == Adaptation(meta.params, ())
    batch = random_batch(gaussian, meta.params, NUM_TASKS)
    assert rule.step(gaussian, meta, rule.begin(meta), batch, 0).state == ()


@pytest.mark.parametrize("learned", [False, True], ids=["given sizes", "learned sizes"])
def test_only_the_head_adapts_where_only_the_head_is_named(gaussian: GaussianPolicy, learned: bool) -> None:
    params = random_task_params(gaussian, NUM_TASKS)
    batch = random_batch(gaussian, params, NUM_TASKS)
    head = GradientRule(1, (0.5,), DICE, learned=learned, entries=gaussian.head)
    rates = with_task_axis(head.rates({name: tensor[0] for name, tensor in params.items()}), NUM_TASKS)
    assert set(rates) == (set(gaussian.head) if learned else set())
    own, whole = adapted(gaussian, head, Meta(params, rates), [batch])[-1], step(gaussian, params, batch, DICE, 0.5)
    for name, tensor in own.items():
        assert_same(tensor, whole[name] if name in gaussian.head else params[name], rtol=1e-6, atol=1e-7)
        assert torch.equal(tensor, params[name]) == (name not in gaussian.head)


def test_regression_is_a_rule_with_another_loss(gaussian: GaussianPolicy) -> None:
    # The gradient of the output bias b of mean(x) = W h(x) + b is 2 mean(mean − target) over steps and action entries.
    params, data = random_task_params(gaussian, NUM_TASKS), regression_data()
    rule = GradientRule(1, (0.1,), squared_error)
    moved = adapted(gaussian, rule, Meta(params, {}), [data])[-1]  # type: ignore[list-item]
    error = gaussian.unroll(params, data)[0].distribution.mean - data.targets
    bias = gaussian.head[-1]
    assert_same(moved[bias], params[bias] - 0.1 * 2 * error.sum((1, 2)) / (5 * 4 * 2))
    after = gaussian.unroll(moved, data)[0].distribution.mean - data.targets
    assert (after.square().mean((1, 2, 3)) < error.square().mean((1, 2, 3)) - 1e-3).all()


@pytest.mark.parametrize("name", POLICY_GRADIENTS)
def test_the_rule_of_some_settings_is_what_they_say(gaussian: GaussianPolicy, name: Any) -> None:
    settings = DifferentiatedInnerSettings(
        inner_steps=3, inner_step_sizes=SIZES, inner_loss=name, learn_step_sizes=True, first_order=True
    )
    rule = gradient_rule(settings)
    assert (rule.steps, rule.step_sizes, rule.learned, rule.first_order, rule.entries) == (3, SIZES, True, True, None)
    params = random_task_params(gaussian, 2)
    batch = random_batch(gaussian, random_task_params(gaussian, 2, seed=1), 2)
    ours, named = (task_losses(gaussian, params, batch, loss) for loss in (rule.loss, in_form(name)))
    assert torch.equal(ours, named)
    plain = gradient_rule(InnerSettings())
    assert (plain.learned, plain.first_order) == (False, False)


def in_form(name: str) -> InnerLoss:
    forms: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
        "log_likelihood": log_likelihood,
        "likelihood_ratio": likelihood_ratio,
        "dice": dice,
    }
    return policy_gradient(forms[name])
