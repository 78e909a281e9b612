import pytest
import torch

from rlmaml.core.types import Batch, first_episodes, first_tasks
from tests.rlmaml.makers import gaussian_policy, random_batch, random_rollout, random_theta


def batch() -> Batch:
    policy = gaussian_policy()
    return random_batch(policy, random_theta(policy), num_tasks=2, num_episodes=5)


def test_returns_are_undiscounted_sums_over_valid_steps() -> None:
    sampled = random_rollout()
    padding = torch.where(sampled.valid, sampled.rewards, 99.0)
    dirty = sampled._replace(rewards=padding)
    assert not sampled.valid.all()
    for task, episode in ((0, 0), (1, 2), (2, 4)):
        expected = sum(sampled.rewards[task, episode][sampled.valid[task, episode]].tolist())
        assert float(dirty.returns[task, episode]) == pytest.approx(expected, rel=1e-12)


def test_an_episode_whose_simulation_failed_has_no_return() -> None:
    sampled = random_rollout()
    unstable = sampled.unstable.clone()
    unstable[1, 2] = True
    returns = sampled._replace(unstable=unstable).returns
    assert returns.isnan().nonzero().tolist() == [[1, 2]]


def test_lengths_count_valid_steps() -> None:
    sampled = random_rollout()
    assert sampled.lengths.tolist() == [[sum(steps) for steps in task] for task in sampled.valid.tolist()]
    assert sampled.lengths.dtype == sampled.rewards.dtype


def test_the_first_episodes_of_every_task_are_taken_as_they_are() -> None:
    whole = batch()
    few = first_episodes(whole, 0.3)
    assert few.valid.shape == (2, 2, 4)
    for field, other in zip(few, whole, strict=True):
        assert torch.equal(field[1, 1], other[1, 1])
        assert field.shape == (2, 2, *other.shape[2:])


def test_the_first_tasks_are_taken_as_they_are() -> None:
    whole = batch()
    for field, other in zip(first_tasks(whole, 1), whole, strict=True):
        assert torch.equal(field, other[:1])


def test_all_of_the_episodes_are_the_batch_itself() -> None:
    whole = batch()
    assert first_episodes(whole, 1.0) is whole
    assert first_episodes(whole, 0.81) is whole


def test_a_share_is_rounded_up_but_not_by_what_floating_point_adds_to_it() -> None:
    twenty = Batch(*(torch.zeros(1, 20, 1) for _ in Batch._fields))
    for share, count in [(0.55, 11), (0.35, 7), (0.07, 2), (0.051, 2), (0.05, 1)]:
        assert first_episodes(twenty, share).valid.shape[1] == count
