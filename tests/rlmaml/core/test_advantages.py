from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlmaml.base.errors import NonFiniteError
from rlmaml.base.threads import torch_threads
from rlmaml.core.advantages import normalise, with_advantages
from rlmaml.core.baseline import bootstrapped_values, fixed_horizon_values
from rlmaml.core.returns import discounted_sum
from rlmaml.core.types import Batch, Rollout
from tests.rlmaml.makers import assert_same, pad, random_rollout, random_valid, where_valid


def advantages(rollout: Rollout, bootstrap: bool = False, gae_lambda: float = 0.9) -> Batch:
    return with_advantages(rollout, discount=0.95, gae_lambda=gae_lambda, bootstrap=bootstrap)


@settings(max_examples=40)
@given(st.integers(0, 1000), st.floats(-100, 100), st.floats(0.01, 100))
def test_normalised_advantages_have_mean_zero_and_deviation_one(seed: int, shift: float, scale: float) -> None:
    shape = (3, 4, 5)
    valid = random_valid(shape, seed)
    raw = shift + scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    normalised = normalise(raw, valid)
    assert not normalised[~valid].any()
    for task in range(3):
        steps = normalised[task][valid[task]]
        assert abs(float(steps.mean())) < 1e-9
        assert float(steps.std(correction=0)) == pytest.approx(1.0, rel=1e-4)


def test_normalisation_by_hand() -> None:
    # mean of 1, 3 and 8 is 4; deviation √((9 + 1 + 16)/3); the padding's 100 does not count
    valid = torch.tensor([[[True, True], [True, False]]])
    raw = torch.tensor([[[1.0, 3.0], [8.0, 100.0]]], dtype=torch.float64)
    expected = torch.tensor([[[-3.0, -1.0], [4.0, 0.0]]], dtype=torch.float64) / (26 / 3) ** 0.5
    assert_same(normalise(raw, valid), expected, rtol=1e-7)


def test_a_common_scale_keeps_how_much_actions_matter_in_each_task() -> None:
    # the first task's 1 and 3 are centred to -1 and 1, the second's 10 and 30 to -10 and 10; both are divided by 4
    raw = torch.tensor([[[1.0, 3.0]], [[10.0, 30.0]]], dtype=torch.float64)
    valid = torch.ones(2, 1, 2, dtype=torch.bool)
    assert normalise(raw, valid, scale=4.0).tolist() == [[[-0.25, 0.25]], [[-2.5, 2.5]]]


def test_normalisation_does_not_depend_on_the_number_of_threads() -> None:
    raw = torch.randn((1, 400, 100), generator=torch.Generator().manual_seed(0))
    one = normalise(raw, raw < 1)
    with torch_threads(2):
        assert torch.equal(normalise(raw, raw < 1), one)


@pytest.mark.parametrize("scale", [None, 4.0])
def test_a_task_without_valid_steps_is_normalised_to_0(scale: float | None) -> None:
    valid = random_valid((2, 3, 4))
    raw = torch.arange(24.0).double().view(2, 3, 4)
    expected = normalise(raw, valid, scale)
    valid[1] = False
    actual = normalise(raw, valid, scale)
    assert not actual[1].any()
    assert torch.equal(actual[0], expected[0])


def test_equal_advantages_become_zero() -> None:
    shape = (2, 3, 4)
    assert not normalise(torch.full(shape, 5.0), random_valid(shape)).any()


def test_lambda_one_is_the_return_minus_the_fitted_baseline() -> None:
    rollout = random_rollout()
    valid = rollout.valid
    values = fixed_horizon_values(rollout.observations, rollout.rewards, valid, 0.95)
    expected = normalise(discounted_sum(rollout.rewards, valid, 0.95) - values, valid)
    assert_same(advantages(rollout, gae_lambda=1.0).advantages, expected)


def test_bootstrapped_lambda_one_is_the_return_that_goes_on_minus_the_baseline() -> None:
    rollout = random_rollout()
    valid, goes_on = rollout.valid, rollout.truncated
    values, final_values = bootstrapped_values(
        rollout.observations, rollout.final_observations, rollout.rewards, valid, goes_on, 0.95
    )
    time = torch.arange(valid.shape[-1])
    going_on = 0.95 ** (rollout.lengths.unsqueeze(-1) - time) * final_values.unsqueeze(-1)
    expected = normalise(discounted_sum(rollout.rewards, valid, 0.95) + going_on - values, valid)
    assert_same(advantages(rollout, bootstrap=True, gae_lambda=1.0).advantages, expected)


def test_bootstrapping_changes_the_advantages_of_truncated_episodes() -> None:
    rollout = random_rollout()
    assert not torch.allclose(advantages(rollout, True).advantages, advantages(rollout, False).advantages, rtol=0.1)


def test_termination_never_bootstraps() -> None:
    rollout = random_rollout()
    every = torch.ones_like(rollout.terminated)
    ended = rollout._replace(terminated=every, truncated=~every)
    expected = advantages(ended, bootstrap=True, gae_lambda=1.0).advantages
    values, _ = bootstrapped_values(
        ended.observations, ended.final_observations, ended.rewards, ended.valid, ended.truncated, 0.95
    )
    returns = discounted_sum(ended.rewards, ended.valid, 0.95)
    assert_same(expected, normalise(returns - values, ended.valid))
    elsewhere = ended._replace(final_observations=ended.final_observations + 3.0)
    assert torch.equal(advantages(elsewhere, bootstrap=True, gae_lambda=1.0).advantages, expected)
    at_the_limit = ended._replace(truncated=every)
    assert torch.equal(advantages(at_the_limit, bootstrap=True, gae_lambda=1.0).advantages, expected)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_without_rewards_there_is_no_advantage(bootstrap: bool) -> None:
    rollout = random_rollout()
    nothing = rollout._replace(rewards=torch.zeros_like(rollout.rewards))
    assert not advantages(nothing, bootstrap).advantages.any()


@pytest.mark.parametrize("bootstrap", [False, True])
@pytest.mark.parametrize("scale", [None, 2.0])
def test_a_task_without_valid_steps_has_no_advantage(bootstrap: bool, scale: float | None) -> None:
    rollout = random_rollout()
    rollout.valid[1] = False
    together = partial(with_advantages, discount=0.95, gae_lambda=0.9, bootstrap=bootstrap, scale=scale)
    actual = together(rollout).advantages
    assert not actual[1].any()
    others = Rollout(*(field[[0, 2]] for field in rollout))
    assert_same(actual[[0, 2]], together(others).advantages)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_an_episode_without_valid_steps_changes_no_advantage(bootstrap: bool) -> None:
    rollout = random_rollout()
    rollout.valid[:, 2] = False
    others = [0, 1, 3, 4]
    actual = advantages(rollout, bootstrap).advantages
    assert not actual[:, 2].any()
    expected = advantages(Rollout(*(field[:, others] for field in rollout)), bootstrap).advantages
    assert_same(actual[:, others], expected)


@pytest.mark.parametrize("shape", [(20, 20, 100), (1, 400, 100)])
def test_bootstrapped_advantages_do_not_depend_on_the_number_of_threads(shape: tuple[int, int, int]) -> None:
    rollout = random_rollout(shape, observation_size=8)
    one = advantages(rollout, bootstrap=True).advantages
    with torch_threads(2):
        assert torch.equal(advantages(rollout, bootstrap=True).advantages, one)


def test_the_fixed_horizon_objective_does_not_look_at_the_final_state() -> None:
    rollout = random_rollout()
    elsewhere = rollout._replace(final_observations=rollout.final_observations + 3.0)
    assert torch.equal(advantages(rollout).advantages, advantages(elsewhere).advantages)
    changed = advantages(elsewhere, bootstrap=True).advantages
    assert not torch.allclose(advantages(rollout, bootstrap=True).advantages, changed, rtol=0.1)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_more_padding_changes_no_advantage(bootstrap: bool) -> None:
    rollout = random_rollout()
    valid = rollout.valid
    dirty = rollout._replace(
        observations=pad(where_valid(valid, rollout.observations, torch.tensor(7.0).double()), 3, -4.0),
        actions=pad(rollout.actions, 3, 2.0),
        log_probs=pad(rollout.log_probs, 3, 2.0),
        rewards=pad(torch.where(valid, rollout.rewards, 50.0), 3, -60.0),
        valid=pad(valid, 3, 0),
    )
    actual = advantages(dirty, bootstrap).advantages
    assert_same(actual[..., : valid.shape[-1]], advantages(rollout, bootstrap).advantages)
    assert not actual[..., valid.shape[-1] :].any()


def test_permuting_tasks_permutes_advantages() -> None:
    rollout, order = random_rollout((4, 5, 6)), [2, 0, 3, 1]
    permuted = Rollout(*(field[order] for field in rollout))
    assert_same(advantages(permuted, True).advantages, advantages(rollout, True).advantages[order])


def test_each_task_has_its_own_baseline_and_scale() -> None:
    rollout = random_rollout()
    louder = rollout._replace(rewards=rollout.rewards * torch.tensor([1.0, 50.0, 1.0]).double().view(3, 1, 1))
    before, after = advantages(rollout).advantages, advantages(louder).advantages
    assert_same(after[[0, 2]], before[[0, 2]])
    assert_same(after[1], before[1], rtol=1e-5, atol=1e-6)


def test_a_batch_keeps_the_steps_and_the_dtype_of_the_rollout() -> None:
    rollout = random_rollout()
    batch = advantages(rollout)
    assert batch.observations is rollout.observations
    assert batch.actions is rollout.actions
    assert batch.log_probs is rollout.log_probs
    assert batch.valid is rollout.valid
    single = Rollout(*(field.float() if field.is_floating_point() else field for field in rollout))
    assert advantages(single).advantages.dtype == torch.float32


@pytest.mark.parametrize("bootstrap", [False, True])
def test_a_reward_that_is_not_finite_is_refused(bootstrap: bool) -> None:
    rollout = random_rollout()
    rollout.rewards[0, 0, 0] = torch.inf
    with pytest.raises(NonFiniteError):
        advantages(rollout, bootstrap)


@pytest.mark.parametrize("scale", [None, 3.0])
def test_advantages_times_their_scale_are_the_centred_ones_in_units_of_reward(scale: float | None) -> None:
    sampled = random_rollout()
    batch, ones = (
        with_advantages(sampled, discount=0.9, gae_lambda=0.8, bootstrap=False, scale=each) for each in (scale, 1.0)
    )
    assert_same(batch.advantages * batch.advantage_scale, ones.advantages, rtol=1e-9)
    assert (batch.advantage_scale == batch.advantage_scale[:, :1, :1]).all()
    assert (batch.advantage_scale[0] != batch.advantage_scale[1]).all() == (scale is None)


@pytest.mark.parametrize("bootstrap", [False, True])
@pytest.mark.parametrize(("power", "inner_scale"), [(2.0, 3.0), (2.0, None), (1.0, 3.0), (0.5, 0.1)])
def test_an_inner_loss_reads_advantages_of_rewards_to_a_power_and_what_is_maximised_stays(
    bootstrap: bool, power: float, inner_scale: float | None
) -> None:
    rollout = random_rollout()
    judged = partial(with_advantages, discount=0.9, gae_lambda=0.8, bootstrap=bootstrap)
    raised = rollout._replace(rewards=rollout.rewards.sign() * rollout.rewards.abs() ** power)
    assert (rollout.rewards > 0.1).any()
    assert (rollout.rewards < -0.1).any()
    both = judged(rollout, scale=7.0, inner_reward_power=power, inner_scale=inner_scale)
    assert torch.equal(both.inner_advantages, judged(raised, scale=inner_scale or 7.0).advantages)
    plain = judged(rollout, scale=7.0)
    assert torch.equal(both.advantages, plain.advantages)
    assert torch.equal(both.rewards, rollout.rewards)
    assert torch.equal(both.advantage_scale, plain.advantage_scale)
    assert torch.equal(plain.inner_advantages, plain.advantages)
    assert not torch.allclose(both.inner_advantages, plain.advantages, rtol=1e-2)


def test_of_minus_a_distance_advantages_tell_the_side_of_a_goal_and_of_its_square_how_far_it_is() -> None:
    # one step of 0.1 to either side, goals 1 and 3 away: -(3 - 0.1)² is 1.2 more than -(3 + 0.1)²
    steps = torch.tensor([[0.1], [-0.1]]).double().expand(2, 2, 1)
    goals = torch.tensor([1.0, 3.0]).double().view(2, 1, 1)
    rollout = random_rollout((2, 2, 1))._replace(
        observations=torch.zeros(2, 2, 1, 2).double(), rewards=-(goals - steps).abs(), valid=torch.ones(2, 2, 1).bool()
    )
    judged = partial(with_advantages, rollout, discount=1.0, gae_lambda=1.0, bootstrap=False)
    for batch in (judged(), judged(inner_scale=1.0), judged(inner_reward_power=2.0)):
        assert_same(batch.inner_advantages[0], batch.inner_advantages[1], rtol=1e-4)
    squared = judged(inner_reward_power=2.0, inner_scale=1.0).inner_advantages
    assert_same(squared, 2 * goals * steps, rtol=1e-4)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_the_baseline_reads_the_numbers_that_it_is_told_to_and_no_others(bootstrap: bool) -> None:
    rollout = random_rollout()
    read = partial(with_advantages, discount=0.9, gae_lambda=0.9, bootstrap=bootstrap, read=[0])
    others = rollout._replace(
        observations=rollout.observations.index_fill(-1, torch.tensor([1]), 3.0),
        final_observations=rollout.final_observations.index_fill(-1, torch.tensor([1]), -2.0),
    )
    assert torch.equal(read(rollout).advantages, read(others).advantages)
    assert torch.equal(read(rollout).observations, rollout.observations)
    narrow = rollout._replace(
        observations=rollout.observations[..., [0]], final_observations=rollout.final_observations[..., [0]]
    )
    everything = partial(with_advantages, discount=0.9, gae_lambda=0.9, bootstrap=bootstrap)
    assert torch.equal(read(rollout).advantages, everything(narrow).advantages)
    assert not torch.allclose(read(rollout).advantages, everything(rollout).advantages)
    nothing = with_advantages(rollout, discount=0.9, gae_lambda=0.9, bootstrap=bootstrap, read=[])
    assert nothing.advantages.isfinite().all()
