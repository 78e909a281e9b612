"""How the episodes of a stage went, in numbers: of sound episodes, with those that failed counted apart."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlmaml.base.errors import NonFiniteError
from rlmaml.core.task_sums import TaskSums
from rlmaml.core.types import Rollout


class Outcomes(NamedTuple):
    """One number per episode; NaN in returns where the simulation failed."""

    returns: Float[Tensor, "task episode"]
    lengths: Float[Tensor, "task episode"]
    term_returns: Float[Tensor, "task episode term"]
    unstable: Bool[Tensor, "task episode"]

    @property
    def mean_return(self) -> float:
        """Mean return of the sound episodes; NaN where there are none."""
        return float(self.returns[~self.unstable].mean())

    @property
    def mean_length(self) -> float:
        """Mean number of steps of the sound episodes; NaN where there are none."""
        return float(self.lengths[~self.unstable].mean())

    @property
    def mean_terms(self) -> list[float]:
        """Each reward term's share of the mean return of the sound episodes."""
        shares: list[float] = self.term_returns[~self.unstable].mean(0).tolist()
        return shares

    @property
    def share_unstable(self) -> float:
        """Share of the episodes whose simulation failed."""
        return float(self.unstable.double().mean())


def outcomes(sampled: Rollout) -> Outcomes:
    """How the episodes of a rollout went.

    Raises:
        NonFiniteError: the sum of the returns of its sound episodes, or that of a reward term, overflows.
    """
    found = Outcomes(sampled.returns, sampled.lengths, sampled.term_returns, sampled.unstable)
    for earned in (found.returns, found.term_returns):
        if not earned[~found.unstable].abs().sum().isfinite():
            raise NonFiniteError("The returns of a rollout", "its rewards are too large to be added up")
    return found


def of_all_tasks(own: Outcomes, sums: TaskSums) -> Outcomes:
    """The outcomes of every process's tasks."""
    return Outcomes(*sums.gather(list(own)))


def task_returns(sampled: Rollout) -> Float[Tensor, " task"]:
    """Mean return of every task's sound episodes; NaN where all failed."""
    return torch.nanmean(sampled.returns, 1)
