import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.core.losses import POLICY_GRADIENTS, InnerLoss, dice, likelihood_ratio, log_likelihood, policy_gradient
from rlmaml.core.parameters import as_meta, flatten, meta_vector, unflatten, with_task_axis
from rlmaml.core.policy import Policy
from rlmaml.core.types import Adaptation, Batch, Meta, Outputs, Params
from rlmaml.policies.gaussian import GaussianPolicy
from rlmaml.rules.gradient_rule import GradientRule, Towards, gradient_rule, task_losses
from rlmaml.rules.rates import PerEntry, PerParameter, Rates
from rlmaml.settings.inner import DifferentiatedInnerSettings, InnerSettings
from tests.rlmaml.makers import (
    assert_same,
    categorical_policy,
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


PER_ENTRY = PerEntry()


def learned_meta_gradients(
    policy: GaussianPolicy, first_order: bool = False, learned: Rates = PER_ENTRY, **changes: Any
) -> tuple[Meta, Meta]:
    """Ours and that of finite differences, with respect to the parameters and the learned step sizes."""
    theta = random_theta(policy)
    rule = GradientRule(2, SIZES, policy_gradient(log_likelihood), learned=learned, first_order=first_order, **changes)
    pre = [random_batch(policy, theta, 1, seed=seed) for seed in (0, 1)]
    post = random_batch(policy, theta, 1, seed=2)
    rates = {name: rate + 0.3 * noise({name: rate}, 4)[name] for name, rate in rule.rates(theta).items()}
    meta = Meta(*({name: tensor.unsqueeze(0) for name, tensor in part.items()} for part in (theta, rates)))
    assert learned == PerEntry() or any((rate < 0).any() and (rate > 0).any() for rate in rates.values())
    ours = meta_gradient(policy, rule, meta, pre, post)
    return ours, numeric_meta_gradient(policy, rule, meta, pre, post)


@pytest.mark.parametrize("learned", [PerEntry(), PerParameter()], ids=["per entry", "per parameter, signs included"])
def test_learned_step_sizes_have_the_gradient_of_finite_differences(gaussian: GaussianPolicy, learned: Rates) -> None:
    ours, numeric = learned_meta_gradients(gaussian, learned=learned)
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


def test_the_meta_gradient_passes_what_holds_task_parameters_near_theta(gaussian: GaussianPolicy) -> None:
    ours, numeric = learned_meta_gradients(gaussian, towards=Towards(l2=0.4, kl=0.7))
    free, _ = learned_meta_gradients(gaussian)
    for name, expected in numeric.params.items():
        assert_same(ours.params[name], expected, rtol=1e-6, atol=1e-8)
        assert not torch.allclose(free.params[name], expected, rtol=1e-3)


@pytest.mark.parametrize("learned", [PerEntry(), PerParameter()], ids=["per entry", "per parameter"])
def test_learned_step_sizes_at_their_start_are_the_given_ones(gaussian: GaussianPolicy, learned: Rates) -> None:
    theta = random_theta(gaussian)
    params = with_task_axis(theta, NUM_TASKS)
    pre = [random_batch(gaussian, theta, NUM_TASKS, seed=seed) for seed in (0, 1, 2)]
    given, own = (GradientRule(2, (0.5, 0.25), DICE, learned=each) for each in (None, learned))
    rates = own.rates(theta)
    assert rates.keys() == theta.keys()
    for name, rate in rates.items():
        assert rate.shape == ((2,) if learned == PerEntry() else (2, *theta[name].shape))
        assert rate.dtype == torch.float64
    expected = adapted(gaussian, given, Meta(params, {}), pre)  # the last size serves the third step
    actual = adapted(gaussian, own, Meta(params, with_task_axis(rates, NUM_TASKS)), pre)
    for stage, other in zip(actual, expected, strict=True):
        assert stage.keys() == other.keys() == theta.keys()
        for name in theta:
            assert_same(stage[name], other[name], rtol=1e-6, atol=1e-7)  # the logarithms are single precision


def test_nothing_is_learned_where_sizes_are_given(gaussian: GaussianPolicy) -> None:
    assert GradientRule(2, SIZES, DICE).rates(random_theta(gaussian)) == {}


@pytest.mark.parametrize("learned", [PerEntry(), PerParameter()], ids=["per entry", "per parameter"])
def test_learned_step_sizes_share_no_memory(gaussian: GaussianPolicy, learned: Rates) -> None:
    rates = GradientRule(2, SIZES, DICE, learned=learned).rates(
        {n: t.float() for n, t in random_theta(gaussian).items()}
    )
    pointers = {tensor.data_ptr() for tensor in rates.values()}
    assert len(pointers) == len(rates) > 1


def test_each_entry_moves_by_its_own_learned_step_size(gaussian: GaussianPolicy) -> None:
    theta = random_theta(gaussian)
    batch, params = random_batch(gaussian, theta, NUM_TASKS), with_task_axis(theta, NUM_TASKS)
    rule = GradientRule(1, (1.0,), DICE, learned=PerEntry())
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
    "learned sizes": {"learned": PerEntry()},
    "a size for every parameter": {"learned": PerParameter()},
    "first order": {"first_order": True, "learned": PerEntry()},
    "head only": {"entries": GAUSSIAN.head, "learned": PerEntry()},
    "regression": {"loss": squared_error},
}


@pytest.mark.parametrize("name", RULES)
def test_the_jacobian_of_a_step_is_that_of_autograd_and_its_transpose_its_transpose(name: str) -> None:
    rule = GradientRule(**{"steps": 2, "step_sizes": SIZES, "loss": DICE, **RULES[name]})
    params = random_task_params(GAUSSIAN, NUM_TASKS)
    start = with_task_axis(rule.rates({entry: tensor[0] for entry, tensor in params.items()}), NUM_TASKS)
    rates = {entry: (rate + 0.3 * noise(start, 4)[entry]).detach() for entry, rate in start.items()}
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
        size = rates[entry][:, 1] if rule.learned == PerParameter() else 1.0
        assert_same(move * size, (after[entry] - params[entry]).detach())
    assert bool(jacobian.moves) == (rule.learned is not None)


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


@pytest.mark.parametrize("learned", [None, PerEntry()], ids=["given sizes", "learned sizes"])
def test_only_the_head_adapts_where_only_the_head_is_named(gaussian: GaussianPolicy, learned: PerEntry | None) -> None:
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
        inner_steps=3, inner_step_sizes=SIZES, inner_loss=name, learn_step_sizes=True, first_order_until=4
    )
    rule = gradient_rule(settings, gaussian)
    assert (rule.steps, rule.step_sizes, rule.learned, rule.first_order_until) == (3, SIZES, PerEntry(), 4)
    assert (rule.first_order, rule.entries, rule.reset, rule.towards) == (False, None, (), Towards())
    params = random_task_params(gaussian, 2)
    batch = random_batch(gaussian, random_task_params(gaussian, 2, seed=1), 2)
    ours, named = (task_losses(gaussian, params, batch, loss) for loss in (rule.loss, in_form(name)))
    assert torch.equal(ours, named)
    plain = gradient_rule(InnerSettings(), gaussian)
    assert (plain.learned, plain.first_order) == (None, False)
    signed = DifferentiatedInnerSettings(learn_step_sizes=True, step_sizes_per="parameter")
    assert gradient_rule(signed, gaussian).learned == PerParameter()
    held = gradient_rule(InnerSettings(inner_steps=2, inner_l2=0.1, inner_kl=0.2, parameter_noise=0.3), gaussian)
    assert held.towards == Towards(0.1, 0.2, 0.3)
    assert gradient_rule(InnerSettings(adapt="head"), gaussian).entries == gaussian.head
    with_std = gradient_rule(InnerSettings(adapt="head", adapt_std=True), gaussian)
    assert with_std.entries == (*gaussian.head, *gaussian.exploration)


def in_form(name: str) -> InnerLoss:
    forms: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
        "log_likelihood": log_likelihood,
        "likelihood_ratio": likelihood_ratio,
        "dice": dice,
    }
    return policy_gradient(forms[name])


def linear_meta(weight: float) -> tuple[GaussianPolicy, Params]:
    """Mean ``weight · o``, standard deviation 1, for one task."""
    policy = gaussian_policy(1, 1, hidden=())
    params = {
        "layer0.weight": torch.tensor([[[weight]]]),
        "layer0.bias": torch.zeros(1, 1),
        "log_std": torch.zeros(1, 1),
    }
    return policy, {name: tensor.double() for name, tensor in params.items()}


def test_what_holds_task_parameters_near_theta_by_hand() -> None:
    # Theta's mean is o, the task's 1.5 o; at o = 2 they differ by 1, so that KL(π_θ ‖ π_φ) = 1/2 has the derivatives
    # 1 · o = 2 for the weight, 1 for the bias and 1 − (1 + 1²) = −1 for the logarithm of the deviation.
    policy, theta = linear_meta(1.0)
    _, task = linear_meta(1.5)
    shape = (1, 5, 4)
    nothing, valid = torch.zeros(shape).double(), torch.ones(shape, dtype=torch.bool)
    seen, done = torch.full((*shape, 1), 2.0).double(), torch.zeros((*shape, 1)).double()
    batch = Batch(seen, done, nothing, nothing, nothing, valid, nothing, nothing)
    rule = GradientRule(2, (0.1,), policy_gradient(log_likelihood), towards=Towards(l2=0.3, kl=0.7))
    stepped = rule.step(policy, Meta(theta, {}), Adaptation(task), batch, 1).params
    assert float(stepped["layer0.weight"]) == pytest.approx(1.5 - 0.1 * (0.3 * 0.5 + 0.7 * 2))
    assert float(stepped["layer0.bias"]) == pytest.approx(-0.1 * 0.7)
    assert float(stepped["log_std"]) == pytest.approx(0.1 * 0.7)


def test_noise_on_parameters_is_each_tasks_own_and_of_training_alone(gaussian: GaussianPolicy) -> None:
    theta = random_theta(gaussian)
    params = {name: tensor.detach() for name, tensor in with_task_axis(theta, NUM_TASKS).items()}
    batch = random_batch(gaussian, theta, NUM_TASKS)
    rule = GradientRule(2, (0.5,), DICE, towards=Towards(noise=0.25), entries=gaussian.head)

    def noise_of(streams: RandomStreams | None, k: int = 0, tasks: Sequence[int] = range(NUM_TASKS)) -> Params:
        part = Batch(*(field[list(tasks)] for field in batch))
        own = Meta({name: tensor[list(tasks)] for name, tensor in params.items()}, {})
        still = dataclasses.replace(rule, towards=Towards())
        shaken, calm = (each.step(gaussian, own, each.begin(own), part, k, streams).params for each in (rule, still))
        return {name: (shaken[name] - calm[name]) / 0.25 for name in shaken}

    first = noise_of(RandomStreams(3, iteration=2, tasks=range(NUM_TASKS)))
    for name, drawn in first.items():
        assert (drawn == 0).all() == (name not in gaussian.head)
    drawn = flatten(first[name] for name in gaussian.head)
    assert len(set(drawn.tolist())) == len(drawn)
    assert 0.5 < float(drawn.std()) < 1.5
    alone = noise_of(RandomStreams(3, iteration=2, tasks=[1]), tasks=[1])
    for name, part in alone.items():
        assert_same(part[0], first[name][1], atol=1e-9)
    others = [
        noise_of(RandomStreams(3, iteration=2, tasks=range(NUM_TASKS)), k=1),
        noise_of(RandomStreams(3, iteration=1, tasks=range(NUM_TASKS))),
        noise_of(RandomStreams(4, iteration=2, tasks=range(NUM_TASKS))),
    ]
    for other in others:
        assert not torch.allclose(other[gaussian.head[0]], first[gaussian.head[0]], atol=0.01)
    for streams in (None, RandomStreams(3, Phase.EVALUATION, 2, range(NUM_TASKS))):
        assert not any(tensor.any() for tensor in noise_of(streams).values())


def test_derivatives_are_of_first_order_before_a_meta_iteration_and_of_second_from_it_on() -> None:
    rule = GradientRule(1, (0.5,), DICE, first_order_until=3)
    assert [rule.during(iteration).first_order for iteration in range(5)] == [True, True, True, False, False]
    assert rule.during(3) is rule


@pytest.mark.parametrize("size", [1, 2, 9])
@pytest.mark.parametrize("make", [gaussian_policy, categorical_policy], ids=["gaussian", "categorical"])
def test_a_context_begins_at_0_and_nothing_but_it_adapts(make: Callable[..., Policy], size: int) -> None:
    policy = make(context=size)
    theta = random_theta(policy)
    assert theta["context"].all()
    meta = Meta(with_task_axis(theta, NUM_TASKS), {})
    rule = gradient_rule(InnerSettings(adapt="context", inner_step_sizes=(0.5,)), policy)
    begun = rule.begin(meta)
    assert not begun.params["context"].any()
    batch = random_batch(policy, theta, NUM_TASKS)
    stepped = rule.step(policy, meta, begun, batch, 0).params
    for name, tensor in stepped.items():
        assert torch.equal(tensor, begun.params[name]) == (name != "context")
    order = [2, 0, 1]
    permuted = stepped | {"context": stepped["context"][order]}
    before = {name: tensor.clone() for name, tensor in permuted.items()}
    seen = Batch(*(field[:1].expand_as(field) for field in batch))
    ours, theirs = (policy.unroll(params, seen)[0].distribution for params in (permuted, stepped))
    assert_same(ours.entropy(), theirs.entropy()[order])
    log_probs = theirs.log_prob(seen.actions)
    assert_same(ours.log_prob(seen.actions), log_probs[order])
    assert not torch.allclose(log_probs[0], log_probs[1], rtol=1e-3)
    assert all(torch.equal(permuted[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("learned", [PerEntry(), PerParameter()], ids=["per entry", "per parameter"])
def test_noise_on_parameters_is_no_part_of_what_a_learned_size_moves(gaussian: GaussianPolicy, learned: Rates) -> None:
    theta = random_theta(gaussian)
    batch, params = random_batch(gaussian, theta, NUM_TASKS), with_task_axis(theta, NUM_TASKS)
    moves = []
    for noisy in (0.0, 0.5):
        rule = GradientRule(1, (0.1,), DICE, learned=learned, towards=Towards(noise=noisy))
        meta = Meta(params, with_task_axis(rule.rates(theta), NUM_TASKS))
        after = rule.step(gaussian, meta, rule.begin(meta), batch, 0, RandomStreams(0, tasks=range(NUM_TASKS)))
        moves.append(rule.jacobian(gaussian, meta, rule.begin(meta), after, 0, bends_on=None).moves)
    assert all(torch.equal(moves[1][name], tensor) for name, tensor in moves[0].items())
