import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.core.policy import Policy
from rlmaml.core.types import Adaptation, Meta, Outputs, Params
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.rules.search_rule import ContextRange, Search, SearchRule, attempt_returns, search_rule
from rlmaml.rules.searches import SEARCHES, Floats, Measured
from rlmaml.settings.search import SearchKind, SearchSettings
from tests.rlmaml.delegation import lent
from tests.rlmaml.makers import (
    assert_same,
    gaussian_policy,
    random_batch,
    random_task_params,
    single,
    streams_of,
    vector,
)

POLICY = gaussian_policy(context=2)
LOW, HIGH = torch.tensor([-2.0, -1.0]), torch.tensor([4.0, 3.0])
LIMITS = ContextRange({"context": LOW}, {"context": HIGH})
OPTIMA = torch.tensor([[2.5, 1.0], [-1.0, 2.0], [3.0, -0.5]])
BY_RETURNS: tuple[SearchKind, ...] = ("cmaes", "hill-climbing")
KINDS: tuple[SearchKind, ...] = (*BY_RETURNS, "gradient")
STEEPER = torch.tensor([1.0, 2.0])


class Episodes(NamedTuple):
    rewards: Tensor
    valid: Tensor
    optima: Tensor = torch.zeros(1, 2, 2)
    """Where each task's return is highest, for every episode; what a slope alone reads."""


@lent(Policy, of="policy")
class Open:
    """A policy that says its context."""

    policy = POLICY

    def unroll(self, params: Params, batch: Any, memory: Any = None) -> tuple[Outputs, None]:
        return Outputs(params["context"]), None


OPEN: Any = Open()


def below_the_optimum(outputs: Outputs, data: Any) -> Tensor:
    """Minus the :func:`quadratic` return of one task's context."""
    below: Tensor = (((outputs.distribution - data.optima[0]) * STEEPER) ** 2).sum()
    return below


def earned(rewards: Tensor, tasks: Sequence[int]) -> Episodes:
    """Valid episodes of some tasks."""
    optima = OPTIMA[[task % 3 for task in tasks]][:, None].expand(-1, rewards.shape[1], -1)
    return Episodes(rewards, torch.ones_like(rewards, dtype=torch.bool), optima)


class Life(NamedTuple):
    """What a search did: the task parameters of every stage, the last adaptation, and how many episodes it lived."""

    contexts: Tensor
    returns: Tensor
    last: Adaptation
    episodes: int


def rule_of(kind: SearchKind = "cmaes", attempts: int = 50, average: int = 1, limits: ContextRange = LIMITS) -> Any:
    """A search; one by gradient, which one episode cannot tell, of two each, and along that of :func:`quadratic`."""
    average = max(average, 2) if kind == "gradient" else average
    rule = search_rule(Search(SearchSettings(kind, attempts * average, average), limits), POLICY)
    return dataclasses.replace(rule, loss=below_the_optimum) if kind == "gradient" else rule


def quadratic(contexts: Tensor, optima: Tensor) -> Tensor:
    """Return of every task: 0 at its optimum, and steeper along one axis."""
    return -(((contexts - optima) * STEEPER) ** 2).sum(-1)


def blindly(known: Measured, generator: np.random.Generator, attempts: int) -> Floats:
    """Uniform draws."""
    return np.array(generator.uniform(-1, 1, known.points.shape[1]))


def meta_of(num_tasks: int) -> Meta:
    return Meta(single(random_task_params(POLICY, num_tasks)), {})


def searched(
    rule: SearchRule, tasks: Sequence[int] = (0, 1, 2), noise: float = 0.0, steps: int | None = None, seed: int = 0
) -> Life:
    optima, meta = OPTIMA[[task % 3 for task in tasks]], meta_of(len(tasks))
    streams = dataclasses.replace(streams_of(list(tasks)), seed=seed)
    luck = torch.Generator().manual_seed(seed)
    adaptation, contexts, returns, lived = rule.begin(meta), [], [], 0
    for k in range(rule.steps if steps is None else steps):
        contexts.append(adaptation.params["context"])
        mean = quadratic(contexts[-1], optima)
        rewards = mean[:, None, None] / 2 + noise * torch.randn(len(tasks), rule.average, 2, generator=luck)
        lived += rule.average
        returns.append(mean)
        adaptation = rule.step(OPEN, meta, adaptation, earned(rewards, tasks), k, streams)
    return Life(torch.stack(contexts, 1), torch.stack(returns, 1), adaptation, lived)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("kind", "attempts", "most"),
    [
        *[(kind, 100, 2e-3) for kind in KINDS],
        *[(kind, 50, 0.02) for kind in BY_RETURNS],
        ("gradient", 25, 0.05),  # of two episodes each; as many blind draws
    ],
)
def test_the_optimum_of_a_quadratic_is_found_within_the_budget_as_no_blind_search_would(
    kind: SearchKind, attempts: int, most: float
) -> None:
    """What is left of the loss at the start after 100 attempts, and after those of a budget of 50 episodes."""
    blind, seeds = SearchRule(blindly, attempts, 1, LIMITS), range(200 // attempts)
    lived = [[searched(rule, seed=seed) for seed in seeds] for rule in (rule_of(kind, attempts), blind)]
    left = [
        float(torch.stack([quadratic(one.last.params["context"], OPTIMA) / one.returns[:, 0] for one in lives]).mean())
        for lives in lived
    ]
    assert left[0] < most
    assert left[1] > 1.2 * most


@pytest.mark.parametrize(
    ("kind", "episodes", "average"),
    [
        *[(kind, *budget) for kind in BY_RETURNS for budget in ((5, 1), (10, 2), (20, 1), (50, 5))],
        *[("gradient", *budget) for budget in ((10, 2), (20, 2), (50, 5))],
    ],
)
def test_exactly_the_budget_is_spent_and_the_best_measured_is_kept(
    kind: SearchKind, episodes: int, average: int
) -> None:
    rule = rule_of(kind, episodes // average, average)
    life = searched(rule)
    assert life.episodes == episodes == rule.steps * average
    assert life.last.state.returns.shape == (3, episodes // average)
    torch.testing.assert_close(life.last.state.returns.float(), life.returns)
    best = life.returns.argmax(1)
    assert torch.equal(life.last.params["context"], life.contexts[range(3), best])


@pytest.mark.parametrize("kind", KINDS)
def test_beyond_its_budget_it_stays_with_the_best_and_measures_it_again(kind: SearchKind) -> None:
    rule = rule_of(kind, 8)
    short, longer = searched(rule), searched(rule, steps=11)
    assert torch.equal(longer.contexts[:, :8], short.contexts)
    for k in range(8, 11):
        assert torch.equal(longer.contexts[:, k], short.last.params["context"])
    assert torch.equal(longer.last.params["context"], short.last.params["context"])


def test_what_was_lucky_once_loses_its_place_when_it_is_measured_again() -> None:
    rule, meta, streams = rule_of("hill-climbing", 3), meta_of(1), streams_of([0])
    adaptation, contexts = rule.begin(meta), []
    for k, earned in enumerate([1.0, 5.0, -9.0]):
        contexts.append(adaptation.params["context"])
        data = Episodes(torch.full((1, 1, 1), earned), torch.ones(1, 1, 1, dtype=torch.bool))
        adaptation = rule.step(POLICY, meta, adaptation, data, k, streams)
        if k == 1:
            assert torch.equal(rule.best(adaptation).params["context"], contexts[1])
    assert torch.equal(contexts[1], contexts[2])
    assert not torch.equal(contexts[0], contexts[1])
    assert torch.equal(adaptation.params["context"], contexts[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_so_far_is_never_worse_than_before(kind: SearchKind) -> None:
    rule, meta, streams = rule_of(kind, 20), meta_of(3), streams_of([0, 1, 2])
    adaptation = rule.begin(meta)
    assert rule.best(adaptation) == adaptation
    before = torch.full((3,), -torch.inf)
    for k in range(20):
        rewards = quadratic(adaptation.params["context"], OPTIMA)[:, None, None].expand(-1, rule.average, 1)
        adaptation = rule.step(OPEN, meta, adaptation, earned(rewards, (0, 1, 2)), k, streams)
        now = quadratic(rule.best(adaptation).params["context"], OPTIMA)
        assert (now >= before).all()
        before = now
    assert torch.equal(rule.best(adaptation).params["context"], adaptation.params["context"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_attempt_leaves_the_range_of_the_training_and_the_first_is_at_zero(kind: SearchKind) -> None:
    for seed in range(5):
        life = searched(rule_of(kind), noise=30.0, seed=seed)
        assert torch.equal(life.contexts[:, 0], torch.zeros(3, 2))
        assert (life.contexts >= LOW).all()
        assert (life.contexts <= HIGH).all()
        assert float(life.contexts.std(1).min()) > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_that_the_training_never_moved_stays(kind: SearchKind) -> None:
    limits = ContextRange({"context": LOW * torch.tensor([1.0, 0.0])}, {"context": HIGH * torch.tensor([1.0, 0.0])})
    life = searched(rule_of(kind, 20, limits=limits))
    assert (life.contexts[..., 1] == 0).all()
    assert float(life.contexts[..., 0].std()) > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_permuting_the_tasks_permutes_and_a_task_alone_is_searched_as_among_others(kind: SearchKind) -> None:
    rule = rule_of(kind, 20)
    every, permuted, alone = searched(rule), searched(rule, (2, 0, 1)), searched(rule, (1,))
    assert torch.equal(permuted.contexts, every.contexts[[2, 0, 1]])
    assert torch.equal(permuted.last.params["context"], every.last.params["context"][[2, 0, 1]])
    assert torch.equal(alone.contexts[0], every.contexts[1])
    same_optimum = searched(rule, (0, 3))
    assert not torch.equal(same_optimum.contexts[0], same_optimum.contexts[1])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_tried_next_follows_from_the_state_alone(kind: SearchKind) -> None:
    rule, meta, streams = rule_of(kind, 20), meta_of(3), streams_of([0, 1, 2])
    half = searched(rule, steps=10).last
    kept = half.state._replace(**{name: tensor.clone() for name, tensor in half.state._asdict().items()})
    data = earned(torch.full((3, rule.average, 1), -3.0), (0, 1, 2))
    torch.manual_seed(5)
    first = rule.step(OPEN, meta, half, data, 10, streams)
    torch.manual_seed(6)
    again = rule.step(OPEN, meta, Adaptation(half.params, kept), data, 10, streams)
    assert torch.equal(vector(first.params), vector(again.params))
    assert torch.equal(half.state.points, kept.points)
    other = rule.step(OPEN, meta, half, data, 11, streams)
    assert not torch.equal(vector(first.params), vector(other.params))


def test_only_the_context_changes_and_nothing_is_learned() -> None:
    rule, meta = rule_of(attempts=5), meta_of(3)
    life = searched(rule)
    assert {name for name, tensor in meta.params.items() if not torch.equal(tensor, life.last.params[name])} == {
        "context"
    }
    assert isinstance(rule, InnerRule)
    assert rule.reset == ("context",)
    assert rule.rates(meta.params) == {}
    assert rule.during(3) is rule
    assert not rule.remembers


def test_an_attempt_s_return_by_hand() -> None:
    rewards = torch.tensor([[[1.0, 2.0, 9.0], [3.0, 4.0, 5.0], [100.0, 0.0, 0.0]], [[1.0, 1.0, 1.0]] * 3])
    valid = torch.tensor([[[1, 1, 0], [1, 1, 1], [1, 1, 1]], [[0, 0, 0], [1, 1, 0], [1, 1, 1]]]).bool()
    # task 0: 3, 12; task 1: its first episode failed, 2
    assert attempt_returns(Episodes(rewards, valid), 2).tolist() == [7.5, 2.0]
    failed = attempt_returns(Episodes(rewards, valid & torch.tensor([[[1]], [[0]]]).bool()), 3)
    assert failed[0] == 115 / 3
    assert failed[1].isnan()
    with pytest.raises(ValueError, match="averaged over 4 episodes; the data has 3"):
        attempt_returns(Episodes(rewards, valid), 4)


def test_a_context_whose_simulation_failed_is_not_kept() -> None:
    rule, meta, streams = rule_of("cmaes", 6), meta_of(1), streams_of([0])
    adaptation = rule.begin(meta)
    for k in range(6):
        rewards = torch.full((1, 1, 2), 50.0 if k else -50.0)
        data = Episodes(rewards, torch.full_like(rewards, float(k == 0)).bool())
        adaptation = rule.step(POLICY, meta, adaptation, data, k, streams)
    assert torch.equal(adaptation.params["context"], torch.zeros(1, 2))


def test_a_derivative_and_streams_without_tasks_are_refused() -> None:
    rule, meta = rule_of(), meta_of(1)
    data = Episodes(torch.ones(1, 1, 1), torch.ones(1, 1, 1, dtype=torch.bool))
    start = rule.begin(meta)
    with pytest.raises(NotImplementedError, match="No derivative"):
        rule.step(POLICY, meta, start, data, 0, streams_of([0]), create_graph=True)
    with pytest.raises(NotImplementedError):
        rule.jacobian(POLICY, meta, start, start, 0, bends_on=None)
    for streams in (None, streams_of([])):
        with pytest.raises(ValueError, match="streams of its tasks"):
            rule.step(POLICY, meta, start, data, 0, streams)


def test_a_policy_without_context_or_with_one_that_never_moved_is_refused() -> None:
    search = Search(SearchSettings("cmaes"), LIMITS)
    with pytest.raises(UserError, match="this policy has none; train with --algorithm cavia"):
        search_rule(search, gaussian_policy())
    still = ContextRange({"context": torch.zeros(2)}, {"context": torch.zeros(2)})
    with pytest.raises(UserError, match="no context was ever other than 0"):
        search_rule(search._replace(limits=still), POLICY)
    assert set(SEARCHES) == set(KINDS)


def test_a_search_by_gradient_climbs_the_policy_gradient_of_the_context_on_an_attempts_own_episodes() -> None:
    rule = search_rule(Search(SearchSettings("gradient", 16, 2), LIMITS), POLICY)
    assert rule.loss is not None
    meta, streams = Meta(random_task_params(POLICY, 3), {}), streams_of([0, 1, 2])
    batch = random_batch(POLICY, meta.params, num_tasks=3, num_episodes=4)
    batch = batch._replace(inner_advantages=-batch.advantages)  # it climbs the return, whatever an inner step would see
    start = rule.begin(meta)
    after = rule.step(POLICY, meta, start, batch, 0, streams)
    half = (HIGH - LOW) / 2
    for task in range(3):
        context = start.params["context"][task].clone().requires_grad_()
        own = {name: tensor[task] for name, tensor in start.params.items()} | {"context": context}
        episodes = type(batch)(*(values[task, :2] for values in batch))
        says = POLICY.unroll({name: tensor[None] for name, tensor in own.items()}, batch_of(episodes))[0]
        log_ratio = says.distribution.log_prob(episodes.actions[None]) - episodes.log_probs[None]
        loss = -(log_ratio * episodes.advantages)[episodes.valid[None]].mean()
        (slope,) = torch.autograd.grad(-loss, [context])
        assert_same(after.state.slopes[task, 0], (slope * half).double(), rtol=1e-5)
    other = batch._replace(rewards=torch.cat([batch.rewards[:, :2], batch.rewards[:, 2:] + 5], 1))
    assert torch.equal(vector(rule.step(POLICY, meta, start, other, 0, streams).params), vector(after.params))
    assert {name for name in meta.params if not torch.equal(start.params[name], after.params[name])} == {"context"}


def batch_of(episodes: Any) -> Any:
    """One task's."""
    return type(episodes)(*(values[None] for values in episodes))
