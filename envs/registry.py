"""The table of task families: environment id -> where its family is, and its horizon."""

from importlib import import_module
from typing import NamedTuple

from envs.family import FamilyMaker


class Entry(NamedTuple):
    """A family, or where it is, ``"module:name"`` imported on first use; and its default horizon in steps."""

    family: str | FamilyMaker
    horizon: int


FAMILIES = {
    "Navigation2D-v0": Entry("envs.navigation:Navigation2D", horizon=100),
    "HalfCheetahVel-v0": Entry("envs.half_cheetah:VELOCITY", horizon=200),
    "HalfCheetahDir-v0": Entry("envs.half_cheetah:DIRECTION", horizon=200),
    "HalfCheetahChanged-v0": Entry("envs.half_cheetah:CHANGED", horizon=200),
    "AntVel-v0": Entry("envs.ant:VELOCITY", horizon=200),
    "AntDir-v0": Entry("envs.ant:DIRECTION", horizon=200),
    "AntDir2D-v0": Entry("envs.ant:PLANE_DIRECTION", horizon=200),
    "AntGoal-v0": Entry("envs.ant:GOAL", horizon=200),
    "AntChanged-v0": Entry("envs.ant:CHANGED", horizon=200),
    "Walker2dVel-v0": Entry("envs.walker2d:VELOCITY", horizon=200),
    "Walker2dParams-v0": Entry("envs.walker2d:PARAMETERS", horizon=200),
    "HopperParams-v0": Entry("envs.hopper:PARAMETERS", horizon=200),
    "HumanoidDir2D-v0": Entry("envs.humanoid:PLANE_DIRECTION", horizon=200),
    "RoverGoal-v0": Entry("envs.rover:GOAL", horizon=100),
    "SwimmerVel-v0": Entry("envs.swimmer:VELOCITY", horizon=200),
}


def find_entry(env_id: str) -> Entry:
    """The table's entry of an environment id.

    Raises:
        ValueError: the id is unknown; the message lists the known ones.
    """
    if env_id not in FAMILIES:
        raise ValueError(f'There is no task environment "{env_id}". Known ids: {", ".join(FAMILIES)}.')
    return FAMILIES[env_id]


def load_family(env_id: str) -> FamilyMaker:
    """Import and return what makes the family of an environment id. Raises as ``find_entry`` does."""
    family = find_entry(env_id).family
    if not isinstance(family, str):
        return family
    module, name = family.split(":")
    maker: FamilyMaker = getattr(import_module(module), name)
    return maker


def data_sheet(env_id: str) -> str | None:
    """The text that says what a family's numbers are, with units; None for one registered without a module.

    Raises as ``find_entry`` does.
    """
    family = find_entry(env_id).family
    return import_module(family.split(":")[0]).__doc__ if isinstance(family, str) else None
