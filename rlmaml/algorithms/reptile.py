"""Reptile (arXiv 1803.02999, algorithm 2), batched over tasks: theta moves towards the adapted parameters.

    θ ← θ + ε · mean_i (φ_i − θ),   φ_i after the last inner step on task i,

or, with Adam, a step of Adam along θ − mean_i φ_i as if that were a gradient. No derivative passes through the inner
steps, and no episodes of the adapted policies are needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rlmaml.algorithms.adam import adam, init_adam
from rlmaml.algorithms.meta_algorithm import Learner, replay, replay_gaps
from rlmaml.base.errors import NonFiniteError
from rlmaml.base.regions import region
from rlmaml.core.parameters import detached, flatten, repeated, unflatten
from rlmaml.core.task_sums import largest, mean_over_usable
from rlmaml.core.types import Batch, Meta, Params
from rlmaml.settings.methods.reptile import ReptileSettings
from rlmaml.settings.whole import Settings


class ReptileReport(NamedTuple):
    """What happened in a meta-update."""

    distance: float
    """‖mean_i φ_i − θ‖."""
    step_norm: float
    """How far theta went."""
    replay_gap: float
    tasks_left_out: int

    def numbers(self) -> dict[str, float]:
        """All of them."""
        return {name: float(value) for name, value in self._asdict().items()}


@dataclass(frozen=True)
class Reptile:
    """The meta-algorithm; with Adam, its moments are the state."""

    settings: ReptileSettings

    @property
    def reads_last_stage(self) -> bool:
        """Only to show its return."""
        return self.settings.sample_last_stage

    def init(self, meta: Meta) -> Params:
        """Adam's moments, or nothing."""
        return init_adam(meta.params) if self.settings.outer_step == "adam" else {}

    def update(
        self, learner: Learner, meta: Meta, state: Params, stages: Sequence[Batch]
    ) -> tuple[Meta, Params, ReptileReport]:
        """One step towards the adapted parameters.

        Raises:
            NonFiniteError: they, or how far they are, are not finite.
            ExplodedError: an inner step on given examples led far away.
        """
        stages = stages[: learner.rule.steps]
        mean = mean_over_usable(learner.sums, [batch.valid for batch in stages])
        if not mean.num_usable:
            return meta, state, ReptileReport(0.0, 0.0, 0.0, mean.num_left_out)
        with region("adapt_again"):
            points = repeated(meta, len(stages[0].valid))
            replayed = replay(learner, points, stages, create_graph=False)
            gap = largest(learner.sums, replay_gaps(replayed.outputs, stages))
            params = detached(replayed.adaptations[-1].params)
        with region("outer_step"):
            start = detached(replayed.adaptations[0].params)
            moved = [
                torch.zeros_like(before) if name in learner.rule.reset else _counted(params[name] - before, mean.usable)
                for name, before in start.items()
            ]
            towards = mean.total(moved) / mean.num_usable
            if not towards.norm().isfinite():
                raise NonFiniteError("The adapted parameters", "the inner step sizes are too large for these rewards")
            theta = flatten(meta.params.values())
            if self.settings.outer_step == "adam":
                gradient = unflatten(-towards, meta.params)
                new, state = adam(meta.params, gradient, state, self.settings.outer_step_size)
            else:
                new = unflatten(theta + self.settings.outer_step_size * towards, meta.params)
        report = ReptileReport(
            distance=float(towards.norm()),
            step_norm=float((flatten(new.values()) - theta).norm()),
            replay_gap=gap,
            tasks_left_out=mean.num_left_out,
        )
        return Meta(new, meta.rates), state, report


def _counted(per_task: Tensor, usable: Tensor) -> Tensor:
    return torch.where(usable.view(-1, *[1] * (per_task.dim() - 1)), per_task, 0.0)


def meta_algorithm(settings: Settings) -> Reptile:
    """The meta-algorithm of a run."""
    return Reptile(settings.outer)
