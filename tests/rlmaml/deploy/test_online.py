from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from rlmaml.base.errors import UserError
from rlmaml.deploy.adaptable import AdaptablePolicy
from rlmaml.deploy.online import adapt_in_steps, adapt_online, return_interval, search_online
from rlmaml.rules.search_rule import ContextRange, Search
from rlmaml.rules.searches import SEARCHES
from rlmaml.sampling.recorded import RecordedEpisodes
from rlmaml.settings.search import SearchSettings
from rlmaml.settings.whole import configure
from tests.rlmaml.deploy.trained import HORIZON, navigation, trained_policy
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


SEARCHING = configure(
    "cavia", context=2, num_tasks=1, num_episodes=6, horizon=HORIZON, hidden=(8,), threads=1, inner_steps=1
)
LIMITS = ContextRange({"context": torch.tensor([-1.0, -2.0])}, {"context": torch.tensor([2.0, 1.0])})


def search(kind: Any = "hill-climbing", episodes: int = 10, average: int = 1) -> Search:
    return Search(SearchSettings(kind, episodes, average), LIMITS)


class Plant:
    """Episodes of a robot whose return is a function of the policy's context; it remembers who came."""

    def __init__(self, average: int = 1) -> None:
        self.env, self.visitors = navigation(average), list[AdaptablePolicy]()

    def worth(self, policy: AdaptablePolicy) -> float:
        return -float((policy.weights["context"] - torch.tensor([1.5, -1.0])).square().sum())

    def __call__(self, policy: AdaptablePolicy, visit: int) -> RecordedEpisodes:
        assert visit == len(self.visitors)
        self.visitors.append(policy)
        episodes = policy.record(self.env, visit)
        return episodes._replace(rewards=np.full_like(episodes.rewards, self.worth(policy)))


@pytest.mark.parametrize("kind", SEARCHES)
@pytest.mark.parametrize("average", [1, 2])
def test_a_search_spends_its_budget_and_goes_on_with_the_best_it_measured(kind: str, average: int) -> None:
    plant, policy = Plant(average), trained_policy(SEARCHING)
    attempts = list(search_online(policy, plant, search(kind, 20, average), seed=3))
    assert sum(len(attempt.returns) for attempt in attempts) == 20
    assert len(plant.visitors) == len(attempts) == 20 // average
    worth = [plant.worth(visitor) for visitor in plant.visitors]
    for number, attempt in enumerate(attempts):
        assert plant.worth(attempt.policy) == max(worth[: number + 1])
        assert attempt.undone == (worth[number] < max(worth[: number + 1]))
        assert attempt.policy.steps_taken == number + 1
    assert max(worth) > worth[0]
    contexts = torch.stack([visitor.weights["context"] for visitor in plant.visitors])
    assert bool(((contexts >= LIMITS.low["context"]) & (contexts <= LIMITS.high["context"])).all())
    assert torch.equal(contexts[0], torch.zeros(2))


def test_the_same_seed_tries_the_same_contexts_and_another_one_others() -> None:
    def tried(seed: int) -> torch.Tensor:
        plant = Plant()
        list(search_online(trained_policy(SEARCHING), plant, search(), seed=seed))
        return torch.stack([visitor.weights["context"] for visitor in plant.visitors])

    assert torch.equal(tried(0), tried(0))
    assert not torch.equal(tried(0), tried(1))


def test_a_search_from_an_adapted_policy_without_a_context_or_with_other_episodes_is_refused() -> None:
    fresh, plant = trained_policy(SEARCHING), Plant()
    (*_, last) = search_online(fresh, plant, search(), seed=0)
    with pytest.raises(UserError, match="this one has taken 10 steps since"):
        next(search_online(last.policy, Plant(), search(), seed=0))
    with pytest.raises(UserError, match="this policy has none"):
        next(search_online(trained_policy(), Plant(), search(), seed=0))
    with pytest.raises(UserError, match=r"needs 2 episodes \(--search-average\)"):
        next(search_online(fresh, Plant(1), search(average=2), seed=0))
    plant.worth = lambda policy: float("nan")  # type: ignore[method-assign]
    plant.visitors = []
    with pytest.raises(UserError, match="with finite returns"):
        next(search_online(fresh, plant, search(), seed=0))
