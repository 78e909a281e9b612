"""Adaptation with the robot in the loop: collect episodes, take a step, collect again."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from rlmaml.base.errors import UserError
from rlmaml.base.intervals import half_interval
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.core.parameters import for_every_task
from rlmaml.core.types import Adaptation, Meta
from rlmaml.deploy.adaptable import AdaptablePolicy
from rlmaml.rules.search_rule import Search, search_rule
from rlmaml.sampling.recorded import RecordedEpisodes, as_rollout
from rlmaml.settings.trust_region import check_trust_region

Collect: TypeAlias = Callable[[AdaptablePolicy, int], RecordedEpisodes]
"""``collect(policy, visit)``: episodes of the policy on the robot; visits are counted from 0, and never repeat."""


class Attempt(NamedTuple):
    """What one round of adaptation led to."""

    policy: AdaptablePolicy
    """The policy to go on with: the new one, or the previous one where the step was undone; the best so far of a
    search."""
    episodes: RecordedEpisodes
    """What the attempted policy did."""
    undone: bool = False

    @property
    def returns(self) -> npt.NDArray[np.float64]:
        """Returns of the attempted policy."""
        return self.episodes.returns.astype(np.float64)


def return_interval(returns: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval of the mean return, Student's t over episodes; without limits for a single episode."""
    if len(returns) < 2:
        return -np.inf, np.inf
    mean, half = float(returns.mean()), float(half_interval(returns))
    return mean - half, mean + half


def adapt_in_steps(
    policy: AdaptablePolicy, collect: Collect, rounds: int, *, trust_region: float | None = None
) -> Iterator[Attempt]:
    """The policy as it is, then after each of ``rounds`` steps, all of which are kept.

    Args:
        policy: the policy to begin with.
        collect: collects episodes of a policy.
        rounds: steps.
        trust_region: see :meth:`rlmaml.deploy.adaptable.AdaptablePolicy.adapt`.

    Raises:
        UserError: see :meth:`rlmaml.deploy.adaptable.AdaptablePolicy.adapt`.
    """
    check_trust_region(trust_region)
    for visit in range(rounds + 1):
        episodes = collect(policy, visit)
        yield Attempt(policy, episodes)
        if visit < rounds:
            policy = policy.adapt(episodes, trust_region=trust_region)


def adapt_online(
    policy: AdaptablePolicy, collect: Collect, rounds: int, *, trust_region: float | None = None
) -> Iterator[Attempt]:
    """The policy as it is, then after each of ``rounds`` attempts to improve it; bad ones are undone.

    A step is undone where the return interval of the new policy lies below that of the previous one. The next attempt
    then starts from the previous policy with fresh episodes and half the step; after a step that is kept, it is whole
    again.

    Args:
        policy: the policy to begin with.
        collect: collects episodes of a policy.
        rounds: attempts.
        trust_region: see :meth:`rlmaml.deploy.adaptable.AdaptablePolicy.adapt`.

    Raises:
        UserError: see :meth:`rlmaml.deploy.adaptable.AdaptablePolicy.adapt`.
    """
    check_trust_region(trust_region)
    visit, scale, stale = 0, 1.0, False
    episodes = collect(policy, visit)
    returns = episodes.returns.astype(np.float64)
    yield Attempt(policy, episodes)
    for _ in range(rounds):
        if stale:
            visit += 1
            episodes = collect(policy, visit)
            returns = np.concatenate([returns, episodes.returns])
        visit += 1
        candidate = policy.adapt(episodes, trust_region=trust_region, step_scale=scale)
        attempt = Attempt(candidate, collect(candidate, visit))
        stale = return_interval(attempt.returns)[1] < return_interval(returns)[0]
        if stale:
            scale /= 2
            yield attempt._replace(policy=policy, undone=True)
        else:
            policy, episodes, returns, scale = candidate, attempt.episodes, attempt.returns, 1.0
            yield attempt


def search_online(policy: AdaptablePolicy, collect: Collect, search: Search, *, seed: int) -> Iterator[Attempt]:
    """One attempt of a search in the context after another, each with the best policy that has been measured so far.

    They spend the search's budget exactly: ``collect`` is called once for every attempt. An attempt counts as undone
    where the best so far is another.

    Args:
        policy: as it was meta-trained, with a context.
        collect: collects as many episodes as an attempt is averaged over.
        search: how, within which range, and how long; the range is in :mod:`rlmaml.storage.range_file`.
        seed: of what is tried.

    Raises:
        UserError: the policy has adapted already or has no context (see :func:`rlmaml.rules.search_rule.search_rule`),
            or ``collect`` gave another number of episodes, or returns that are not finite.
    """
    rule = search_rule(search, policy.network)
    if policy.steps_taken:
        raise UserError(
            f"A search starts from a policy as it was trained; this one has taken {policy.steps_taken} steps since."
        )
    streams, meta = RandomStreams(seed, Phase.EVALUATION, tasks=[0]), for_every_task(policy.meta, 1)
    adaptation = rule.begin(meta)

    def with_context(found: Adaptation, attempts: int) -> AdaptablePolicy:
        params = {name: tensor[0] for name, tensor in found.params.items()}
        return replace(policy, meta=Meta(params, policy.meta.rates), steps_taken=attempts)

    for attempt in range(rule.steps):
        candidate = adaptation.state.candidate
        episodes = collect(with_context(adaptation, attempt), attempt)
        if len(episodes.returns) != rule.average or not np.isfinite(episodes.returns).all():
            raise UserError(
                f"Attempt {attempt} of the search returned {episodes.returns}; it needs {rule.average} episodes "
                "(--search-average) with finite returns."
            )
        adaptation = rule.step(policy.network, meta, adaptation, as_rollout(episodes), attempt, streams)
        best = rule.best(adaptation)
        undone = not bool((best.state.candidate == candidate).all())
        yield Attempt(with_context(best, attempt + 1), episodes, undone)
