"""Trials: consecutive episodes on one task, one after another, as a policy with memory lives through them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from rlmaml.core.types import time_of


class Trials(NamedTuple):
    """Trials of every task: trial j holds the j-th episode of every stage. Padding comes after a trial's last step."""

    observations: Float[Tensor, "task trial time obs"]
    actions: Num[Tensor, "task trial time *action"]
    rewards: Float[Tensor, "task trial time"]
    log_probs: Float[Tensor, "task trial time"]
    valid: Bool[Tensor, "task trial time"]
    first_steps: Bool[Tensor, "task trial time"]
    """Where an episode begins."""
    time: Int[Tensor, "task trial time"]
    """Steps since the trial began, as if every episode had lasted its whole horizon, so that one that ends early does
    not bring the next nearer."""
    elapsed: Float[Tensor, "task trial time"]
    """Share of the trial's time that is over, from 0 to 1."""

    def of(self, tasks: Any) -> "Trials":
        """The trials of some tasks."""
        return Trials(*(field[tasks] for field in self))

    def until(self, longest: int) -> "Trials":
        """The first steps of every trial."""
        return Trials(*(field[:, :, :longest] for field in self))


def as_trials(stages: Sequence[Any], horizon: int | None = None) -> Trials:
    """The stages' episodes one after another, without the padding between them, and with all of it at the end.

    Args:
        stages: a :class:`~rlmaml.core.types.Batch` or :class:`~rlmaml.core.types.Rollout` per stage, all with as many
            episodes. An episode without a valid step is left out of its trial.
        horizon: steps of time that an episode takes, however soon it ends; by default as many as a stage has.
    """
    joined = [
        torch.cat([getattr(stage, name) for stage in stages], 2)
        for name in ("observations", "actions", "rewards", "log_probs", "valid", "first_steps")
    ]
    valid = joined[Trials._fields.index("valid")]
    each = horizon or stages[0].valid.shape[-1]
    time = torch.cat([time_of(stage.valid) + k * each for k, stage in enumerate(stages)], 2)
    joined += [time, time / (len(stages) * each)]
    if valid.all():
        return Trials(*joined)
    order = torch.argsort((~valid).to(torch.uint8), dim=-1, stable=True)
    return Trials(*(_taken(values, order) for values in joined))


def _taken(values: Tensor, order: Tensor) -> Tensor:
    """``values[task, trial, order[task, trial, time], ...]``."""
    index = order.view(*order.shape, *[1] * (values.dim() - 3)).expand(*order.shape, *values.shape[3:])
    return values.gather(2, index)
