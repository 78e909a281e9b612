"""The rule of a training with a teacher (arXiv 2107.04034): first who is told the task acts, then who has to guess."""

from dataclasses import dataclass
from typing import Any

import torch

from rlmaml.base.random_streams import RandomStreams
from rlmaml.core.policy import Policy
from rlmaml.core.types import Adaptation, Meta
from rlmaml.rules.memory_rule import MemoryRule


@dataclass(frozen=True)
class TeacherRule(MemoryRule):
    """Stage 0 is the teacher's episodes, the further ones are the student's trial; parameters stay.

    Attributes:
        steps: episodes of the student's trial.
        told: name of the weight that is 1 where the teacher tells, and 0 where the student guesses.
    """

    told: str

    def begin(self, meta: Meta) -> Adaptation:
        """Theta, told by the teacher."""
        theta = super().begin(meta).params
        return Adaptation(theta | {self.told: torch.ones_like(theta[self.told])})

    def step(
        self,
        policy: Policy,
        meta: Meta,
        adaptation: Adaptation,
        data: Any,
        k: int,
        streams: RandomStreams | None = None,
        *,
        create_graph: bool = False,
    ) -> Adaptation:
        """After the teacher's episodes the student begins a trial, and then remembers."""
        if k == 0:
            return super().begin(meta)
        return super().step(policy, meta, adaptation, data, k, streams, create_graph=create_graph)
