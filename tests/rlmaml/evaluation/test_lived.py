from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.core.parameters import for_every_task
from rlmaml.core.policy import Policy
from rlmaml.core.types import Meta
from rlmaml.evaluation.evaluate import evaluate
from rlmaml.evaluation.lived import returns_after_living, shared
from rlmaml.rules.adaptation_rule import adaptation_rule, trained_rule
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.rules.search_rule import ContextRange, Search
from rlmaml.sampling.collect import episodes_of
from rlmaml.sampling.rollout import rollout
from rlmaml.settings.search import SearchSettings
from rlmaml.settings.whole import Settings, configure
from rlmaml_envs import TaskVectorEnv, make_tasks_env
from tests.rlmaml.makers import gaussian_policy, gru_policy

SETTINGS = configure(
    inner_steps=2, inner_step_sizes=(0.5,), stage_weights=(0.0, 1.0, 1.0), horizon=6, hidden=(8,), threads=1
)
POLICY = gaussian_policy(observation_size=2, hidden=(8,))
CONTEXTUAL = gaussian_policy(observation_size=2, hidden=(8,), context=2)


def make_env(copies: int) -> TaskVectorEnv:
    return make_tasks_env("Navigation2D-v0", copies, 6, variant="finn2017")


def always(rule: InnerRule) -> Callable[[int], InnerRule]:
    return lambda _: rule


def lived(
    policy: Policy,
    rule_for: Callable[[int], InnerRule],
    budgets: tuple[int, ...],
    settings: Settings = SETTINGS,
    **options: Any,
) -> torch.Tensor:
    meta = Meta(policy.init(0), {})
    numbers: dict[str, Any] = {"num_tasks": 3, "num_episodes": 4, "seed": 5, **options}
    make = numbers.pop("make_env", make_env)
    return returns_after_living(make, policy, rule_for, meta, settings, lived=budgets, **numbers)


@given(st.integers(0, 60), st.integers(0, 7))
def test_episodes_are_shared_evenly_and_none_is_lost(episodes: int, steps: int) -> None:
    found = shared(episodes, steps)
    assert sum(found) == (episodes if steps else 0)
    assert len(found) == min(episodes, steps)
    assert all(0 < found[-1] <= count <= found[-1] + 1 for count in found)
    assert sorted(found, reverse=True) == found


@pytest.mark.parametrize("actions", ["sampled", "mean"])
def test_a_policy_of_inner_steps_is_judged_after_them_on_the_same_other_episodes(actions: Any) -> None:
    found = lived(POLICY, always(trained_rule(SETTINGS, POLICY)), (0, 5), actions=actions)
    streams = RandomStreams(5, Phase.EVALUATION, tasks=range(3))
    rule, meta = trained_rule(SETTINGS, POLICY), for_every_task(Meta(POLICY.init(0), {}), 3)
    adaptation = rule.begin(meta)
    for k, episodes in enumerate((3, 2)):
        env = make_env(3 * episodes)
        env.set_tasks(env.sample_tasks(3, streams.task_seeds(3)))
        collect = episodes_of(env, POLICY, SETTINGS.advantages, streams, range(3), "cpu")
        adaptation = rule.step(POLICY, meta, adaptation, collect(adaptation, k).data, k, streams)
    env = make_env(12)
    env.set_tasks(env.sample_tasks(3, streams.task_seeds(3)))
    for column, params in enumerate((rule.begin(meta).params, adaptation.params)):
        judged = rollout(env, POLICY, params, tasks=range(3), streams=streams, k=6, most_likely=actions == "mean")
        torch.testing.assert_close(found[:, column], judged.returns.mean(1))
    assert not torch.equal(found[:, 0], found[:, 1])


def test_what_was_asked_for_besides_changes_no_number_but_by_where_the_judging_begins() -> None:
    rule = always(trained_rule(SETTINGS, POLICY))
    forth, back = lived(POLICY, rule, (0, 1, 4)), lived(POLICY, rule, (4, 0, 1))
    assert torch.equal(forth[:, [2, 0, 1]], back)
    assert torch.equal(lived(POLICY, rule, (0, 4)), forth[:, [0, 2]])


def test_a_memory_lives_through_the_episodes_and_is_judged_on_the_next_one() -> None:
    policy = gru_policy(observation_size=2, hidden=(8,))
    settings = configure("rl2", trial_episodes=2, horizon=6, hidden=(8,), threads=1)
    rule = trained_rule(settings, policy)
    found = lived(policy, always(rule), (0, 3, 1), settings)
    whole = evaluate(
        make_env(12), policy, rule, Meta(policy.init(0), {}), settings, num_tasks=3, steps=3, seed=5
    ).returns_with_failed
    assert torch.equal(found, whole[:, [0, 3, 1]])


def test_without_steps_nothing_is_lived_and_every_number_is_the_same() -> None:
    settings = configure("pretrained", horizon=6, hidden=(8,), threads=1)
    made = []

    def counted(copies: int) -> TaskVectorEnv:
        made.append(copies)
        return make_env(copies)

    found = lived(POLICY, always(trained_rule(settings, POLICY)), (0, 2, 50), settings, make_env=counted)
    assert made == [12]
    assert torch.equal(found, found[:, :1].expand(-1, 3))


def test_a_search_spends_every_budget_on_attempts_and_ends_no_lower_by_its_own_measure() -> None:
    settings = configure("cavia", context=2, inner_steps=1, horizon=6, hidden=(8,), threads=1)
    limits = ContextRange({"context": torch.full((2,), -3.0)}, {"context": torch.full((2,), 3.0)})
    steps: list[int] = []

    def rule_for(episodes: int) -> InnerRule:
        if not episodes:
            return trained_rule(settings, CONTEXTUAL)
        planned = SearchSettings("hill-climbing", search_episodes=episodes)
        rule = adaptation_rule(settings, CONTEXTUAL, search=Search(planned, limits))
        steps.append(rule.steps)
        return rule

    found = lived(CONTEXTUAL, rule_for, (0, 1, 8), settings)
    assert {1, 8} == set(steps)
    assert torch.equal(found[:, 0], found[:, 1])  # a single attempt is the context 0
    assert not torch.equal(found[:, 0], found[:, 2])


def test_tasks_beyond_the_training_range_are_others() -> None:
    rule = always(trained_rule(SETTINGS, POLICY))
    assert not torch.equal(lived(POLICY, rule, (0, 1)), lived(POLICY, rule, (0, 1), beyond=True))
