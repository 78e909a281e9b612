import numpy as np
import pytest
import torch
from torch import Tensor

from rlmaml.base.errors import NonFiniteError, UserError
from rlmaml.base.threads import torch_threads
from rlmaml.core.baseline import (
    BOOTSTRAP_EPISODES,
    BOOTSTRAP_LAMBDA,
    RIDGE,
    baseline_features,
    baseline_values,
    bootstrapped_values,
    fit_baseline,
    fixed_horizon_values,
    value_level,
)
from rlmaml.core.returns import discounted_sum, temporal_differences
from rlmaml.core.types import Rollout
from tests.rlmaml.core.known_values import Known, distracting, known, linear_process, two_hundred_problems
from tests.rlmaml.makers import assert_same, random_rollout

DISCOUNT = 0.9


def ingredients(rollout: Rollout) -> tuple[Tensor, Tensor, Tensor]:
    """Arguments of the papers' fit: features, returns, valid."""
    valid = rollout.valid
    time = torch.arange(valid.shape[-1]).double().expand(valid.shape)
    return baseline_features(rollout.observations, time), discounted_sum(rollout.rewards, valid, DISCOUNT), valid


def bootstrapped(rollout: Rollout, discount: float = DISCOUNT) -> tuple[Tensor, Tensor]:
    """Values of all steps, and after the last ones."""
    return bootstrapped_values(
        rollout.observations, rollout.final_observations, rollout.rewards, rollout.valid, rollout.truncated, discount
    )


def level_of(rollout: Rollout, discount: float = DISCOUNT) -> Tensor:
    return value_level(rollout.rewards, rollout.valid, rollout.truncated, discount)


def far_beyond() -> Rollout:
    """Rewards grow with an observation, and the last ones lie where the line of the values has left its bound."""
    rollout = random_rollout((2, 5, 6))
    return rollout._replace(
        rewards=rollout.observations[..., 0].clamp(-1, 1) * rollout.valid,
        final_observations=10.0 * rollout.final_observations,
    )


def root_mean_square(values: Tensor, valid: Tensor) -> Tensor:
    """Per task, over its valid steps."""
    return ((values * valid).square().sum((1, 2)) / valid.sum((1, 2))).sqrt()


def deviation(values: Tensor, valid: Tensor) -> Tensor:
    """Standard deviation per task over its valid steps: the size of the shape, without the level."""
    mean = (values * valid).sum((1, 2), keepdim=True) / valid.sum((1, 2), keepdim=True)
    return root_mean_square(values - mean, valid)


def largest_value(problem: Known) -> Tensor:
    """What the largest reward of each task would be worth in every step."""
    return problem.rollout.rewards.abs().amax((1, 2)) / (1 - problem.discount)


@pytest.fixture(scope="module")
def problems() -> list[tuple[Known, Tensor, Tensor]]:
    """Two hundred problems, their bootstrapped values and those after the last steps."""
    return [(problem, *bootstrapped(problem.rollout, problem.discount)) for problem in two_hundred_problems()]


def ridge_regression(features: Tensor, targets: Tensor, shrinkage: float = 0.0) -> Tensor:
    """Least squares on the rows of the features and of the square root of the penalty."""
    size = features.shape[-1]
    penalty = RIDGE + shrinkage * features.square().sum(0)
    rows = torch.cat([features, penalty.sqrt().diag()])
    solution = np.linalg.lstsq(rows.numpy(), torch.cat([targets, torch.zeros(size, dtype=torch.float64)]).numpy())
    return torch.from_numpy(solution[0])


def test_features_by_hand() -> None:
    features = baseline_features(torch.tensor([2.0, -20.0]), torch.tensor(50.0))
    assert features.dtype == torch.float64
    assert features.tolist() == [2.0, -10.0, 4.0, 100.0, 0.5, 0.25, 0.125, 1.0]


def test_the_fit_is_ridge_regression_of_every_task_on_its_valid_steps() -> None:
    features, returns, valid = ingredients(random_rollout((3, 6, 5)))
    weights = fit_baseline(features, returns, valid)
    for task in range(3):
        expected = ridge_regression(features[task][valid[task]], returns[task][valid[task]])
        assert_same(weights[task], expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(weights[0], weights[1])


def test_the_fit_recovers_a_linear_value_function() -> None:
    features, _, valid = ingredients(random_rollout((2, 30, 9)))
    truth = torch.tensor([[1.0, -2.0, 0.5, 0.3, 0.0, 0.0, 0.0, 4.0]] * 2, dtype=torch.float64)
    truth[1] *= -3
    returns = baseline_values(features, truth) * valid
    values = baseline_values(features, fit_baseline(features, returns, valid))
    assert_same(values * valid, returns, rtol=1e-5, atol=1e-5)


def test_the_values_of_a_fixed_horizon_are_those_of_the_fit() -> None:
    rollout = random_rollout()
    features, returns, valid = ingredients(rollout)
    expected = baseline_values(features, fit_baseline(features, returns, valid))
    assert torch.equal(fixed_horizon_values(rollout.observations, rollout.rewards, valid, DISCOUNT), expected)


def test_further_episodes_shrink_by_hand() -> None:
    # One feature: 1 and 2 in two episodes, targets 3 and 4. Four further episodes: (5 + 4/2 · 5) w = 3 + 8.
    features = torch.tensor([1.0, 2.0], dtype=torch.float64).view(1, 2, 1, 1)
    targets = torch.tensor([3.0, 4.0], dtype=torch.float64).view(1, 2, 1)
    weights = fit_baseline(features, targets, torch.ones(1, 2, 1, dtype=torch.bool), further_episodes=4.0)
    assert float(weights) == pytest.approx(11 / (15 + RIDGE), rel=1e-12)


def test_the_level_by_hand() -> None:
    # discount 1/2; two steps of 1 and 2 that are cut, one step of 3 that terminates: c = 6 / (3/2 + 1/2) = 3,
    # and its temporal differences 1 + 3/2 − 3, 2 + 3/2 − 3 and 3 + 0 − 3 add up to 0
    valid = torch.tensor([[[True, True], [True, False]]])
    rewards = torch.tensor([[[1.0, 2.0], [3.0, 50.0]]])
    assert value_level(rewards, valid, torch.tensor([[True, False]]), 0.5).tolist() == [3.0]


def test_temporal_differences_of_the_level_add_up_to_0() -> None:
    rollout = random_rollout()
    level = level_of(rollout)
    constant = level.view(-1, 1, 1).expand(rollout.valid.shape)
    final = constant[..., 0] * rollout.truncated
    differences = temporal_differences(rollout.rewards, constant, final, rollout.valid, DISCOUNT)
    assert level.abs().min() > 0.01
    assert_same(differences.sum((1, 2)), torch.zeros(3).double(), atol=1e-12)


def test_a_bootstrapped_value_is_the_level_and_a_regression_on_returns_that_go_on_with_it() -> None:
    rollout = random_rollout((3, 6, 5))
    rollout = rollout._replace(rewards=rollout.rewards + 2.0 * rollout.valid)  # no value comes near the bound
    values, final_values = bootstrapped(rollout)
    for task, level in enumerate(level_of(rollout)):
        valid, rewards = rollout.valid[task], rollout.rewards[task]
        targets = torch.zeros_like(rewards)
        for episode in range(6):
            after = total = level * rollout.truncated[task, episode]
            for t in reversed(range(int(valid[episode].sum()))):
                total = rewards[episode, t] + DISCOUNT * ((1 - BOOTSTRAP_LAMBDA) * after + BOOTSTRAP_LAMBDA * total)
                targets[episode, t], after = total, level
        seen = rollout.observations[task][valid]
        features = torch.cat([seen, seen**2], -1)
        weights = ridge_regression(features - features.mean(0), (targets[valid] - level), BOOTSTRAP_EPISODES / 6)
        assert_same(values[task][valid], level + (features - features.mean(0)) @ weights, rtol=1e-6, atol=1e-6)
        seen = rollout.final_observations[task]
        expected = level + (torch.cat([seen, seen**2], -1) - features.mean(0)) @ weights
        assert_same(final_values[task], expected * rollout.truncated[task], rtol=1e-6, atol=1e-6)
    assert (values - level_of(rollout).view(-1, 1, 1)).abs().max() > 0.1


@pytest.mark.parametrize("discount", [0.0, 0.9, 0.99, 0.995])
def test_a_reward_that_never_ends_is_worth_the_infinite_horizon(discount: float) -> None:
    rollout = random_rollout((2, 8, 6))
    rollout = rollout._replace(rewards=rollout.valid.double(), truncated=torch.ones(2, 8, dtype=torch.bool))
    values, final_values = bootstrapped(rollout, discount)
    assert_same(values, torch.full_like(values, 1 / (1 - discount)))
    assert_same(final_values, torch.full_like(final_values, 1 / (1 - discount)))


def test_what_always_terminates_at_once_is_worth_its_mean_reward() -> None:
    rollout = random_rollout((2, 8, 1))
    rollout = rollout._replace(truncated=torch.zeros(2, 8, dtype=torch.bool))
    assert_same(level_of(rollout), rollout.rewards.mean((1, 2)))
    values, final_values = bootstrapped(rollout._replace(rewards=torch.full((2, 8, 1), -3.0)))
    assert_same(values, torch.full_like(values, -3.0))
    assert not final_values.any()


@pytest.mark.parametrize("truncated", [True, False])
def test_without_rewards_every_value_is_0(truncated: bool) -> None:
    rollout = random_rollout()
    values, final_values = bootstrapped(
        rollout._replace(
            rewards=torch.zeros_like(rollout.rewards), truncated=torch.full_like(rollout.truncated, truncated)
        )
    )
    assert not values.any()
    assert not final_values.any()


def test_bootstrapped_values_do_not_look_at_the_time() -> None:
    rollout = random_rollout((1, 4, 6))
    rollout.observations[0, 0, 5] = rollout.observations[0, 0, 1]
    values, _ = bootstrapped(rollout)
    assert values[0, 0, 5] == values[0, 0, 1] != values[0, 0, 2]


def test_no_value_is_beyond_what_the_largest_reward_is_worth() -> None:
    rollout = far_beyond()
    bound = rollout.rewards.abs().amax((1, 2)) / (1 - DISCOUNT)
    values, final_values = bootstrapped(rollout)
    assert (values.abs() <= bound.view(-1, 1, 1)).all()
    assert (final_values.abs() == bound.view(-1, 1)).any()


def test_a_discount_of_1_has_no_bootstrapped_value() -> None:
    with pytest.raises(UserError, match="The discount is 1; values bootstrapped at the time limit are finite"):
        bootstrapped(random_rollout(), 1.0)


def test_two_hundred_problems_have_values_no_larger_than_their_rewards_are_worth(
    problems: list[tuple[Known, Tensor, Tensor]],
) -> None:
    assert sum(len(values) for _, values, _ in problems) == 200
    for problem, values, final_values in problems:
        bound = largest_value(problem)
        assert (values.abs() <= bound.view(-1, 1, 1)).all()
        assert (final_values.abs() <= bound.view(-1, 1)).all()


def test_no_fall_of_two_hundred_problems_is_an_advantage_where_living_is_worth_ten_rewards(
    problems: list[tuple[Known, Tensor, Tensor]],
) -> None:
    # the advantage of a step that terminated is r − V, whatever λ
    looked_at = 0
    for (rollout, truth, discount), values, _ in problems:
        valid, rewards = rollout.valid, rollout.rewards
        last = valid & ~torch.cat([valid[..., 1:], torch.zeros_like(valid[..., :1])], -1)
        living = rewards.sum((1, 2), keepdim=True) / valid.sum((1, 2), keepdim=True) / (1 - discount)
        falls = last & rollout.terminated.unsqueeze(-1) & (truth > 10 * rewards) & (living > 10 * rewards)
        looked_at += int(falls.sum())
        assert (rewards - values)[falls].le(0).all()
    assert looked_at > 600


def test_the_values_of_two_hundred_problems_are_close_to_the_truth(
    problems: list[tuple[Known, Tensor, Tensor]],
) -> None:
    # in units of the largest possible value; most of the error is the level's, by how many happened to fall
    errors, shape_errors, level_errors = [], [], []
    for problem, values, _ in problems:
        unit, valid = largest_value(problem), problem.rollout.valid
        errors.append(root_mean_square(values - problem.values, valid) / unit)
        shape_errors.append(deviation(values - problem.values, valid) / unit)
        level_errors.append(deviation(problem.values, valid) / unit)
    error, shape_error, without_shape = (
        float(torch.cat(each).square().mean().sqrt()) for each in (errors, shape_errors, level_errors)
    )
    assert error < 0.057  # a self-consistent fit errs by 1.5, and with features of time by 335
    assert shape_error < 0.021
    assert shape_error < 0.85 * without_shape


@pytest.mark.parametrize(
    ("episodes", "horizon", "discount", "fall_rate"),
    [
        (20, 100, 0.99, 0.0),
        (20, 100, 0.99, 0.003),
        (20, 400, 0.99, 0.003),
        (200, 10, 0.99, 0.01),
        (4, 200, 0.99, 0.01),
        (20, 100, 0.9, 0.03),
        (20, 100, 0.995, 0.01),
        (20, 100, 0.99, 0.3),
    ],
)
def test_the_value_of_a_constant_fall_rate_is_as_close_as_the_number_of_falls_allows(
    episodes: int, horizon: int, discount: float, fall_rate: float
) -> None:
    # c = N / ((1 − γ) N + γ M): the deviation √M of the number of falls M moves it by the share γ √M / (N/c)
    rollout, truth, _ = linear_process(
        seed=7,
        episodes=episodes,
        horizon=horizon,
        discount=discount,
        fall_rates=(fall_rate,) * 20,
        slopes=(0.0,) * 20,
        levels=1.0,
        kind="drifting",
    )
    values, _ = bootstrapped(rollout, discount)
    expected = 1 / (1 - discount * (1 - fall_rate))
    assert_same(truth, torch.full_like(truth, expected))
    steps = rollout.valid.sum((1, 2)).double().mean()
    chance = discount * (fall_rate * steps).sqrt() * expected / steps
    relative = (level_of(rollout, discount) / expected - 1).square().mean().sqrt()
    assert relative <= 1.5 * chance + 1e-12
    assert root_mean_square(values / expected - 1, rollout.valid).square().mean().sqrt() <= 2.0 * chance + 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_five_falls_of_twenty_episodes_are_a_disadvantage(seed: int) -> None:
    # reward 1 per step; the rate at which 5 of 20 fall in 100 steps makes a step worth 77.9
    rate = 1 - 0.75 ** (1 / 100)
    assert 1 / (1 - 0.99 * (1 - rate)) == pytest.approx(77.86, abs=0.005)
    generator = np.random.default_rng(seed)
    ends = np.full((1, 20), np.inf)
    ends[0, :5] = generator.integers(1, 101, 5)
    observations = distracting(generator, (1, 20, 100), 8, "drifting")
    rollout, *_ = known(observations, np.ones((1, 20, 100)), ends, np.ones((1, 20, 100)), 0.99)
    values, _ = bootstrapped(rollout, 0.99)
    steps = values[rollout.valid]
    assert float(steps.mean()) == pytest.approx(77.86, abs=3)
    assert float(steps.std()) < 6
    assert steps.min() > 40


def test_informative_observations_are_learned() -> None:
    # two of eight observations say what the rewards will be; nothing falls
    rollout, truth, discount = linear_process(
        seed=3, episodes=20, horizon=100, discount=0.9, fall_rates=(0.0,) * 20, slopes=(0.15,) * 20
    )
    values, _ = bootstrapped(rollout, discount)
    assert (deviation(values - truth, rollout.valid) / deviation(truth, rollout.valid)).mean() < 0.45


def test_garbage_in_the_padding_changes_no_weight() -> None:
    features, returns, valid = ingredients(random_rollout())
    assert not valid.all()
    clean = fit_baseline(features, returns, valid)
    dirty = torch.where(valid.unsqueeze(-1), features, 5.0)
    assert torch.equal(clean, fit_baseline(dirty, torch.where(valid, returns, 3.0), valid))


def test_garbage_in_the_padding_changes_no_bootstrapped_value() -> None:
    rollout = far_beyond()
    valid = rollout.valid
    dirty = rollout._replace(
        observations=torch.where(valid.unsqueeze(-1), rollout.observations, 5.0),
        rewards=torch.where(valid, rollout.rewards, 300.0),
    )
    (values, final_values), (expected, expected_final) = bootstrapped(dirty), bootstrapped(rollout)
    assert torch.equal(values[valid], expected[valid])
    assert torch.equal(final_values, expected_final)


def test_each_task_is_fitted_alone() -> None:
    arguments = ingredients(random_rollout())
    together = fit_baseline(*arguments)
    for task in range(len(together)):
        features, returns, valid = (argument[task : task + 1] for argument in arguments)
        alone = fit_baseline(features, returns, valid)
        assert_same(together[task : task + 1], alone)


def test_each_task_is_bootstrapped_alone() -> None:
    rollout = random_rollout()
    together = bootstrapped(rollout)
    for task in range(len(rollout.valid)):
        alone = bootstrapped(Rollout(*(field[task : task + 1] for field in rollout)))
        assert_same(together[0][task : task + 1], alone[0])
        assert_same(together[1][task : task + 1], alone[1])


def test_the_weights_of_a_task_without_valid_steps_are_0() -> None:
    features, returns, valid = ingredients(random_rollout())
    expected = fit_baseline(features, returns, valid)
    valid[1] = False
    weights = fit_baseline(features, returns, valid)
    assert not weights[1].any()
    assert_same(weights[[0, 2]], expected[[0, 2]])


def test_the_values_of_a_task_without_valid_steps_are_0() -> None:
    rollout = random_rollout()
    rollout.valid[1] = False
    values, final_values = bootstrapped(rollout)
    assert not values[1].any()
    assert not final_values[1].any()
    assert not fixed_horizon_values(rollout.observations, rollout.rewards, rollout.valid, DISCOUNT)[1].any()
    assert level_of(rollout)[1] == 0


def test_an_episode_without_valid_steps_changes_no_value() -> None:
    rollout = random_rollout()
    rollout.valid[:, 2] = False
    others = [0, 1, 3, 4]
    without = Rollout(*(field[:, others] for field in rollout))
    (values, final_values), (expected, expected_final) = bootstrapped(rollout), bootstrapped(without)
    assert_same(values[:, others], expected)
    assert_same(final_values[:, others], expected_final)


def test_the_ridge_grows_for_the_unsolvable_task_alone() -> None:
    # The second task's two features are equal, and so large that in double precision 2³⁸ + 1e-5 is 2³⁸: its normal
    # matrix is singular. With a ridge of 1e-4, which rounds to 2^(38 − 52), both weights are near half of 3 / 2¹⁹.
    features = torch.tensor([[1.0, 0.0], [2.0**19, 2.0**19]], dtype=torch.float64).view(2, 1, 1, 2)
    targets, valid = torch.full((2, 1, 1), 3.0, dtype=torch.float64), torch.ones(2, 1, 1, dtype=torch.bool)
    assert 2.0**38 + RIDGE == 2.0**38 < 2.0**38 + 10 * RIDGE
    weights = fit_baseline(features, targets, valid)
    assert weights[0].tolist() == pytest.approx([3.0 / (1 + RIDGE), 0.0], rel=1e-12)
    assert float(weights[1].sum()) == pytest.approx(3.0 / 2.0**19, rel=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_returns_that_are_not_finite_are_refused(value: float) -> None:
    features, returns, valid = ingredients(random_rollout())
    returns[1, 0, 0] = value
    with pytest.raises(NonFiniteError, match="The linear baseline became NaN or infinite"):
        fit_baseline(features, returns, valid)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_reward_that_is_not_finite_has_no_bootstrapped_value(value: float) -> None:
    rollout = random_rollout()
    rollout.rewards[1, 0, 0] = value
    with pytest.raises(NonFiniteError, match="The linear baseline became NaN or infinite"):
        bootstrapped(rollout)


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
        fit_baseline(*ingredients(random_rollout()))
        assert torch.get_num_threads() == 2
    assert threads == [1]
