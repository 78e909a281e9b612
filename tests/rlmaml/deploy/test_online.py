from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from rlmaml.base.errors import UserError
from rlmaml.deploy.adaptable import AdaptablePolicy
from rlmaml.deploy.online import adapt_in_steps, adapt_online, return_interval
from rlmaml.sampling.recorded import RecordedEpisodes
from tests.rlmaml.deploy.trained import navigation, trained_policy
from tests.rlmaml.makers import vector


class Robot:
    """Real episodes whose level of reward is scripted: visit v earns about ``levels[v]`` per step."""

    def __init__(self, levels: list[float]) -> None:
        self.env, self.levels = navigation(), levels
        self.visitors: list[AdaptablePolicy] = []

    def __call__(self, policy: AdaptablePolicy, visit: int) -> RecordedEpisodes:
        assert visit == len(self.visitors)
        self.visitors.append(policy)
        episodes = policy.record(self.env, visit)
        return episodes._replace(rewards=episodes.rewards + np.float32(self.levels[visit]))


@pytest.fixture(scope="module")
def policy() -> AdaptablePolicy:
    return trained_policy()


def test_the_interval_is_that_of_a_t_test() -> None:
    returns = np.random.default_rng(0).standard_normal(12)
    assert return_interval(returns) == pytest.approx(scipy.stats.ttest_1samp(returns, 0).confidence_interval(0.95))
    assert return_interval(returns[:1]) == (-np.inf, np.inf)


def test_steps_are_all_kept(policy: AdaptablePolicy) -> None:
    robot = Robot([0.0, -100.0, 0.0])
    attempts = list(adapt_in_steps(policy, robot, 2))
    assert [attempt.policy.steps_taken for attempt in attempts] == [0, 1, 2]
    assert not any(attempt.undone for attempt in attempts)


def test_online_a_step_that_makes_the_robot_worse_is_undone(policy: AdaptablePolicy) -> None:
    robot = Robot([0.0, -100.0, 0.0, 0.0, 0.0])
    attempts = list(adapt_online(policy, robot, 3))
    assert [attempt.undone for attempt in attempts] == [False, True, False, False]
    assert attempts[1].policy is policy
    assert [visitor.steps_taken for visitor in robot.visitors] == [0, 1, 0, 1, 2]


@pytest.mark.parametrize("adapt", [adapt_in_steps, adapt_online])
def test_steps_may_be_those_of_a_trust_region(policy: AdaptablePolicy, adapt: Any) -> None:
    first, second = adapt(policy, Robot([0.0, 0.0]), 1, trust_region=0.05)
    expected = policy.adapt(first.episodes, trust_region=0.05)
    assert torch.equal(vector(second.policy.weights), vector(expected.weights))
    robot = Robot([])
    with pytest.raises(UserError, match="a KL in nats above 0"):
        next(adapt(policy, robot, 1, trust_region=-1.0))
    assert not robot.visitors


def test_online_no_episodes_are_collected_after_the_last_attempt(policy: AdaptablePolicy) -> None:
    robot = Robot([0.0, -100.0])
    assert list(adapt_online(policy, robot, 1))[-1].undone
    assert [visitor.steps_taken for visitor in robot.visitors] == [0, 1]


def test_online_the_next_attempt_goes_half_as_far_on_fresh_episodes(policy: AdaptablePolicy) -> None:
    robot = Robot([0.0, -100.0, 0.0, 0.0])
    attempts = list(adapt_online(policy, robot, 2))
    fresh = policy.record(robot.env, 2)
    expected = policy.adapt(fresh._replace(rewards=fresh.rewards), step_scale=0.5)
    assert torch.equal(vector(attempts[2].policy.weights), vector(expected.weights))
