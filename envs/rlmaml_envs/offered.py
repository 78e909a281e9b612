"""Families that other packages offer, by the entry-point group ``rlmaml.families``.

In the ``pyproject.toml`` of such a package, the id of a family and where it is::

    [project.entry-points."rlmaml.families"]
    "MyRobot-v0" = "my_package.robot:MyRobot"

The module is imported when the family is first used, and not before.
"""

import re
import warnings
from collections.abc import Container
from importlib.metadata import entry_points

from rlmaml_envs.registry import Entry

GROUP = "rlmaml.families"


def offered_families(taken: Container[str]) -> dict[str, Entry]:
    """Environment id -> family, of the packages that are installed.

    Args:
        taken: ids that are ours.

    Warns:
        A package offers what is no family's id and place, or an id that is taken: whose it was first keeps it.
    """
    offered: dict[str, Entry] = {}
    for point in entry_points(group=GROUP):
        package = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
        if not (re.fullmatch(r"\w+-v\d+", point.name) and point.attr):
            fault = f"{point.name} = {point.value}, which is not of the form MyRobot-v0 = module:NAME"
        elif point.name in taken or point.name in offered:
            fault = f"{point.name}, which is taken already"
        else:
            place = f"{point.module}:{point.attr}"
            offered[point.name] = Entry(place, origin=f"{place} of {package}")
            continue
        warnings.warn(
            f"The package {package} offers as a task family {fault}; it is left out. Change its entry points {GROUP}.",
            stacklevel=2,
        )
    return offered
