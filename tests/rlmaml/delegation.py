"""Stand-ins with the attributes of another object, which also pass for the protocol that the other one is of.

From Python 3.12 on, ``isinstance`` looks for a protocol's members without calling ``__getattr__``, so that these have
to be on the class.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import TypeVar

Kind = TypeVar("Kind", bound=type)


def lent(protocol: type, of: str) -> Callable[[Kind], Kind]:
    """Gives a class what it lacks of a protocol, from its attribute ``of``; for all else it has its ``__getattr__``."""

    def lend(kind: Kind) -> Kind:
        members = {*dir(protocol), *getattr(protocol, "__annotations__", {})}
        for member in members:
            if not member.startswith("_") and not hasattr(kind, member):
                setattr(kind, member, property(attrgetter(f"{of}.{member}")))
        return kind

    return lend
