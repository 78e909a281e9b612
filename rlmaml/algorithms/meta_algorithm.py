"""What a meta-algorithm is: how meta-parameters change after the last stage. One paper, one file."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.base.errors import LostUpdateError
from rlmaml.base.random_streams import RandomStreams
from rlmaml.core.policy import Policy
from rlmaml.core.surrogate import replay_gap
from rlmaml.core.task_sums import TaskSums
from rlmaml.core.types import Adaptation, Examples, Meta, Outputs, Params
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.rules.step_check import check_step

REPLAY_TOLERANCE = 0.01
"""Largest |log π_replayed − log π_sampled| in nats that still counts as rounding: an importance ratio off by 1 %."""


class ReplayError(LostUpdateError):
    """A meta-update saw other policies than those that sampled."""


class Learner(NamedTuple):
    """What all meta-algorithms share."""

    policy: Policy
    rule: InnerRule
    sums: TaskSums
    streams: RandomStreams
    """Of the iteration."""


@runtime_checkable
class Report(Protocol):
    """What happened in a meta-update: a ``NamedTuple`` of the algorithm's own."""

    @property
    def replay_gap(self) -> float:
        """Largest ``|log π_replayed − log π_sampled|`` in nats: rounding, or it saw other policies."""

    @property
    def tasks_left_out(self) -> int:
        """Tasks that left the update because in some stage of theirs every simulation failed."""

    def numbers(self) -> dict[str, float]:
        """Everything worth a curve, by name; every number is finite."""


@runtime_checkable
class MetaAlgorithm(Protocol):
    """A meta-algorithm as a value: it is immutable, and its state goes in and comes out."""

    @property
    def reads_last_stage(self) -> bool:
        """Whether the update needs episodes of the fully adapted policies."""

    def init(self, meta: Meta) -> Params:
        """State before the first update: tensors by name, ``{}`` for none."""

    def update(self, learner: Learner, meta: Meta, state: Params, stages: Sequence[Any]) -> tuple[Meta, Params, Report]:
        """New meta-parameters and state, and what happened. Nothing that is given is written to.

        Args:
            learner: policy, inner rule, sums over tasks, random streams.
            meta: meta-parameters, without task axis.
            state: the algorithm's own.
            stages: data of the stages in order, for this process's own tasks. The k-th was met by the policies after k
                inner steps from ``meta``.

        Raises:
            NonFiniteError: the update is not finite.
        """


class Replayed(NamedTuple):
    """Adaptation taken anew on the same data."""

    adaptations: list[Adaptation]
    """Before the first inner step, after it, …, after the last."""
    outputs: list[Outputs]
    """What the policies of every stage that has data say to it."""


def replay(
    learner: Learner, points: Meta, stages: Sequence[Any], *, create_graph: bool, checked: bool = True
) -> Replayed:
    """Adapt anew on the same data. The policy of every stage acts once, for the inner step and for whoever reads on.

    Args:
        learner: policy and inner rule.
        points: meta-parameters with a task axis: leaves to which derivatives are taken.
        stages: data of one stage for every inner step, and, where there is any, of the last stage.
        create_graph: whether derivatives with respect to ``points`` pass through the steps.
        checked: refuse inner steps on given examples that lead away; where a line search tries a point, it is left.

    Raises:
        NonFiniteError: an inner step on given examples led to NaN or infinity; those on episodes are checked before any
            is sampled after them.
        ExplodedError: it led far away; see :func:`rlmaml.rules.step_check.check_step`.
    """
    policy, rule = learner.policy, learner.rule
    adaptations, outputs = [rule.begin(points)], []
    for k, data in enumerate(stages):
        own = adaptations[k]
        said = None
        if k < rule.steps:
            adaptations.append(rule.step(policy, points, own, data, k, learner.streams, create_graph=create_graph))
            if checked and isinstance(data, Examples):
                check_step(points.params, adaptations[-1].params, k)
            said = adaptations[-1].outputs
        outputs.append(policy.unroll(own.params, data)[0] if said is None else said)
    return Replayed(adaptations, outputs)


def replay_gaps(outputs: Sequence[Outputs], stages: Sequence[Any]) -> Float[Tensor, " task"]:
    """Largest ``|log π_replayed − log π_sampled|`` of every task over these stages, in nats; 0 for given examples."""
    if isinstance(stages[0], Examples):
        return torch.zeros(len(stages[0].valid))
    with torch.no_grad():
        gaps = [replay_gap(said.distribution, data) for said, data in zip(outputs, stages, strict=True)]
    return torch.stack(gaps).amax(0)


def check_replay(report: Report) -> None:
    """Refuse an update of policies other than those that sampled.

    Raises:
        ReplayError: the gap is above :data:`REPLAY_TOLERANCE`.
    """
    if not report.replay_gap <= REPLAY_TOLERANCE:
        raise ReplayError(
            f"The policies that the meta-update adapted anew are not those that sampled: log-probabilities of the same "
            f"actions differ by up to {report.replay_gap:.3g} nats, and {REPLAY_TOLERANCE} is what rounding may do. "
            "Either two devices or processes compute differently (try --device cpu, or --rollout-device as --device), "
            "or the policy or inner rule draws random numbers or keeps state of its own."
        )
