"""Adaptation with the robot in the loop: collect episodes, take a step, collect again."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from rlmaml.base.errors import NonFiniteError, UserError
from rlmaml.base.intervals import FEWEST, half_interval
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.core.parameters import for_every_task
from rlmaml.core.types import Adaptation, Meta
from rlmaml.deploy.adaptable import AdaptablePolicy
from rlmaml.deploy.judgement import Judgement, Returns, judge, location
from rlmaml.rules.search_rule import Search, search_rule
from rlmaml.sampling.recorded import FailedEpisodesError, RecordedEpisodes, as_rollout, joined
from rlmaml.settings.trust_region import check_trust_region
from rlmaml.terminal.words import counted

Collect: TypeAlias = Callable[[AdaptablePolicy, int], RecordedEpisodes]
"""``collect(policy, visit)``: episodes of the policy on the robot. Visits are counted from 0; two policies that are
compared make the same one, which begins them in the same states where a simulator allows it."""

CHECKED = 20
"""Episodes, at least, in which the best policy of a search is measured again, and as many of the first one."""


class Attempt(NamedTuple):
    """What one round of adaptation led to."""

    policy: AdaptablePolicy
    """The best so far, by the lower confidence bound of its mean return; of steps that are all kept, the newest."""
    episodes: RecordedEpisodes | None
    """What the attempted policy did; None where every episode failed."""
    undone: bool = False
    reason: str = ""
    """Why it was undone, or is not to be left; of the last one, what ``policy`` is and why."""
    again: bool = False
    """Whether it is the last one, which measures what was reached again."""
    repeated: bool = False
    """Whether it measured once more what an earlier attempt of a search had tried."""

    @property
    def returns(self) -> npt.NDArray[np.float64]:
        """Returns of the attempted policy, of the episodes that did not fail."""
        return np.zeros(0) if self.episodes is None else self.episodes.returns.astype(np.float64)


class Candidate(NamedTuple):
    """A policy and its returns, visit by visit, each with as many episodes; NaN for those that failed."""

    policy: AdaptablePolicy
    returns: tuple[Returns, ...]
    episodes: RecordedEpisodes | None
    """Of the last visit."""

    @property
    def lowest(self) -> float:
        """The lower confidence bound of the mean return over all visits."""
        return location(np.concatenate(self.returns)).lowest


def return_interval(returns: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval of the mean return, Student's t over episodes; without limits for too few episodes."""
    if len(returns) < FEWEST:
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


def best_in_steps(
    policy: AdaptablePolicy,
    collect: Collect,
    rounds: int,
    *,
    trust_region: float | None = None,
    floor: float | None = None,
    measure: Collect | None = None,
) -> Iterator[Attempt]:
    """The same steps, with the best policy so far; at last the best, measured again beside the one to begin with.

    The best is one of those whose returns show that they are no worse than at first, by the judgement of
    :func:`adapt_online`. Where every episode of a policy failed there is nothing to take a step on, and no further one
    is taken.

    Args:
        policy: the policy to begin with.
        collect: collects episodes of a policy.
        rounds: steps.
        trust_region: see :meth:`rlmaml.deploy.adaptable.AdaptablePolicy.adapt`.
        floor: a return below which an episode counts as failed.
        measure: collects the episodes by whose returns policies are judged, such as those of mean actions; by default
            those that they adapt from.

    Raises:
        UserError: see :meth:`rlmaml.deploy.adaptable.AdaptablePolicy.adapt`.
    """
    check_trust_region(trust_region)
    judged = measure or collect
    episodes = judged(policy, 0)
    asked = len(episodes.returns)
    best = first = current = candidate_of(policy, episodes, asked)
    yield Attempt(policy, episodes)
    visit = 0
    while visit < rounds and current.episodes is not None:
        sampled = attempted(collect, current.policy, visit) if measure else current.episodes
        if sampled is None:
            break
        visit += 1
        stepped = current.policy.adapt(sampled, trust_region=trust_region)
        current = candidate_of(stepped, attempted(judged, stepped, visit), asked)
        verdict, first = judged_beside(current, first, judged, visit, asked=asked, floor=floor)
        if not verdict.worse:
            best = better(current, best)
        yield Attempt(best.policy, current.episodes, reason=verdict.reason if verdict.worse else "")
    yield measured_again(first.policy, best.policy, judged, visit + 1, asked=asked, floor=floor)


def adapt_online(
    policy: AdaptablePolicy,
    collect: Collect,
    rounds: int,
    *,
    trust_region: float | None = None,
    floor: float | None = None,
    recorded: RecordedEpisodes | None = None,
    measure: Collect | None = None,
) -> Iterator[Attempt]:
    """The policy as it is, after each of ``rounds`` attempts to improve it, and at last the best, measured again.

    An attempt is undone unless its returns show that it is no worse than the best policy so far; see
    :func:`rlmaml.deploy.judgement.judge`. Where they leave that open, the best policy repeats the visit, for a second
    look at both side by side. After an attempt that is undone, the next one starts from the best policy with fresh
    episodes and half the step; after one that is kept, the step is whole again.

    In the end the best policy and the first one drive on a fresh visit, and the first is what is left where that does
    not show the best to be no worse. So what is left is worse than the first by more than ``MARGIN`` standard
    deviations of its returns with a probability of about ``LEVEL`` at most, whatever the attempts led to.

    Args:
        policy: the policy to begin with.
        collect: collects episodes of a policy, as many at every visit: those that are missing count as failed.
        rounds: attempts.
        trust_region: see :meth:`rlmaml.deploy.adaptable.AdaptablePolicy.adapt`.
        floor: a return below which an episode counts as failed.
        recorded: episodes of the policy from before, for a first attempt that is not among the ``rounds``.
        measure: collects the episodes by whose returns policies are judged, such as those of mean actions; by default
            those that they adapt from.

    Raises:
        UserError: see :meth:`rlmaml.deploy.adaptable.AdaptablePolicy.adapt`; or every episode of the policy to begin
            with failed.
    """
    check_trust_region(trust_region)
    judged = measure or collect
    visit, scale = 0, 1.0
    episodes = judged(policy, visit)
    asked = len(episodes.returns)
    best = first = current = candidate_of(policy, episodes, asked)
    yield Attempt(policy, episodes)
    for given in [*[recorded] * (recorded is not None), *[None] * rounds]:
        visit += 1
        sampled = given or (None if measure else current.episodes) or collect(current.policy, visit)
        candidate = current.policy.adapt(sampled, trust_region=trust_region, step_scale=scale)
        tried = candidate_of(candidate, attempted(judged, candidate, visit), asked)
        verdict, best = judged_beside(tried, best, judged, visit, asked=asked, floor=floor)
        if verdict.worse:
            current, scale = best, scale / 2
        else:
            current, scale = tried, 1.0
            best = better(tried, best)
        yield Attempt(best.policy, tried.episodes, verdict.worse, verdict.reason if verdict.worse else "")
    yield measured_again(first.policy, best.policy, judged, visit + 1, asked=asked, floor=floor)


def attempted(collect: Collect, policy: AdaptablePolicy, visit: int) -> RecordedEpisodes | None:
    """Episodes of a policy that may be a bad one; None where all of them failed."""
    try:
        return collect(policy, visit)
    except (FailedEpisodesError, NonFiniteError):
        return None


def candidate_of(
    policy: AdaptablePolicy, episodes: RecordedEpisodes | None, asked: int, earlier: tuple[Returns, ...] = ()
) -> Candidate:
    """A policy with the returns of one more visit, of which ``asked`` episodes were wanted."""
    returns = np.zeros(0) if episodes is None else episodes.returns.astype(np.float64)
    failed = np.full(max(0, asked - len(returns)), np.nan)
    return Candidate(policy, (*earlier, np.concatenate([returns, failed])), episodes)


def judged_beside(
    tried: Candidate, other: Candidate, collect: Collect, visit: int, *, asked: int, floor: float | None = None
) -> tuple[Judgement, Candidate]:
    """Whether a policy is worse than another one, which repeats the visit where its earlier ones leave that open."""
    verdict = judge(tried.returns[0], np.concatenate(other.returns), floor=floor)
    if not verdict.worse:
        return verdict, other
    other = candidate_of(other.policy, attempted(collect, other.policy, visit), asked, other.returns)
    return judge(tried.returns[0], other.returns[-1], paired=True, floor=floor), other


def in_visits(collect: Collect, times: int) -> Collect:
    """Several visits in place of one; a visit in which every episode fails has none."""

    def visits(policy: AdaptablePolicy, visit: int) -> RecordedEpisodes:
        seen = [attempted(collect, policy, visit + again) for again in range(times)]
        return joined([episodes for episodes in seen if episodes is not None])

    return visits


def better(one: Candidate, other: Candidate) -> Candidate:
    """The one whose mean return has the higher lower confidence bound; the second where that is the same."""
    return one if one.lowest > other.lowest else other


def taken_since(first: AdaptablePolicy, later: AdaptablePolicy, noun: str = "step") -> str:
    """What a policy did since it was ``first``, in words: steps, or whatever they are called, or a life of episodes."""
    count = later.steps_taken - first.steps_taken
    return counted(count, noun) if later.memory is None else f"living through {counted(count, 'episode')}"


def measured_again(
    first: AdaptablePolicy,
    best: AdaptablePolicy,
    collect: Collect,
    visit: int,
    *,
    asked: int,
    floor: float | None = None,
    noun: str = "step",
) -> Attempt:
    """The best policy beside the first on a fresh visit, and the one of them to go on with: luck is no merit."""
    again = candidate_of(first, attempted(collect, first, visit), asked)
    if best is first:
        return Attempt(
            first,
            again.episodes,
            reason="The policy as it was: none that is no worse had a higher lower bound.",
            again=True,
        )
    rival = candidate_of(best, attempted(collect, best, visit), asked)
    verdict = judge(rival.returns[0], again.returns[0], paired=True, floor=floor)
    after = f"after {taken_since(first, best, noun)}, on fresh episodes"
    if verdict.worse:
        return Attempt(first, again.episodes, reason=f"The policy as it was: {after}, {verdict.reason}.", again=True)
    return Attempt(best, rival.episodes, reason=f"The policy {after}: {verdict.reason}.", again=True)


def search_online(
    policy: AdaptablePolicy, collect: Collect, search: Search, *, seed: int, floor: float | None = None
) -> Iterator[Attempt]:
    """One attempt of a search in the context after another, and at last the best policy, measured again.

    The attempts never spend more than the search's budget: ``collect`` is called once for each. One counts as undone
    where the best so far is another. That one was chosen because it was lucky, too, so in the end it drives on fresh
    visits beside the policy to begin with, for at least ``CHECKED`` episodes each, and is judged as in
    :func:`adapt_online`: what is left is worse than the first by more than ``MARGIN`` standard deviations of its
    returns with a probability of about ``LEVEL`` at most. Whoever cannot spare these episodes does not ask for the last
    attempt.

    Args:
        policy: as it was meta-trained, with a context.
        collect: collects as many episodes as an attempt is averaged over.
        search: how, within which range, and how long; the range is in :mod:`rlmaml.storage.range_file`.
        seed: of what is tried.
        floor: a return below which an episode counts as failed, in the end.

    Raises:
        UserError: the policy has adapted already or has no context (see :func:`rlmaml.rules.search_rule.search_rule`),
            or ``collect`` gave another number of episodes, or returns that are not finite.
    """
    rule = search_rule(search, policy.network)
    if policy.steps_taken:
        raise UserError(
            "A search starts from a policy as it was trained; this one has taken "
            f"{counted(policy.steps_taken, 'step')} since."
        )
    streams, meta = RandomStreams(seed, Phase.EVALUATION, tasks=[0]), for_every_task(policy.meta, 1)
    begun = adaptation = rule.begin(meta)
    best = policy

    def with_context(found: Adaptation, attempts: int) -> AdaptablePolicy:
        params = {name: tensor[0] for name, tensor in found.params.items()}
        lived = {"episodes": attempts * rule.average}
        return replace(policy, meta=Meta(params, policy.meta.rates), steps_taken=attempts, adaptation=lived)

    for attempt in range(rule.steps):
        candidate = adaptation.state.candidate
        repeated = bool((adaptation.state.points == candidate.unsqueeze(1)).all(-1).any())
        episodes = collect(with_context(adaptation, attempt), attempt)
        if len(episodes.returns) != rule.average or not np.isfinite(episodes.returns).all():
            raise UserError(
                f"Attempt {attempt} of the search returned {episodes.returns}; it needs {rule.average} episodes "
                "(--search-average) with finite returns."
            )
        data = as_rollout(episodes) if rule.loss is None else policy.as_batch(episodes, adaptation.params)
        adaptation = rule.step(policy.network, meta, adaptation, data, attempt, streams)
        found = rule.best(adaptation)
        undone = not bool((found.state.candidate == candidate).all())
        best = with_context(found, attempt + 1)
        yield Attempt(best, episodes, undone, repeated=repeated)
    if bool((found.state.candidate == begun.state.candidate).all()):
        best = policy
    visits = visits_checked(rule.average)
    again, asked = in_visits(collect, visits), visits * rule.average
    yield measured_again(policy, best, again, rule.steps, asked=asked, floor=floor, noun="attempt")


def visits_checked(average: int) -> int:
    """How often a robot is visited, with so many episodes each, to measure a policy of a search again."""
    return -(-CHECKED // average)
