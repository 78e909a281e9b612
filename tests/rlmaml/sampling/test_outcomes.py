import math

import pytest
import torch

from rlmaml.base.errors import NonFiniteError
from rlmaml.core.task_sums import ALONE
from rlmaml.core.types import Rollout
from rlmaml.sampling.outcomes import of_all_tasks, outcomes, task_returns
from tests.rlmaml.makers import random_rollout


@pytest.fixture
def sampled() -> Rollout:
    """Two tasks of three episodes with returns 1, 2, failed and 4, failed, failed."""
    unstable = torch.tensor([[False, False, True], [False, True, True]])
    lengths = torch.where(unstable, 0, torch.tensor([[1, 2, 4], [4, 3, 3]]))
    rewards = torch.ones(2, 3, 4) * torch.tensor([[[1.0], [1.0], [-50.0]], [[1.0], [-70.0], [9.0]]])
    terms = torch.stack([0.25 * rewards.sum(-1), 0.75 * rewards.sum(-1)], -1)
    terms[0, :2] = torch.tensor([[0.5, 0.5], [1.5, 0.5]])
    terms[1, 0] = torch.tensor([1.0, 3.0])
    return random_rollout((2, 3, 4))._replace(
        rewards=rewards,
        valid=torch.arange(4) < lengths.unsqueeze(-1),
        unstable=unstable,
        term_returns=terms,
    )


def test_means_are_those_of_the_sound_episodes_by_hand(sampled: Rollout) -> None:
    seen = outcomes(sampled)
    assert seen.mean_return == pytest.approx((1 + 2 + 4) / 3)
    assert seen.mean_length == pytest.approx((1 + 2 + 4) / 3)
    assert seen.mean_terms == pytest.approx([(0.5 + 1.5 + 1.0) / 3, (0.5 + 0.5 + 3.0) / 3])
    assert seen.share_unstable == 0.5
    assert task_returns(sampled).tolist() == [1.5, 4.0]


def test_where_every_simulation_failed_nothing_is_known(sampled: Rollout) -> None:
    unstable = torch.ones(2, 3, dtype=torch.bool)
    failed = sampled._replace(unstable=unstable, valid=torch.zeros_like(sampled.valid))
    seen = outcomes(failed)
    assert math.isnan(seen.mean_return)
    assert math.isnan(seen.mean_length)
    assert all(math.isnan(share) for share in seen.mean_terms)
    assert seen.share_unstable == 1.0
    assert task_returns(failed).isnan().all()
    one = sampled._replace(unstable=unstable.clone().logical_and(torch.tensor([[True], [False]])))
    assert task_returns(one).isnan().tolist() == [True, False]


def test_alone_the_outcomes_of_all_tasks_are_its_own(sampled: Rollout) -> None:
    seen = outcomes(sampled)
    for one, other in zip(of_all_tasks(seen, ALONE), seen, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)


def test_without_failures_all_episodes_count() -> None:
    sampled = random_rollout()
    seen = outcomes(sampled)
    assert seen.mean_return == pytest.approx(float(sampled.returns.mean()))
    assert seen.mean_length == pytest.approx(float(sampled.valid.sum() / 15))
    assert seen.share_unstable == 0.0
    torch.testing.assert_close(task_returns(sampled), sampled.returns.mean(1))


@pytest.mark.parametrize("field", ["rewards", "term_returns"])
def test_rewards_too_large_to_be_added_up_are_refused_but_for_those_of_failed_simulations(
    sampled: Rollout, field: str
) -> None:
    values = getattr(sampled, field).clone()
    values[0, 2] = torch.nan  # its simulation failed
    assert outcomes(sampled._replace(**{field: values})).mean_return == pytest.approx((1 + 2 + 4) / 3)
    values[:, :2] = 3e38  # finite each
    with pytest.raises(NonFiniteError, match="The returns of a rollout became NaN or infinite"):
        outcomes(sampled._replace(**{field: values}))
