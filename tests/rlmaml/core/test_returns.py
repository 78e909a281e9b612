import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlmaml.core.returns import (
    advantages_over_time,
    discounted_sum,
    generalised_advantages,
    temporal_differences,
)
from tests.rlmaml.makers import assert_same, random_valid

REWARDS = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
VALUES = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
FINAL = torch.tensor(4.0, dtype=torch.float64)
VALID = torch.tensor([True, True, True])


def random_steps(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 4, 7)
    rewards, values = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    final = torch.randn(shape[:2], generator=generator, dtype=torch.float64)
    return rewards, values, final, random_valid(shape, seed)


def test_discounted_sum_of_an_episode_by_hand() -> None:
    # 1 + 2/2 + 3/4 = 2.75, 2 + 3/2 = 3.5, 3
    assert discounted_sum(REWARDS, VALID, 0.5).tolist() == [2.75, 3.5, 3.0]


def test_discounted_sum_goes_on_with_the_final_value() -> None:
    # 3 + 4/2 = 5, 2 + 5/2 = 4.5, 1 + 4.5/2 = 3.25
    assert discounted_sum(REWARDS, VALID, 0.5, FINAL).tolist() == [3.25, 4.5, 5.0]


def test_discounted_sum_of_a_short_episode_ends_before_its_padding() -> None:
    # the garbage 3 is not added: 2 + 4/2 = 4, 1 + 4/2 = 3
    assert discounted_sum(REWARDS, torch.tensor([True, True, False]), 0.5, FINAL).tolist() == [3.0, 4.0, 0.0]


@settings(max_examples=50)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8), st.integers(1, 8), st.floats(0, 1), st.floats(-10, 10))
def test_discounted_sum_is_the_double_loop(terms: list[float], length: int, discount: float, final: float) -> None:
    length = min(length, len(terms))
    expected = np.zeros(len(terms))
    for t in range(length):
        for k in range(t, length):
            expected[t] += discount ** (k - t) * terms[k]
        expected[t] += discount ** (length - t) * final
    actual = discounted_sum(
        torch.tensor(terms, dtype=torch.float64),
        torch.arange(len(terms)) < length,
        discount,
        torch.tensor(final, dtype=torch.float64),
    )
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-9)


def test_temporal_differences_by_hand() -> None:
    # 1 + 1/2 − 0.5 = 1, 2 + 2/2 − 1 = 2, 3 + 4/2 − 2 = 3
    assert temporal_differences(REWARDS, VALUES, FINAL, VALID, 0.5).tolist() == [1.0, 2.0, 3.0]


def test_temporal_differences_of_a_short_episode_use_its_final_value() -> None:
    # the second step is the last: 2 + 4/2 − 1 = 3; the value 2 of the padding is not looked at
    valid = torch.tensor([True, True, False])
    assert temporal_differences(REWARDS, VALUES, FINAL, valid, 0.5).tolist() == [1.0, 3.0, 0.0]


def test_generalised_advantages_by_hand() -> None:
    # δ = 1, 2, 3 as above; discount · λ = 1/4: 3, 2 + 3/4 = 2.75, 1 + 2.75/4 = 1.6875
    advantages = generalised_advantages(REWARDS, VALUES, FINAL, VALID, 0.5, 0.5)
    assert advantages.tolist() == [1.6875, 2.75, 3.0]


def test_lambda_one_is_return_minus_baseline() -> None:
    rewards, values, final, valid = random_steps(0)
    advantages = generalised_advantages(rewards, values, torch.zeros_like(final), valid, 0.9, 1.0)
    assert_same(advantages, (discounted_sum(rewards, valid, 0.9) - values) * valid)


def test_lambda_one_with_a_bootstrap_is_the_bootstrapped_return_minus_baseline() -> None:
    rewards, values, final, valid = random_steps(1)
    advantages = generalised_advantages(rewards, values, final, valid, 0.9, 1.0)
    assert_same(advantages, (discounted_sum(rewards, valid, 0.9, final) - values) * valid)


def test_lambda_zero_is_the_temporal_difference() -> None:
    rewards, values, final, valid = random_steps(2)
    advantages = generalised_advantages(rewards, values, final, valid, 0.9, 0.0)
    assert_same(advantages, temporal_differences(rewards, values, final, valid, 0.9))
    assert advantages.abs().max() > 0.5


def test_garbage_in_the_padding_changes_no_advantage() -> None:
    rewards, values, final, valid = random_steps(3)
    assert not valid.all()
    clean = generalised_advantages(rewards, values, final, valid, 0.9, 0.8)
    dirty = generalised_advantages(
        torch.where(valid, rewards, 1e6), torch.where(valid, values, -1e6), final, valid, 0.9, 0.8
    )
    assert torch.equal(clean, dirty)


def test_where_no_time_passes_between_steps_advantages_are_the_generalised_ones() -> None:
    rewards, values, final, valid = random_steps(4)
    time = torch.arange(7).expand(valid.shape)
    plain = generalised_advantages(rewards, values, torch.zeros_like(final), valid, 0.9, 0.8)
    assert_same(advantages_over_time(rewards, values, valid, time, 0.9, 0.8), plain)
    dirty = torch.where(valid, time, time.flip(-1) - 1000)
    garbage = torch.where(valid, rewards, torch.nan), torch.where(valid, values, torch.inf)
    assert_same(
        advantages_over_time(*garbage, valid, dirty, 0.9, 0.0),
        temporal_differences(rewards, values, torch.zeros_like(final), valid, 0.9),
    )


def test_where_time_passes_between_steps_advantages_are_those_of_steps_in_which_nothing_happens() -> None:
    time, discount = torch.tensor([0, 1, 5, 6, 9]), 0.9
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    every_reward, every_value = torch.zeros(2, 10, dtype=torch.float64)
    every_reward[time], every_value[time] = rewards, values
    for t in reversed(range(10)):
        if t not in time:
            every_value[t] = discount * every_value[t + 1]
    everything = torch.ones(10, dtype=torch.bool)
    nothing = torch.zeros((), dtype=torch.float64)
    expected = generalised_advantages(every_reward, every_value, nothing, everything, discount, 0.8)
    found = advantages_over_time(rewards, values, everything[:5], time, discount, 0.8)
    assert_same(found, expected[time])
