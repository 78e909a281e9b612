"""What every settings class shares: how options are spelled, checked, and marked as free on resume."""

import math
import sys
from collections.abc import Iterable
from dataclasses import field, fields
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from rlmaml.base.errors import UserError

SPELLING = {"num_tasks": "tasks", "num_episodes": "episodes"}
"""Fields whose option has another name."""


LARGEST_NUMBER = sys.float_info.max
LARGEST_WHOLE = 2**63 - 1
"""Of a setting; files and other programs hold no larger ones."""


def option(name: str) -> str:
    """How the command line spells a field."""
    return "--" + SPELLING.get(name, name).replace("_", "-")


def without_folders(place: str) -> str:
    """The last part of a place that a user named, which says nothing of a machine: all that is ever written of it."""
    return place.rstrip("/").rpartition("/")[2]


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


def require_kinds(settings: Any) -> None:
    """Refuse fields of some settings that are not of the kind that their annotations say, and numbers without an end.

    Raises:
        UserError: names the first option, what was received and what is legal.
    """
    owner: Any = type(settings)
    for name, kind in _kinds(owner).items():
        require(settings, name, _is_kind(getattr(settings, name), kind), kind_in_words(kind))


@cache
def _kinds(kind: type[Any]) -> dict[str, Any]:
    """Field -> what its values may be."""
    hints = get_type_hints(kind)
    return {each.name: hints[each.name] for each in fields(kind)}


def _is_kind(value: object, kind: Any) -> bool:
    choices = get_args(kind)
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in choices
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_is_kind(entry, choices[0]) for entry in value)
    if choices:  # a union
        return any(_is_kind(value, choice) for choice in choices)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_WHOLE
    return isinstance(value, kind)


def kind_in_words(kind: Any) -> str:
    """What values of a kind are, to follow "it must be"."""
    choices = get_args(kind)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(choices)}"
    if get_origin(kind) is tuple:
        return f"a tuple, each entry of which is {kind_in_words(choices[0])}"
    if choices:
        return " or ".join(kind_in_words(choice) for choice in choices)
    return {float: "a finite number", int: "a whole number", bool: "True or False", str: "text"}.get(kind, "None")


def require_positive(settings: object, names: str) -> None:
    """Refuse what is not above 0 in fields of some settings."""
    for name in names.split():
        require(settings, name, getattr(settings, name) > 0, "a number above 0")


def require_not_negative(settings: object, names: str) -> None:
    """Refuse what is below 0 in fields of some settings."""
    for name in names.split():
        require(settings, name, getattr(settings, name) >= 0, "a number not below 0")


def check_count(name: str, value: object, least: int) -> None:
    """Refuse an argument that is no whole number of at least ``least``.

    Raises:
        UserError: names the option, what was received and what is legal.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST_WHOLE:
        raise UserError(f"{option(name)} is {value!r}; it must be a whole number of at least {least}.")


def all_finite_and_positive(numbers: Iterable[float]) -> bool:
    """Whether every number is finite and above 0."""
    return all(0 < number < math.inf for number in numbers)
