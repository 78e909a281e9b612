"""The rule of policies with a memory: parameters stay, and what was lived through is remembered (arXiv 1611.02779)."""

from dataclasses import dataclass, field
from typing import Any

import torch

from rlmaml.base.random_streams import RandomStreams
from rlmaml.core.policy import Policy
from rlmaml.core.types import Adaptation, Meta, Params
from rlmaml.rules.inner_rule import StepJacobian


@dataclass(frozen=True)
class MemoryRule:
    """The identity on parameters: the episodes of a stage are lived through, and the next ones begin with that memory.

    One theta, without a task axis, serves every task.

    Attributes:
        steps: episodes of a trial but the last, after each of which more is remembered.
        forgets_after: episodes after which a new trial begins; 0 for never.
    """

    steps: int
    forgets_after: int = field(default=0, kw_only=True)
    reset: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def remembers(self) -> bool:
        """It adapts by nothing else."""
        return True

    def rates(self, params: Params) -> Params:  # noqa: ARG002
        """Nothing is learned besides the weights."""
        return {}

    def during(self, iteration: int) -> "MemoryRule":  # noqa: ARG002
        """Always the same."""
        return self

    def begin(self, meta: Meta) -> Adaptation:
        """Theta, and nothing remembered yet."""
        return Adaptation({name: tensor[0] for name, tensor in meta.params.items()})

    def step(
        self,
        policy: Policy,
        meta: Meta,  # noqa: ARG002
        adaptation: Adaptation,
        data: Any,
        k: int,
        streams: RandomStreams | None = None,  # noqa: ARG002
        *,
        create_graph: bool = False,
    ) -> Adaptation:
        """The same parameters, with what is remembered after the episodes of stage k."""
        if self.forgets_after and (k + 1) % self.forgets_after == 0:
            return Adaptation(adaptation.params)
        with torch.set_grad_enabled(create_graph):
            _, memory = policy.unroll(adaptation.params, data, adaptation.memory)
        return Adaptation(adaptation.params, memory=memory)

    def jacobian(
        self, policy: Policy, meta: Meta, before: Adaptation, after: Adaptation, k: int, *, bends_on: Any | None
    ) -> StepJacobian:
        """There is none.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("A memory's step has no Jacobian with respect to task parameters.")
