"""The table of task families: environment id -> where its family is, and its horizon."""

from importlib import import_module
from typing import NamedTuple

from envs.family import TaskFamily


class Entry(NamedTuple):
    """Where a family is, ``"module:Class"`` imported on first use, and its default horizon in steps."""

    family: str
    horizon: int


FAMILIES = {
    "Navigation2D-v0": Entry("envs.navigation:Navigation2D", horizon=100),
}


def find_entry(env_id: str) -> Entry:
    """The table's entry of an environment id.

    Raises:
        ValueError: the id is unknown; the message lists the known ones.
    """
    if env_id not in FAMILIES:
        raise ValueError(f'There is no task environment "{env_id}". Known ids: {", ".join(FAMILIES)}.')
    return FAMILIES[env_id]


def load_family(env_id: str) -> type[TaskFamily]:
    """Import and return the family class of an environment id. Raises as ``find_entry`` does."""
    module, name = find_entry(env_id).family.split(":")
    family: type[TaskFamily] = getattr(import_module(module), name)
    return family
