import numpy as np
import pytest
import torch
from torch import Tensor

from rlmaml.base.errors import NonFiniteError
from rlmaml.base.threads import torch_threads
from rlmaml.core.baseline import RIDGE, baseline_features, baseline_values, fit_baseline
from rlmaml.core.returns import discounted_sum
from rlmaml.core.types import Rollout
from tests.rlmaml.makers import assert_same, random_rollout

DISCOUNT = 0.9


def ingredients(rollout: Rollout, bootstrap: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Arguments of the fit: features, returns, valid, final features, final discounts."""
    valid = rollout.valid
    time = torch.arange(valid.shape[-1]).double().expand(valid.shape)
    lengths = valid.sum(-1).double()
    goes_on = rollout.truncated & torch.tensor(bootstrap)
    return (
        baseline_features(rollout.observations, time),
        discounted_sum(rollout.rewards, valid, DISCOUNT),
        valid,
        baseline_features(rollout.final_observations, lengths),
        DISCOUNT ** (lengths.unsqueeze(-1) - time) * goes_on.unsqueeze(-1),
    )


def ridge_regression(features: Tensor, targets: Tensor) -> Tensor:
    """Least squares on the rows of the features and of √ridge · I."""
    size = features.shape[-1]
    rows = torch.cat([features, RIDGE**0.5 * torch.eye(size, dtype=torch.float64)])
    solution = np.linalg.lstsq(rows.numpy(), torch.cat([targets, torch.zeros(size, dtype=torch.float64)]).numpy())
    return torch.from_numpy(solution[0])


def test_features_by_hand() -> None:
    features = baseline_features(torch.tensor([2.0, -20.0]), torch.tensor(50.0))
    assert features.dtype == torch.float64
    assert features.tolist() == [2.0, -10.0, 4.0, 100.0, 0.5, 0.25, 0.125, 1.0]


def test_the_fit_is_ridge_regression_of_every_task_on_its_valid_steps() -> None:
    rollout = random_rollout((3, 6, 5))
    features, returns, valid, final_features, none = ingredients(rollout, bootstrap=False)
    weights = fit_baseline(features, returns, valid, final_features, none)
    for task in range(3):
        expected = ridge_regression(features[task][valid[task]], returns[task][valid[task]])
        assert_same(weights[task], expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(weights[0], weights[1])


def test_the_fit_recovers_a_linear_value_function() -> None:
    features, _, valid, final_features, none = ingredients(random_rollout((2, 30, 9)), bootstrap=False)
    truth = torch.tensor([[1.0, -2.0, 0.5, 0.3, 0.0, 0.0, 0.0, 4.0]] * 2, dtype=torch.float64)
    truth[1] *= -3
    returns = baseline_values(features, truth) * valid
    values = baseline_values(features, fit_baseline(features, returns, valid, final_features, none))
    assert_same(values * valid, returns, rtol=1e-5, atol=1e-5)


def test_bootstrapped_targets_reproduce_the_fit() -> None:
    rollout = random_rollout((3, 6, 5))
    features, returns, valid, final_features, final_discounts = ingredients(rollout, bootstrap=True)
    weights = fit_baseline(features, returns, valid, final_features, final_discounts)
    final_values = baseline_values(final_features, weights) * rollout.truncated
    targets = discounted_sum(rollout.rewards, valid, DISCOUNT, final_values)
    plain = fit_baseline(features, returns, valid, final_features, torch.zeros_like(final_discounts))
    for task in range(3):
        expected = ridge_regression(features[task][valid[task]], targets[task][valid[task]])
        assert_same(weights[task], expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(weights, plain, rtol=0.01)


def test_a_bootstrapped_constant_by_hand() -> None:
    # One feature, the constant 1, so V = v; two steps of reward 1, cut; discount 1/2.
    # Targets: 1 + 1/2 + v/4 and 1 + v/2. Least squares: 2v = 5/2 + 3v/4, so v = 2 = 1 / (1 − 1/2).
    features, valid = torch.ones(1, 1, 2, 1, dtype=torch.float64), torch.ones(1, 1, 2, dtype=torch.bool)
    returns = torch.tensor([[[1.5, 1.0]]], dtype=torch.float64)
    final_discounts = torch.tensor([[[0.25, 0.5]]], dtype=torch.float64)
    weights = fit_baseline(features, returns, valid, features[:, :, 0], final_discounts)
    assert float(weights) == pytest.approx(2.5 / (1.25 + RIDGE), rel=1e-12)


def test_a_bootstrapped_constant_reward_is_worth_the_infinite_horizon() -> None:
    rollout = random_rollout((2, 8, 6))
    rollout = rollout._replace(
        rewards=rollout.valid.double(), truncated=torch.ones(2, 8, dtype=torch.bool), terminated=torch.zeros(2, 8) > 0
    )
    features, returns, valid, final_features, final_discounts = ingredients(rollout, bootstrap=True)
    values = baseline_values(features, fit_baseline(features, returns, valid, final_features, final_discounts))
    assert_same(values[valid], torch.full_like(values[valid], 1 / (1 - DISCOUNT)), rtol=1e-3)


def test_garbage_in_the_padding_changes_no_weight() -> None:
    features, returns, valid, final_features, final_discounts = ingredients(random_rollout(), bootstrap=True)
    assert not valid.all()
    clean = fit_baseline(features, returns, valid, final_features, final_discounts)
    dirty_features = torch.where(valid.unsqueeze(-1), features, 5.0)
    dirty = fit_baseline(dirty_features, torch.where(valid, returns, 3.0), valid, final_features, final_discounts)
    assert torch.equal(clean, dirty)


def test_each_task_is_fitted_alone() -> None:
    arguments = ingredients(random_rollout(), bootstrap=True)
    together = fit_baseline(*arguments)
    for task in range(len(together)):
        alone = fit_baseline(*(argument[task : task + 1] for argument in arguments))
        assert_same(together[task : task + 1], alone)


def test_the_ridge_grows_for_the_unsolvable_task_alone() -> None:
    # The second task's normal matrix is −ridge exactly, so that adding the ridge makes it 0.
    # A tiny feature f and a final feature g with f − g = −ridge/f, since f vanishes beside ridge/f.
    f = 2.0**-40
    features = torch.tensor([1.0, f], dtype=torch.float64).view(2, 1, 1, 1)
    final_features = torch.tensor([0.0, RIDGE / f], dtype=torch.float64).view(2, 1, 1)
    final_discounts = torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1)
    returns, valid = torch.full((2, 1, 1), 3.0, dtype=torch.float64), torch.ones(2, 1, 1, dtype=torch.bool)
    weights = fit_baseline(features, returns, valid, final_features, final_discounts)
    assert float(weights[0]) == pytest.approx(3.0 / (1 + RIDGE), rel=1e-12)
    assert float(weights[1]) == pytest.approx(3.0 * f / (-RIDGE + 10 * RIDGE), rel=1e-9)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_returns_that_are_not_finite_are_refused(value: float) -> None:
    features, returns, *others = ingredients(random_rollout(), bootstrap=False)
    returns[1, 0, 0] = value
    with pytest.raises(NonFiniteError, match="The linear baseline became NaN or infinite"):
        fit_baseline(features, returns, *others)


def test_values_of_every_task_use_its_own_weights() -> None:
    features = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])
    weights = torch.tensor([[10.0, 1.0], [0.0, -1.0]])
    assert baseline_values(features, weights).tolist() == [[12.0], [-4.0]]


def test_the_systems_are_solved_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # on two, torch 2.13 hangs or is wrong for batches of more than about a hundred features
    threads, solve = [], torch.linalg.solve_ex

    def counting(*arguments: Tensor) -> tuple[Tensor, Tensor]:
        threads.append(torch.get_num_threads())
        solution, info = solve(*arguments)
        return solution, info

    monkeypatch.setattr(torch.linalg, "solve_ex", counting)
    with torch_threads(2):
        fit_baseline(*ingredients(random_rollout(), bootstrap=True))
        assert torch.get_num_threads() == 2
    assert threads == [1]
