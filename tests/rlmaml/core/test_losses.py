"""The inner losses on an enumerated decision process, where their derivatives are known exactly."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rlmaml.base.threads import torch_threads
from rlmaml.core.distributions import Categorical, Gaussian
from rlmaml.core.losses import (
    POLICY_GRADIENTS,
    InnerLoss,
    PolicyGradient,
    clipped,
    cross_entropy,
    dice,
    is_likelihood,
    likelihood_ratio,
    log_likelihood,
    mean_over_steps,
    policy_gradient,
    squared_error,
)
from rlmaml.core.parameters import flatten, for_every_task, unflatten
from rlmaml.core.types import Examples, Meta, Outputs, Params
from rlmaml.rules.gradient_rule import GradientRule, task_losses
from tests.rlmaml import tabular
from tests.rlmaml.core.test_exploration import RULE, estimates, sample, standard_errors_off
from tests.rlmaml.families.supervised import random_examples
from tests.rlmaml.makers import assert_same, central_differences, vector
from tests.rlmaml.tabular import BANDIT, CHAIN, POLICY, Process, curvature_terms, exact_batch, rational_theta

THETA = vector(rational_theta())
STEP = 0.1
LOSSES = pytest.mark.parametrize("loss", POLICY_GRADIENTS.values(), ids=POLICY_GRADIENTS)


def one_task(numbers: Tensor) -> Params:
    """A vector of parameters as task parameters of a single task."""
    return {name: tensor.unsqueeze(0) for name, tensor in unflatten(numbers, rational_theta()).items()}


def objective(loss: PolicyGradient, process: Process) -> Callable[[Tensor], Tensor]:
    """Minus the loss on the exact batch, times the horizon: a sum over time, as the return is, not a mean."""
    batch = exact_batch(process)
    return lambda numbers: -process.horizon * task_losses(POLICY, one_task(numbers), batch, policy_gradient(loss))[0]


def hessian(function: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.as_tensor(torch.autograd.functional.hessian(function, THETA))  # type: ignore[no-untyped-call]


def exact_return(process: Process) -> Callable[[Tensor], Tensor]:
    return lambda numbers: tabular.expected_return(process, numbers)


def exact_gradient(process: Process, numbers: Tensor) -> Tensor:
    numbers = numbers.detach().requires_grad_()
    return torch.autograd.grad(tabular.expected_return(process, numbers), numbers)[0]


def test_the_enumeration_has_the_expected_return_of_backward_induction() -> None:
    for process in (CHAIN, BANDIT):
        enumerated = sum(float(p) * sum(rewards) for _, _, rewards, p in tabular.trajectories(process))
        assert enumerated == pytest.approx(float(tabular.expected_return(process, THETA)), rel=1e-12)
        first = exact_batch(process).advantages[0, :, 0].mean()
        assert float(first) == pytest.approx(enumerated, rel=1e-12)


def test_the_four_terms_add_up_to_the_hessian_of_the_expected_return() -> None:
    h1, h2, h12 = curvature_terms(CHAIN, THETA)
    assert_same(h1 + h2 + h12 + h12.T, hessian(exact_return(CHAIN)))
    assert min(term.norm() for term in (h1, h2, h12)) > 0.1


@LOSSES
def test_the_gradient_is_the_exact_policy_gradient(loss: PolicyGradient) -> None:
    numbers = THETA.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(loss, CHAIN)(numbers), numbers)
    assert_same(gradient, exact_gradient(CHAIN, THETA))
    assert gradient.norm() > 0.1


def test_the_hessian_of_dice_is_exact() -> None:
    assert_same(hessian(objective(dice, CHAIN)), hessian(exact_return(CHAIN)))


def test_the_hessian_of_the_likelihood_ratio_misses_h12_and_its_transpose() -> None:
    h12 = curvature_terms(CHAIN, THETA).h12
    assert_same(hessian(objective(likelihood_ratio, CHAIN)), hessian(exact_return(CHAIN)) - h12 - h12.T)
    assert (h12 + h12.T).norm() > 0.1


def test_the_hessian_of_the_log_likelihood_is_h2_alone() -> None:
    assert_same(hessian(objective(log_likelihood, CHAIN)), curvature_terms(CHAIN, THETA).h2)


@pytest.mark.parametrize("loss", [likelihood_ratio, dice])
def test_in_a_bandit_the_likelihood_ratio_is_exact_too(loss: PolicyGradient) -> None:
    exact = hessian(exact_return(BANDIT))
    assert_same(hessian(objective(loss, BANDIT)), exact)
    assert (hessian(objective(log_likelihood, BANDIT)) - exact).norm() > 0.1


def adapted_meta_gradient(loss: PolicyGradient) -> Tensor:
    """Gradient of J(adapt(θ)) through one inner step of size 0.1 on the return, by the production code."""
    points = {name: tensor.clone().requires_grad_() for name, tensor in one_task(THETA).items()}
    batch = exact_batch(CHAIN)
    rule, meta = GradientRule(1, (STEP * CHAIN.horizon,), policy_gradient(loss)), Meta(points, {})
    adapted = rule.step(POLICY, meta, rule.begin(meta), batch, 0, create_graph=True).params
    outer = exact_gradient(CHAIN, flatten(adapted.values()))
    return flatten(torch.autograd.grad(flatten(adapted.values()), list(points.values()), outer))


def return_after_adaptation(numbers: Tensor) -> Tensor:
    """J(θ + α ∇J(θ)), exactly."""
    return tabular.expected_return(CHAIN, numbers + STEP * exact_gradient(CHAIN, numbers))


MISSING: dict[str, Callable[[tabular.Curvature], Tensor]] = {
    "log_likelihood": lambda terms: terms.h1 + terms.h12 + terms.h12.T,
    "likelihood_ratio": lambda terms: terms.h12 + terms.h12.T,
    "dice": lambda terms: torch.zeros_like(terms.h12),
}


@pytest.mark.parametrize("name", POLICY_GRADIENTS)
def test_the_meta_gradient_is_exact_but_for_the_known_term(name: str) -> None:
    exact = central_differences(return_after_adaptation, THETA)
    outer = exact_gradient(CHAIN, THETA + STEP * exact_gradient(CHAIN, THETA))
    bias = STEP * MISSING[name](curvature_terms(CHAIN, THETA)) @ outer
    assert_same(adapted_meta_gradient(POLICY_GRADIENTS[name]), exact - bias, rtol=1e-7, atol=1e-8)
    assert (bias.norm() > 0.01) == (name != "dice")


def direction(count: int) -> Tensor:
    return torch.linspace(-1, 1, count, dtype=torch.float64)


def second_derivatives(loss: PolicyGradient, num_tasks: int = 2000) -> Tensor:
    """Of the return along a direction, from a single sampled episode of each task."""
    theta = for_every_task(Meta(rational_theta(), {}), num_tasks).params
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in theta.items()}
    losses = task_losses(POLICY, leaves, sample(CHAIN, theta, 1, seed=0), policy_gradient(loss))
    first = torch.autograd.grad(-CHAIN.horizon * losses.sum(), list(leaves.values()), create_graph=True)
    gradients = torch.cat([part.flatten(1) for part in first], 1)
    along = (gradients * direction(gradients.shape[1])).sum()
    return torch.cat([part.flatten(1) for part in torch.autograd.grad(along, list(leaves.values()))], 1)


@pytest.mark.parametrize("name", POLICY_GRADIENTS)
def test_second_derivatives_from_sampled_episodes_are_unbiased_with_dice_alone(name: str) -> None:
    exact = hessian(exact_return(CHAIN)) @ direction(len(THETA))
    off = float(standard_errors_off(second_derivatives(POLICY_GRADIENTS[name], num_tasks=40_000), exact).max())
    assert off < 4 if name == "dice" else off > 5


def test_second_derivatives_of_the_likelihood_ratio_vary_less_from_episode_to_episode_than_those_of_dice() -> None:
    # arXiv 1810.06784, section 5: low-variance curvature
    ours, others = (
        (found - found.mean(0)).square().sum(1) for found in map(second_derivatives, (likelihood_ratio, dice))
    )
    less = others - ours
    assert float(less.mean()) > 5 * float(less.std()) / len(less) ** 0.5


def test_meta_gradients_through_the_likelihood_ratio_vary_less_from_task_to_task_than_those_through_dice() -> None:
    # of episodes of eight steps; of three, after which little is still to come, they vary as much
    long = CHAIN._replace(horizon=8)
    ours, others = (
        estimates(long, credited=False, rule=dataclasses.replace(RULE, loss=policy_gradient(loss)))
        for loss in (likelihood_ratio, dice)
    )
    less = (others - others.mean(0)).square().sum(1) - (ours - ours.mean(0)).square().sum(1)
    assert float(less.mean()) > 5 * float(less.std()) / len(less) ** 0.5


def random_steps() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    log_ratio, rewards = (torch.randn((4, 5), generator=generator, dtype=torch.float64) for _ in range(2))
    return 0.3 * log_ratio, rewards, torch.ones(4, 5, dtype=torch.bool)


def test_dice_with_returns_to_go_is_the_sum_of_products_times_rewards() -> None:
    # Σ_t (□_t − □_{t−1}) Σ_{k ≥ t} r_k telescopes to Σ_t (□_t − 1) r_t.
    log_ratio, rewards, valid = random_steps()
    to_go = rewards.flip(-1).cumsum(-1).flip(-1)
    products = log_ratio.exp().cumprod(-1)
    assert_same(dice(log_ratio, to_go, valid), -((products - 1) * rewards).mean())


def test_the_losses_by_hand() -> None:
    # ratios 2 and 3, advantages 5 and −1
    log_ratio, advantages = torch.tensor([[2.0, 3.0]]).double().log(), torch.tensor([[5.0, -1.0]]).double()
    valid = torch.ones(1, 2, dtype=torch.bool)
    log2, log3 = log_ratio[0]
    assert_same(log_likelihood(log_ratio, advantages, valid), -(5 * log2 - log3) / 2)
    assert float(likelihood_ratio(log_ratio, advantages, valid)) == pytest.approx(-(2 * 5 - 3) / 2)
    assert float(dice(log_ratio, advantages, valid)) == pytest.approx(-((2 - 1) * 5 - (6 - 2)) / 2)


@LOSSES
def test_padding_changes_neither_a_loss_nor_its_gradient(loss: PolicyGradient) -> None:
    log_ratio, advantages, valid = random_steps()
    valid[1, 3:] = False
    valid[2, 1:] = False

    def value_and_gradient(ratio: Tensor, advantage: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        ratio = ratio.clone().requires_grad_()
        value = loss(ratio, advantage, counts)
        return value.detach(), torch.autograd.grad(value, ratio)[0]

    clean = value_and_gradient(torch.where(valid, log_ratio, 0.0), torch.where(valid, advantages, 0.0), valid)
    garbage = torch.full((4, 2), 2.0, dtype=torch.float64)
    dirty = value_and_gradient(
        torch.cat([torch.where(valid, log_ratio, -3.0), garbage], -1),
        torch.cat([torch.where(valid, advantages, 9.0), garbage], -1),
        torch.cat([valid, garbage < 0], -1),
    )
    assert_same(dirty[0], clean[0])
    assert_same(dirty[1][:, :5], clean[1])
    assert not dirty[1][:, 5:].any()


def test_a_mean_over_many_steps_does_not_depend_on_the_number_of_threads() -> None:
    values = torch.randn((400, 100), generator=torch.Generator().manual_seed(0))
    one = mean_over_steps(values, values < 1)
    with torch_threads(2):
        assert torch.equal(mean_over_steps(values, values < 1), one)


def test_a_mean_over_steps_weighs_steps_not_episodes() -> None:
    # (1 + 2 + 3 + 10) / 4 = 4, not the mean of 2 and 10
    values = torch.tensor([[1.0, 2.0, 3.0], [10.0, 99.0, 99.0]])
    valid = torch.tensor([[True, True, True], [True, False, False]])
    assert float(mean_over_steps(values, valid)) == 4.0


@LOSSES
def test_the_inner_loss_of_a_form_is_the_form_on_the_log_ratio_to_what_sampled_and_on_inner_advantages(
    loss: PolicyGradient,
) -> None:
    batch = exact_batch(CHAIN)
    moved = one_task(THETA + 0.3 * torch.linspace(-1, 1, len(THETA), dtype=torch.float64))
    outputs, _ = POLICY.unroll(moved, batch)
    log_ratio = outputs.distribution.log_prob(batch.actions) - batch.log_probs
    assert log_ratio.abs().amax() > 0.01
    expected = loss(log_ratio[0], batch.advantages[0], batch.valid[0])
    one = type(batch)(*(field[0] for field in batch))._replace(advantages=torch.full_like(batch.advantages[0], 5.0))
    said = Outputs(type(outputs.distribution)(*(field[0] for field in outputs.distribution)))
    assert torch.equal(policy_gradient(loss)(said, one), expected)


def test_a_mean_over_no_steps_is_zero() -> None:
    assert float(mean_over_steps(torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool))) == 0.0


def test_the_clipped_loss_by_hand() -> None:
    # ratios 1.5, 0.5, 1.1, 0.5 at advantages 2, 2, −1, −1 with a clip of 0.3:
    # 1.3 · 2, 0.5 · 2, −1.1, and −0.7, which is the lesser
    log_ratio = torch.tensor([[1.5, 0.5, 1.1, 0.5, 9.0]]).log()
    advantages = torch.tensor([[2.0, 2.0, -1.0, -1.0, 5.0]])
    valid = torch.tensor([[True, True, True, True, False]])
    assert float(clipped(log_ratio, advantages, valid, 0.3)) == pytest.approx(-(2.6 + 1.0 - 1.1 - 0.7) / 4)


def fitted(outputs: Outputs, data: Examples) -> Tensor:
    """Twice the negative log-likelihood, of a deviation that is fitted, and 1."""
    return 2.0 * cross_entropy(outputs, data) + 1.0


def absolute(outputs: Outputs, data: Examples) -> Any:
    return (outputs.distribution.mean - data.targets).abs().mean()


def of_two_scales(outputs: Outputs, data: Examples) -> Any:
    """A squared error that counts the first number more than the Gaussian does."""
    return ((outputs.distribution.mean - data.targets).square() * torch.tensor([3.0, 1.0])).mean()


def half_fitted(outputs: Outputs, data: Examples) -> Any:
    """The deviation is fitted to something else."""
    return cross_entropy(outputs, data) + outputs.distribution.log_std.square().sum()


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(squared_error, True), (fitted, True), (absolute, False), (of_two_scales, False), (half_fitted, False)],
)
def test_a_loss_is_known_for_the_negative_log_likelihood_of_a_gaussian(loss: InnerLoss, expected: bool) -> None:
    examples = Examples(*(field[0] for field in random_examples(1)))
    said = Gaussian(torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), torch.full((5, 2), 0.3))
    assert is_likelihood(loss, said, examples) == expected
    assert not is_likelihood(lambda outputs, data: -loss(outputs, data), said, examples)


def test_a_loss_is_known_for_the_negative_log_likelihood_of_a_choice() -> None:
    examples = Examples(*(field[0] for field in random_examples(1)))._replace(targets=torch.tensor([0, 2, 1, 1, 0]))
    said = Categorical(torch.zeros(5, 3))
    assert is_likelihood(cross_entropy, said, examples)
    assert not is_likelihood(lambda outputs, data: cross_entropy(outputs, data).square(), said, examples)
