from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.stats
import torch

from rlmaml.base.errors import UserError
from rlmaml.deploy.adaptable import AdaptablePolicy
from rlmaml.deploy.judgement import LEVEL, MARGIN
from rlmaml.deploy.online import (
    CHECKED,
    adapt_in_steps,
    adapt_online,
    best_in_steps,
    measured_again,
    return_interval,
    search_online,
)
from rlmaml.rules.search_rule import ContextRange, Search
from rlmaml.sampling.recorded import FailedEpisodesError, RecordedEpisodes
from rlmaml.settings.search import SearchSettings
from rlmaml.settings.whole import configure
from tests.rlmaml.deploy.trained import HORIZON, LEARNED, LIVES, moved, navigation, student, trained_policy
from tests.rlmaml.makers import vector
from tests.rlmaml.shapes import shapes_checked


class Robot:
    """Real episodes whose level of reward is scripted: a policy of k steps earns about ``levels[k]`` more per step.

    Policies beyond the script earn what its last one does.
    """

    def __init__(self, levels: list[float]) -> None:
        self.env, self.levels = navigation(), levels
        self.visitors: list[tuple[int, int]] = []

    def __call__(self, policy: AdaptablePolicy, visit: int) -> RecordedEpisodes:
        steps = policy.steps_taken
        self.visitors.append((steps, visit))
        episodes = policy.record(self.env, visit)
        level = self.levels[min(steps, len(self.levels) - 1)]
        return episodes._replace(rewards=episodes.rewards + np.float32(level))


@pytest.fixture(scope="module")
def policy() -> AdaptablePolicy:
    return trained_policy()


def test_the_interval_is_that_of_a_t_test() -> None:
    returns = np.random.default_rng(0).standard_normal(12)
    assert return_interval(returns) == pytest.approx(scipy.stats.ttest_1samp(returns, 0).confidence_interval(0.95))
    assert return_interval(returns[:1]) == (-np.inf, np.inf)


def test_steps_are_all_kept(policy: AdaptablePolicy) -> None:
    attempts = list(adapt_in_steps(policy, Robot([0.0, -100.0, 0.0]), 2))
    assert [attempt.policy.steps_taken for attempt in attempts] == [0, 1, 2]
    assert not any(attempt.undone for attempt in attempts)


def test_of_steps_the_best_is_measured_again_beside_the_first_and_an_overshooting_one_is_not_left(
    policy: AdaptablePolicy,
) -> None:
    robot = Robot([0.0, 1.0, 100.0, -100.0])
    attempts = list(best_in_steps(policy, robot, 3))
    assert [attempt.policy.steps_taken for attempt in attempts] == [0, 1, 2, 2, 2]
    assert robot.visitors == [(0, 0), (1, 1), (2, 2), (3, 3), (0, 3), (0, 4), (2, 4)]
    assert attempts[-1].reason.startswith(
        "The policy after 2 steps, on fresh episodes: its mean return is higher by at"
    )
    assert [bool(attempt.reason) for attempt in attempts[:-1]] == [False, False, False, True]


def test_steps_whose_episodes_fail_or_end_below_the_floor_are_not_left_though_better_in_the_mean(
    policy: AdaptablePolicy,
) -> None:
    robot = Robot([0.0, 1.0, 100.0])

    def breaks(current: AdaptablePolicy, visit: int) -> RecordedEpisodes:
        episodes = robot(current, visit)
        return episodes.first(5) if current.steps_taken == 2 else episodes

    def falls(current: AdaptablePolicy, visit: int) -> RecordedEpisodes:
        episodes = robot(current, visit)
        if current.steps_taken == 2:
            episodes.rewards[-1] = -850.0
        return episodes

    for collect, floor, told in ((breaks, None, "failed"), (falls, -40.0, "failed or ended below -40")):
        attempts = list(best_in_steps(policy, collect, 2, floor=floor))
        assert attempts[2].reason.startswith(f"17% of its episodes {told}, not")
        assert attempts[-1].policy.steps_taken == 1
    assert list(best_in_steps(policy, falls, 2))[-1].policy.steps_taken == 2


def test_where_every_episode_of_a_step_fails_there_is_no_next_one_and_the_best_before_is_left(
    policy: AdaptablePolicy,
) -> None:
    robot = Robot([0.0, 100.0])

    def breaks(current: AdaptablePolicy, visit: int) -> RecordedEpisodes:
        if current.steps_taken == 2:
            raise FailedEpisodesError("The robot broke.")
        return robot(current, visit)

    attempts = list(best_in_steps(policy, breaks, 5))
    assert [len(attempt.returns) for attempt in attempts] == [6, 6, 0, 6]
    assert attempts[2].reason == "100% of its episodes failed, not 0%"
    assert attempts[-1].policy.steps_taken == 1


@pytest.mark.parametrize("adapt", [best_in_steps, adapt_online])
def test_policies_may_be_judged_by_other_episodes_than_those_they_adapt_from(
    policy: AdaptablePolicy, adapt: Any
) -> None:
    sampled, mean = Robot([0.0, -100.0, -200.0]), Robot([0.0, 100.0, 200.0])
    *attempts, last = adapt(policy, sampled, 2, measure=mean)
    assert [attempt.policy.steps_taken for attempt in attempts] == [0, 1, 2]
    assert last.policy.steps_taken == 2
    assert {steps for steps, _ in sampled.visitors} == {0, 1}
    first = policy.record(sampled.env, sampled.visitors[0][1])
    stepped = policy.adapt(first._replace(rewards=first.rewards + np.float32(0.0)))
    assert torch.equal(vector(attempts[1].policy.weights), vector(stepped.weights))


@pytest.mark.parametrize("adapt", [best_in_steps, adapt_online])
def test_a_policy_that_remembers_is_told_by_the_episodes_that_it_lived_through(adapt: Any) -> None:
    policy, robot = trained_policy(LIVES), Robot([0.0] + [100.0] * 6)
    first, *_, last = adapt(policy, robot, 1)
    assert last.policy.steps_taken == 6
    lived = policy.adapt(first.episodes).memory
    assert lived is not None
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(last.policy.memory, lived, strict=True))
    assert last.reason.startswith("The policy after living through 6 episodes, on fresh episodes: its mean return is")


def test_online_what_makes_the_robot_worse_is_not_remembered() -> None:
    policy, robot = trained_policy(LIVES), Robot([0.0] + [-100.0] * 6)
    attempts = list(adapt_online(policy, robot, 2))
    assert [attempt.undone for attempt in attempts] == [False, True, True, False]
    assert all(attempt.policy is policy for attempt in attempts)
    assert robot.visitors == [(0, 0), (6, 1), (0, 1), (6, 2), (0, 2), (0, 3)]
    better = Robot([0.0] + [100.0] * 6 + [200.0] * 6)
    assert [attempt.policy.steps_taken for attempt in adapt_online(policy, better, 2)] == [0, 6, 12, 12]


def test_luck_that_fresh_episodes_do_not_confirm_leaves_the_policy_as_it_was(policy: AdaptablePolicy) -> None:
    robot = Robot([0.0, 1.0])

    def lucky_once(current: AdaptablePolicy, visit: int) -> RecordedEpisodes:
        robot.levels[1] = 100.0 if visit == 1 else -100.0
        return robot(current, visit)

    for adapt in (best_in_steps, adapt_online):
        *_, before, last = adapt(policy, lucky_once, 1)
        assert before.policy.steps_taken == 1
        assert last.policy is policy
        assert "The policy as it was: after 1 step, on fresh episodes, its mean return may be lower by" in last.reason


def test_online_a_step_that_makes_the_robot_worse_is_undone(policy: AdaptablePolicy) -> None:
    robot = Robot([0.0, -100.0])
    attempts = list(adapt_online(policy, robot, 2))
    assert [attempt.undone for attempt in attempts] == [False, True, True, False]
    assert all(attempt.policy is policy for attempt in attempts)
    assert "may be lower by" in attempts[1].reason
    assert robot.visitors == [(0, 0), (1, 1), (0, 1), (1, 2), (0, 2), (0, 3)]


def test_online_what_is_shown_to_be_no_worse_is_gone_on_with_at_once(policy: AdaptablePolicy) -> None:
    robot = Robot([0.0, 100.0, 200.0])
    attempts = list(adapt_online(policy, robot, 2))
    assert [attempt.policy.steps_taken for attempt in attempts] == [0, 1, 2, 2]
    assert robot.visitors == [(0, 0), (1, 1), (2, 2), (0, 3), (2, 3)]


@pytest.mark.parametrize("adapt", [adapt_in_steps, best_in_steps, adapt_online])
def test_steps_may_be_those_of_a_trust_region(policy: AdaptablePolicy, adapt: Any) -> None:
    first, second, *_ = adapt(policy, Robot([0.0, 100.0]), 1, trust_region=0.05)
    expected = policy.adapt(first.episodes, trust_region=0.05)
    assert torch.equal(vector(second.policy.weights), vector(expected.weights))
    robot = Robot([])
    with pytest.raises(UserError, match="a KL in nats above 0"):
        next(adapt(policy, robot, 1, trust_region=-1.0))
    assert not robot.visitors


def test_online_the_next_attempt_goes_half_as_far_on_fresh_episodes(policy: AdaptablePolicy) -> None:
    robot, tried = Robot([0.0, -100.0]), []

    def watched(current: AdaptablePolicy, visit: int) -> RecordedEpisodes:
        tried.append(current)
        return robot(current, visit)

    list(adapt_online(policy, watched, 2))
    expected = policy.adapt(policy.record(robot.env, 1), step_scale=0.5)
    assert torch.equal(vector(tried[3].weights), vector(expected.weights))


def test_online_the_first_step_may_be_on_recorded_episodes_and_is_judged_like_any_other(
    policy: AdaptablePolicy,
) -> None:
    recorded = policy.record(navigation(), 77)
    good, bad = (
        list(adapt_online(policy, Robot(levels), 1, recorded=recorded)) for levels in ([0.0, 100.0, 200.0], [0.0, -9.0])
    )
    assert torch.equal(vector(good[1].policy.weights), vector(policy.adapt(recorded).weights))
    assert [attempt.policy.steps_taken for attempt in good] == [0, 1, 2, 2]
    assert [attempt.undone for attempt in bad] == [False, True, True, False]


def test_online_a_policy_under_which_every_episode_fails_or_more_than_before_is_undone(policy: AdaptablePolicy) -> None:
    robot = Robot([0.0, 100.0])

    def breaks(current: AdaptablePolicy, visit: int) -> RecordedEpisodes:
        if current.steps_taken and visit == 1:
            raise FailedEpisodesError("The robot broke.")
        episodes = robot(current, visit)
        return episodes.first(5) if current.steps_taken and visit == 2 else episodes

    attempts = list(adapt_online(policy, breaks, 3))
    assert [attempt.undone for attempt in attempts] == [False, True, True, False, False]
    assert attempts[1].reason == "100% of its episodes failed, not 0%"
    assert attempts[2].reason == "17% of its episodes failed, not 0%"
    assert len(attempts[1].returns) == 0
    assert attempts[-1].policy.steps_taken == 1


def test_the_floor_undoes_steps_whose_mean_is_higher(policy: AdaptablePolicy) -> None:
    robot = Robot([0.0, 100.0])

    def one_falls(current: AdaptablePolicy, visit: int) -> RecordedEpisodes:
        episodes = robot(current, visit)
        if current.steps_taken:
            episodes.rewards[-1] = -1000.0
        return episodes

    assert not list(adapt_online(policy, robot, 1, floor=-50.0))[1].undone
    falls = list(adapt_online(policy, one_falls, 1, floor=-50.0))
    assert falls[1].reason == "17% of its episodes failed or ended below -50, not 0%"
    last = list(best_in_steps(policy, one_falls, 1, floor=-50.0))[-1]
    assert last.policy is policy


class Paper(NamedTuple):
    """A policy on paper: normal returns of one mean and deviation; every step changes both at random.

    ``alike`` is the correlation of the returns of two policies on the same visit.
    """

    mean: float
    deviation: float
    draw: np.random.Generator
    change: Callable[["Paper"], tuple[float, float]]
    steps_taken: int = 0
    alike: float = 0.8
    memory: None = None

    def adapt(self, *_: Any, **__: Any) -> "Paper":
        by, wider = self.change(self)
        return self._replace(mean=self.mean + by, deviation=self.deviation * wider, steps_taken=self.steps_taken + 1)


def on_paper(policy: Any, visit: int) -> RecordedEpisodes:
    """Twenty episodes of one step; the same visit repeats as much of the noise as pairs are alike."""
    shared, own = np.random.default_rng(visit).standard_normal(20), policy.draw.standard_normal(20)
    rewards = policy.mean + policy.deviation * (policy.alike**0.5 * shared + (1 - policy.alike) ** 0.5 * own)
    ends = np.ones(20, bool)
    return RecordedEpisodes(np.zeros((20, 1)), np.zeros((20, 1)), rewards, ends, ends.copy())


def left_of(runs: int, change: Any, adapt: Any = adapt_online) -> list[Paper]:
    """What four attempts leave of a policy with returns of mean 0 and deviation 1, in so many random runs."""
    left = []
    for seed in range(runs):
        draw = np.random.default_rng(seed)
        with shapes_checked(False):  # a policy on paper is none
            *_, last = adapt(Paper(0.0, 1.0, draw, partial(change, draw)), on_paper, 4)
        left.append(last.policy)
    return left


def a_disaster_in_three(draw: np.random.Generator, policy: Paper) -> tuple[float, float]:
    """Every third step is a disaster; the others do nothing."""
    return (-3 * policy.deviation, 1.0) if draw.random() < 1 / 3 else (0.0, 1.0)


@pytest.mark.parametrize("alike", [0.5, 0.99, 1.0])
def test_on_paper_what_is_worse_by_the_margin_outlives_the_last_look_in_1_run_of_40_at_most(alike: float) -> None:
    runs, left = 400, 0
    for visit in range(runs):
        first = Paper(0.0, 1.0, np.random.default_rng(10**6 + visit), lambda _: (0.0, 1.0), alike=alike)
        lucky: Any = first._replace(mean=-MARGIN, steps_taken=1)
        with shapes_checked(False):
            attempt = measured_again(first, lucky, on_paper, visit, asked=20)  # type: ignore[arg-type]
        left += attempt.policy is lucky
    assert left <= LEVEL * runs + 3 * np.sqrt(LEVEL * (1 - LEVEL) * runs)


@pytest.mark.parametrize("adapt", [adapt_online, best_in_steps])
def test_on_paper_200_of_200_runs_with_planted_disasters_leave_none(adapt: Any) -> None:
    assert min(left.mean for left in left_of(200, a_disaster_in_three, adapt)) > -MARGIN


def test_on_paper_19_of_20_real_improvements_are_kept_and_no_loss() -> None:
    offered = []

    def gains_or_loses(draw: np.random.Generator, policy: Paper) -> tuple[float, float]:
        gains = draw.random() < 0.5
        offered.append(gains)
        return (policy.deviation, 1.0) if gains else (-policy.deviation, 2.0)

    left = np.array([one.mean for one in left_of(200, gains_or_loses)])
    assert left.min() >= 0
    assert left.sum() >= 0.95 * sum(offered)


class Course:
    """Navigation to a goal of its own, where one attempt is a disaster: what the best does, less three deviations."""

    def __init__(self, run: int) -> None:
        self.best = trained_policy(LEARNED.changed(seed=run, initial_std=0.3))
        self.draw, self.first_visit = np.random.default_rng(run), 1000 * run
        self.few, self.many = navigation(20), navigation(100)
        goal = {"goal": self.draw.uniform(-0.5, 0.5, (1, 2))}
        for env in (self.few, self.many):
            env.set_tasks(goal)
        self.cursed = int(self.draw.integers(1, ATTEMPTS + 1))
        self.visitors: dict[int, AdaptablePolicy] = {}
        """Who was there first at each visit: the attempted policies."""

    def __call__(self, policy: AdaptablePolicy, visit: int) -> RecordedEpisodes:
        self.visitors.setdefault(visit, policy)
        cursed = policy is self.visitors.get(self.cursed)
        episodes = (self.best if cursed else policy).record(self.few, self.first_visit + visit, stage=0)
        fall = 3 * episodes.returns.std(ddof=1) / HORIZON if cursed else 0.0
        return episodes._replace(rewards=episodes.rewards - np.float32(fall))

    def gain(self, policy: AdaptablePolicy, before: AdaptablePolicy) -> float:
        """On 100 fresh episodes, in standard deviations of the returns before."""
        after, usual = (one.record(self.many, 10**6, stage=0).returns for one in (policy, before))
        return float((after.mean() - usual.mean()) / usual.std(ddof=1))


ATTEMPTS = 5


@pytest.mark.slow
@pytest.mark.parametrize("trust_region", [None, 0.2], ids=["inner steps", "within a trust region"])
def test_in_200_runs_of_navigation_no_disaster_is_left_nothing_is_lost_and_gains_are_kept(
    trust_region: float | None,
) -> None:
    undone, gains, kept = [], [], []
    for run in range(200):
        course = Course(run)
        first, attempts = course.best, []
        size = course.draw.choice([0.1, 1.0, 5.0])
        first = replace(first, meta=first.meta._replace(rates={n: size * r for n, r in first.meta.rates.items()}))
        with shapes_checked(False):
            for attempt in adapt_online(first, course, ATTEMPTS, trust_region=trust_region and size * trust_region):
                attempts.append(attempt)
                course.best = attempt.policy
        undone.append(attempts[course.cursed].undone and attempts[-1].policy is not course.visitors[course.cursed])
        gains.append(course.gain(attempts[-1].policy, first))
        for visit in {*range(1, ATTEMPTS + 1)} - {course.cursed}:
            gain = course.gain(course.visitors[visit], attempts[visit - 1].policy)
            kept.append((gain, not attempts[visit].undone))
    real = [stays for gain, stays in kept if gain >= 1]
    losses = [stays for gain, stays in kept if gain <= -1]
    assert all(undone)
    assert sum(gain < -MARGIN for gain in gains) <= 1
    assert len(real) >= 100
    assert np.mean(real) >= 0.95
    assert len(losses) >= 50 or trust_region
    assert sum(losses) <= 0.01 * len(losses)


RUNS = 200


class GoneOnFrom(Course):
    """The same, where the disaster's own episodes are what the next step is taken on: theirs, with returns as low."""

    def __call__(self, policy: AdaptablePolicy, visit: int) -> RecordedEpisodes:
        self.visitors.setdefault(visit, policy)
        episodes = policy.record(self.few, self.first_visit + visit, stage=0)
        if policy is not self.visitors.get(self.cursed):
            return episodes
        usual = self.best.record(self.few, self.first_visit + visit, stage=0).returns
        fall = max(0.0, episodes.returns.mean() - usual.mean() + 3 * usual.std(ddof=1)) / HORIZON
        return episodes._replace(rewards=episodes.rewards - np.float32(fall))


@pytest.mark.slow
def test_in_200_runs_of_plain_steps_on_navigation_no_disaster_is_left_nothing_is_lost_and_gains_are_kept() -> None:
    gains, kept = [], []
    for run in range(RUNS):
        course = GoneOnFrom(run)
        size = course.draw.choice([0.1, 1.0, 5.0])
        rates = {name: size * rate for name, rate in course.best.meta.rates.items()}
        first = course.best = replace(course.best, meta=course.best.meta._replace(rates=rates))
        with shapes_checked(False):
            for attempt in best_in_steps(first, course, ATTEMPTS):
                course.best = attempt.policy
        assert attempt.policy is not course.visitors[course.cursed], run
        gains.append(course.gain(attempt.policy, first))
        offered = {
            course.gain(course.visitors[visit], first) for visit in range(1, ATTEMPTS + 1) if visit != course.cursed
        }
        if max(offered) >= 1:
            kept.append(gains[-1] >= 1 - MARGIN)
    assert sum(gain < -MARGIN for gain in gains) <= max(1, RUNS // 200)
    assert len(kept) >= RUNS // 10
    assert np.mean(kept) >= 0.95


SEARCHING = configure(
    "cavia", context=2, num_tasks=1, num_episodes=6, horizon=HORIZON, hidden=(8,), threads=1, inner_steps=1
)
LIMITS = ContextRange({"context": torch.tensor([-1.0, -2.0])}, {"context": torch.tensor([2.0, 1.0])})


LOWEST, HIGHEST = torch.tensor([-0.5, -0.3, -0.6]), torch.tensor([0.4, 0.6, 0.5])
AROUND = ContextRange(
    {"latent.shift": LOWEST - HIGHEST},
    {"latent.shift": HIGHEST - LOWEST},
    {"latent.lowest": LOWEST, "latent.highest": HIGHEST},
)


def telling() -> AdaptablePolicy:
    """A student whose most likely action is the first two numbers of the latent on which it acts."""
    policy, small = moved(student()), 1e-2
    told = {name: torch.zeros_like(tensor) for name, tensor in policy.weights.items() if name.startswith("layer")}
    told["layer0.weight"][:2, 2:4], told["layer1.weight"][:, :2] = small * torch.eye(2), torch.eye(2) / small
    weights = policy.weights | told | {"latent.shift": torch.zeros(3)}
    return replace(policy, meta=policy.meta._replace(params=weights))


SEARCHED: dict[str, tuple[Callable[[], AdaptablePolicy], ContextRange]] = {
    "cavia": (lambda: trained_policy(SEARCHING), LIMITS),
    "rma": (telling, AROUND),
}


def context_of(policy: AdaptablePolicy) -> torch.Tensor:
    """What a search sets."""
    (name,) = policy.network.context
    return policy.weights[name]


def search(kind: Any = "hill-climbing", episodes: int = 10, average: int = 1, limits: Any = LIMITS) -> Search:
    return Search(SearchSettings(kind, episodes, average), limits)


class Plant:
    """Episodes of a robot whose return is a function of the policy's context; it remembers who came."""

    def __init__(self, average: int = 1, *, observe_task: bool = False) -> None:
        self.env, self.visitors = navigation(average, observe_task=observe_task), list[AdaptablePolicy]()

    def worth(self, policy: AdaptablePolicy) -> float:
        best = torch.tensor([1.5, -1.0, 0.3])[: len(context_of(policy))]
        return -float((context_of(policy) - best).square().sum())

    def __call__(self, policy: AdaptablePolicy, visit: int) -> RecordedEpisodes:
        self.visitors.append(policy)
        episodes = policy.record(self.env, visit)
        return episodes._replace(rewards=np.full_like(episodes.rewards, self.worth(policy)))


@pytest.mark.parametrize("method", SEARCHED)
@pytest.mark.parametrize(
    ("kind", "average"),
    [
        ("cmaes", 1),
        ("hill-climbing", 2),
        ("gradient", 2),
        pytest.param("cmaes", 2, marks=pytest.mark.slow),
        pytest.param("hill-climbing", 1, marks=pytest.mark.slow),
    ],
)
def test_a_search_spends_its_budget_and_goes_on_with_the_best_it_measured(kind: str, average: int, method: str) -> None:
    make, limits = SEARCHED[method]
    plant, policy = Plant(average, observe_task=method == "rma"), make()
    *attempts, last = search_online(policy, plant, search(kind, 20, average, limits), seed=3)
    assert sum(len(attempt.returns) for attempt in attempts) == 20
    assert len(attempts) == 20 // average
    worth = [plant.worth(visitor) for visitor in plant.visitors][: len(attempts)]
    for number, attempt in enumerate(attempts):
        assert plant.worth(attempt.policy) == max(worth[: number + 1])
        assert attempt.undone == (worth[number] < max(worth[: number + 1]))
        assert attempt.policy.steps_taken == number + 1
    assert max(worth) > worth[0]
    contexts, (name,) = torch.stack([context_of(visitor) for visitor in plant.visitors]), policy.network.context
    assert bool(((contexts >= limits.low[name]) & (contexts <= limits.high[name])).all())
    assert torch.equal(contexts[0], torch.zeros_like(contexts[0]))
    for number, attempt in enumerate(attempts):
        assert attempt.repeated == any(torch.equal(contexts[number], earlier) for earlier in contexts[:number])
        others = policy.weights | limits.bounds | {name: contexts[number]}
        assert all(torch.equal(tensor, others[entry]) for entry, tensor in plant.visitors[number].weights.items())
    assert any(attempt.repeated for attempt in attempts)
    assert last.policy is attempts[-1].policy
    assert last.reason.startswith(
        f"The policy after {20 // average} attempts, on fresh episodes: its mean return is hi"
    )
    again = plant.visitors[len(attempts) :]
    assert again[: len(again) // 2] == [policy] * (CHECKED // average)
    assert again[len(again) // 2 :] == [last.policy] * (CHECKED // average)


def test_a_search_leaves_what_is_too_little_for_another_attempt() -> None:
    plant = Plant(2)
    *attempts, _ = search_online(trained_policy(SEARCHING), plant, search("gradient", 5, 2), seed=3)
    assert [len(attempt.returns) for attempt in attempts] == [2, 2]
    assert attempts[-1].policy.adaptation["episodes"] == 4


def test_on_a_robot_whatever_a_search_adds_to_a_guess_stays_within_the_latents_of_the_teacher() -> None:
    plant, policy = Plant(observe_task=True), telling()
    list(islice(search_online(policy, plant, search("cmaes", 20, limits=AROUND), seed=3), 20))
    latents = np.stack([visitor.record(plant.env, 0, actions="mean").actions for visitor in plant.visitors])
    low, high = LOWEST[:2].numpy(), HIGHEST[:2].numpy()
    assert (latents >= low - 1e-3).all()
    assert (latents <= high + 1e-3).all()
    at_an_end = (np.abs(latents - low) < 1e-3) | (np.abs(latents - high) < 1e-3)
    assert 0.1 < at_an_end.mean() < 0.9


def test_what_a_search_found_by_luck_or_makes_episodes_fail_is_not_left() -> None:
    policy = trained_policy(SEARCHING)

    class Lucky(Plant):
        def worth(self, policy: AdaptablePolicy) -> float:
            searched = len(self.visitors) <= 10
            return super().worth(policy) * (1 if searched else -1)

    class Broken(Plant):
        def __call__(self, current: AdaptablePolicy, visit: int) -> RecordedEpisodes:
            if visit == 12 and current is not policy:
                raise FailedEpisodesError("The robot broke.")
            return super().__call__(current, visit)

    *_, last = search_online(policy, Lucky(), search(), seed=3)
    assert last.policy is policy
    assert last.reason.startswith("The policy as it was: after 10 attempts, on fresh episodes, its mean return may be")
    *_, last = search_online(policy, Broken(), search(), seed=3)
    assert last.policy is policy
    assert "5% of its episodes failed, not 0%" in last.reason


def test_a_search_that_met_nothing_better_than_where_it_began_leaves_the_policy_as_it_was() -> None:
    plant, policy = Plant(), trained_policy(SEARCHING)
    plant.worth = lambda policy: -float(policy.weights["context"].square().sum())  # type: ignore[method-assign]
    *_, last = search_online(policy, plant, search(), seed=0)
    assert last.policy is policy
    assert last.policy.steps_taken == 0


def test_the_same_seed_tries_the_same_contexts_and_another_one_others() -> None:
    def tried(seed: int) -> torch.Tensor:
        plant = Plant()
        list(islice(search_online(trained_policy(SEARCHING), plant, search(), seed=seed), 10))
        return torch.stack([visitor.weights["context"] for visitor in plant.visitors])

    assert torch.equal(tried(0), tried(0))
    assert not torch.equal(tried(0), tried(1))


def test_a_search_from_an_adapted_policy_without_a_context_or_with_other_episodes_is_refused() -> None:
    fresh, plant = trained_policy(SEARCHING), Plant()
    *_, found = islice(search_online(fresh, plant, search(), seed=0), 10)
    with pytest.raises(UserError, match="this one has taken 10 steps since"):
        next(search_online(found.policy, Plant(), search(), seed=0))
    with pytest.raises(UserError, match="this policy has none"):
        next(search_online(trained_policy(), Plant(), search(), seed=0))
    with pytest.raises(UserError, match=r"needs 2 episodes \(--search-average\)"):
        next(search_online(fresh, Plant(1), search(average=2), seed=0))
    plant.worth = lambda policy: float("nan")  # type: ignore[method-assign]
    plant.visitors = []
    with pytest.raises(UserError, match="with finite returns"):
        next(search_online(fresh, plant, search(), seed=0))
