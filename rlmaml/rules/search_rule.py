"""A search in the context of a policy, by the returns of whole episodes and, where asked for, by their gradient."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.base.random_streams import RandomStreams
from rlmaml.core.losses import InnerLoss, return_loss
from rlmaml.core.policy import Policy
from rlmaml.core.types import Adaptation, Meta, Params, at_most
from rlmaml.rules.gradient_rule import losses_of
from rlmaml.rules.inner_rule import StepJacobian
from rlmaml.rules.searches import SEARCHES, Measured, Propose, measured, next_point
from rlmaml.settings.search import SearchSettings


class ContextRange(NamedTuple):
    """Where contexts were in a training, 0 among them: the smallest and largest values, by entry of the weights."""

    low: Params
    high: Params
    bounds: Params = {}  # noqa: RUF012 (never written)
    """Weights that a search sets, the same for every attempt, by name: what they bound stays as it was in training."""


class Search(NamedTuple):
    """A search: how, and within which range."""

    settings: SearchSettings
    limits: ContextRange


class Tried(NamedTuple):
    """What the searches of all tasks have tried, in the box [-1, 1]ⁿ that stands for the range of the contexts."""

    points: Float[Tensor, "task attempt entry"]
    returns: Float[Tensor, "task attempt"]
    """Mean over the episodes of each attempt; NaN where no episode could be used."""
    slopes: Float[Tensor, "task attempt entry"]
    """Minus the gradient of the loss of every attempt's episodes with respect to its point; 0 where no loss is used."""
    candidate: Float[Tensor, "task entry"]
    """Of the next stage."""


@dataclass(frozen=True)
class SearchRule:
    """One candidate context per stage and task; after the last attempt the best that was measured.

    Stage 0 is the context 0. Stage k tries another one, on the first ``average`` episodes of every task; further
    episodes are nobody's business here. Candidates that are measured several times count by their mean. What has been
    tried is the state; what is tried next follows from it and from a draw of the stage's and the task's own stream.

    Attributes:
        propose: what is tried next.
        steps: attempts. Further steps measure the best one again.
        average: episodes of an attempt.
        limits: no candidate is outside of these.
        loss: of one task's episodes, which says where the return grows; None for a search by returns alone.
    """

    propose: Propose
    steps: int
    average: int
    limits: ContextRange
    loss: InnerLoss | None = None

    @property
    def reset(self) -> tuple[str, ...]:
        """The context."""
        return tuple(self.limits.low)

    @property
    def remembers(self) -> bool:
        """It adapts by its parameters."""
        return False

    def during(self, iteration: int) -> "SearchRule":  # noqa: ARG002
        """Always the same."""
        return self

    def rates(self, params: Params) -> Params:  # noqa: ARG002
        """Nothing is learned."""
        return {}

    def begin(self, meta: Meta) -> Adaptation:
        """Every task starts at theta with a context of 0, and nothing tried."""
        tasks = len(next(iter(meta.params.values())))
        middle, half = self._box()
        start = torch.where(half > 0, -middle / half, torch.zeros(())).expand(tasks, -1)
        none = start.new_empty(tasks, 0, len(middle))
        state = Tried(none, start.new_empty(tasks, 0), none, start)
        contexts = {name: torch.zeros_like(meta.params[name]) for name in self.reset}
        bounds = {name: value.to(meta.params[name]).expand(tasks, -1) for name, value in self.limits.bounds.items()}
        return Adaptation(meta.params | contexts | bounds, state)

    def step(
        self,
        policy: Policy,
        meta: Meta,  # noqa: ARG002
        adaptation: Adaptation,
        data: Any,
        k: int,
        streams: RandomStreams | None = None,
        *,
        create_graph: bool = False,
    ) -> Adaptation:
        """The attempt of stage k is measured, and the next one chosen, for every task.

        Raises:
            NotImplementedError: a derivative is asked for; none passes through a search.
            ValueError: no streams with an index for every task, or fewer episodes than an attempt has.
        """
        if create_graph:
            raise NotImplementedError("No derivative passes through a search.")
        before: Tried = adaptation.state
        if streams is None or len(streams.tasks) != len(before.candidate):
            raise ValueError("A search draws from the streams of its tasks; they need an index for every task.")
        points = torch.cat([before.points, before.candidate.unsqueeze(1)], 1)
        returns = torch.cat([before.returns, attempt_returns(data, self.average).cpu().double().unsqueeze(1)], 1)
        slopes = torch.cat([before.slopes, self._slope(policy, adaptation, data).unsqueeze(1)], 1)
        tried = Tried(points, returns, slopes, before.candidate)
        pairs = zip(known_of(tried), streams.search_generators(k), strict=True)
        following = [
            next_point(self.propose, known, generator, tried=points.shape[1], attempts=self.steps)
            for known, generator in pairs
        ]
        return self._at(adaptation.params, tried._replace(candidate=torch.from_numpy(np.stack(following))))

    def best(self, adaptation: Adaptation) -> Adaptation:
        """The best that has been measured of every task, with what has been tried so far; at first where it begins."""
        tried: Tried = adaptation.state
        if not tried.points.shape[1]:
            return adaptation
        leaders = torch.stack([torch.from_numpy(one.points[one.leader]) for one in known_of(tried)])
        return self._at(adaptation.params, tried._replace(candidate=leaders))

    def jacobian(
        self, policy: Policy, meta: Meta, before: Adaptation, after: Adaptation, k: int, *, bends_on: Any | None
    ) -> StepJacobian:
        """None passes through a search.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("No derivative passes through a search.")

    def _slope(self, policy: Policy, adaptation: Adaptation, data: Any) -> Float[Tensor, "task entry"]:
        """Minus the gradient of every task's loss with respect to its candidate; 0 without a loss."""
        if self.loss is None:
            return torch.zeros_like(adaptation.state.candidate)
        (_, half), own = self._box(), at_most(data, self.average)
        points = {name: tensor.detach() for name, tensor in adaptation.params.items()}
        contexts = {name: points[name].requires_grad_() for name in self.reset}
        with torch.enable_grad():
            losses = losses_of(policy.unroll(points | contexts, own)[0], own, self.loss)
            gradients = torch.autograd.grad(losses.sum(), list(contexts.values()))
        return -torch.cat([gradient.flatten(1) for gradient in gradients], 1).cpu().double() * half

    def _box(self) -> tuple[Float[Tensor, " entry"], Float[Tensor, " entry"]]:
        """Middle and half the width of the range."""
        low, high = (
            torch.cat([side[name].cpu().double().flatten() for name in self.reset])
            for side in (self.limits.low, self.limits.high)
        )
        return (low + high) / 2, (high - low) / 2

    def _at(self, params: Params, tried: Tried) -> Adaptation:
        """The task parameters with the candidates as their contexts."""
        middle, half = self._box()
        pieces = torch.split(middle + half * tried.candidate, [self.limits.low[name].numel() for name in self.reset], 1)
        contexts = {
            name: piece.reshape(params[name].shape)
            .to(params[name])
            .clamp(self.limits.low[name].to(params[name]), self.limits.high[name].to(params[name]))
            for name, piece in zip(self.reset, pieces, strict=True)
        }
        return Adaptation(params | contexts, tried)


def known_of(tried: Tried) -> list[Measured]:
    """What the search of every task knows."""
    return [
        measured(points.numpy(), returns.numpy(), slopes.numpy())
        for points, returns, slopes in zip(tried.points, tried.returns, tried.slopes, strict=True)
    ]


def attempt_returns(data: Any, episodes: int) -> Float[Tensor, " task"]:
    """Mean undiscounted return of every task's first episodes, but for those without a step; NaN where none is left.

    Raises:
        ValueError: there are fewer episodes.
    """
    if data.valid.shape[1] < episodes:
        raise ValueError(f"An attempt is averaged over {episodes} episodes; the data has {data.valid.shape[1]}.")
    rewards, valid = data.rewards[:, :episodes], data.valid[:, :episodes]
    returns = torch.where(valid.any(-1), (rewards * valid).sum(-1), torch.nan)
    return returns.nanmean(1)


def search_rule(search: Search, policy: Policy) -> SearchRule:
    """The rule of a search for a policy.

    Raises:
        UserError: the policy has no context, another one than the range is of, or one that was never moved.
    """
    if not policy.context:
        raise UserError(
            "--search tries contexts, and this policy has none; train with --algorithm cavia or rma, or with --context "
            "above 0."
        )
    settings, limits = search
    if set(limits.low) != set(policy.context):
        raise UserError(f"The range is one of {', '.join(limits.low)}; this policy has {', '.join(policy.context)}.")
    if set(limits.bounds) != set(getattr(policy, "bounds", ())):
        raise UserError(f"The range bounds {', '.join(limits.bounds) or 'nothing'}; measure it anew: delete its file.")
    if all(bool((limits.high[name] <= limits.low[name]).all()) for name in limits.low):
        raise UserError(
            "--search has nothing to try: no context was ever other than 0 in the training, which adapts without it."
        )
    assert settings.search is not None
    loss = return_loss if settings.search == "gradient" else None
    return SearchRule(SEARCHES[settings.search], settings.attempts, settings.average, limits, loss)
