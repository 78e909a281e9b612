"""What is looked at in every meta-iteration, whatever the method: that its numbers can be learned from.

What is answered says :mod:`rlmaml.base.lost_updates`.
"""

import math
from typing import NamedTuple

from rlmaml.algorithms.meta_algorithm import Report
from rlmaml.base.errors import LostUpdateError, NonFiniteError
from rlmaml.core.policy import Policy
from rlmaml.core.types import Meta, Params

SMALLEST_STD = 1e-5
"""Standard deviation of an action below which it hardly varies: nothing is learned from actions that are all alike."""


class CollapsedError(LostUpdateError):
    """A meta-update would have ended all exploration."""


class Lost(NamedTuple):
    """The report on a meta-update that was lost before it could say anything."""

    replay_gap: float = 0.0
    tasks_left_out: int = 0

    def numbers(self) -> dict[str, float]:
        """None."""
        return {}


def check_update(policy: Policy, meta: Meta, state: Params, report: Report) -> None:
    """Refuse what a meta-update made if it could not be gone on with.

    Raises:
        NonFiniteError: a parameter, a rate, a number of the state or one of the report is NaN or infinite.
        CollapsedError: an action's standard deviation is below :data:`SMALLEST_STD`.
    """
    for what, entries in (("meta-parameters", meta.params), ("inner rates", meta.rates), ("state", state)):
        for name, tensor in entries.items():
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise NonFiniteError(f"{name} of the {what}", "the meta-update was too long for these rewards")
    for name, number in report.numbers().items():
        if not math.isfinite(number):
            raise NonFiniteError(f"{name} of the report", "the meta-update was too long for these rewards")
    for name in policy.exploration:
        smallest = float(meta.params[name].min().exp())
        if smallest < SMALLEST_STD:
            raise CollapsedError(
                f"The standard deviation of an action would have collapsed to {smallest:.3g}, and below "
                f"{SMALLEST_STD:g} actions hardly vary. Take smaller steps, or begin with a larger --initial-std."
            )


def nothing_learned(report: Report, num_tasks: int) -> str:
    """Why a meta-update counts as lost that left everything as it was; empty where it did not, or has converged."""
    if report.tasks_left_out >= num_tasks:
        return "It left the policy as it was: no simulation was sound."
    if not getattr(report, "accepted", True):
        return "It left the policy as it was: the line search found nothing better."
    return ""
