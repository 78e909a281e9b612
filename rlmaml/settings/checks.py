"""What every settings class shares: how options are spelled, checked, and marked as free on resume."""

import math
from collections.abc import Iterable
from dataclasses import field
from typing import Any

from rlmaml.base.errors import UserError

SPELLING = {"num_tasks": "tasks", "num_episodes": "episodes"}
"""Fields whose option has another name."""


def option(name: str) -> str:
    """How the command line spells a field."""
    return "--" + SPELLING.get(name, name).replace("_", "-")


def free(default: Any, *, counts: bool = False) -> Any:
    """A field that a resumed run may change.

    Args:
        default: its default.
        counts: whether it moves what the run reaches, such as how long it is trained; others, like threads, do not.
    """
    return field(default=default, metadata={"free_on_resume": True, "counts": counts})


def require(settings: object, name: str, condition: object, legal: str) -> None:
    """Refuse a field of some settings unless the condition holds.

    Raises:
        UserError: names the option, what was received and what is legal.
    """
    if not condition:
        raise UserError(f"{option(name)} is {getattr(settings, name)!r}; it must be {legal}.")


def require_finite(settings: object, names: str) -> None:
    """Refuse NaN and infinity in fields of some settings, given in one string."""
    for name in names.split():
        require(settings, name, math.isfinite(getattr(settings, name)), "a finite number")


def require_positive(settings: object, names: str) -> None:
    """Refuse what is not above 0 in fields of some settings."""
    for name in names.split():
        require(settings, name, getattr(settings, name) > 0, "a number above 0")


def require_not_negative(settings: object, names: str) -> None:
    """Refuse what is below 0 in fields of some settings."""
    for name in names.split():
        require(settings, name, getattr(settings, name) >= 0, "a number not below 0")


def all_finite_and_positive(numbers: Iterable[float]) -> bool:
    """Whether every number is finite and above 0."""
    return all(0 < number < math.inf for number in numbers)
