"""The table of task families: environment id -> where its family is; and what a family says of its variants."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from rlmaml_envs.family import FamilyMaker, PathDrawing, named_range, select_variant
from rlmaml_envs.published import Published


class Entry(NamedTuple):
    """A family of the table."""

    family: str | FamilyMaker
    """The family, or where it is: ``"module:name"``, imported on first use."""
    horizon: int | None = None
    """Control steps of an episode of every variant, in place of what the variants say; None leaves it to them."""
    tried: frozenset[str] = frozenset()
    """Options with which the family was tried out in this process; see :mod:`rlmaml_envs.rehearsal`."""
    origin: str = ""
    """Where a family that we do not ship came from, e.g. ``"/home/me/rover.py:Rover"``; empty for one that a program
    registered without saying so."""
    text: str | None = None
    """Its data sheet as prose, where it is no module's docstring."""


FAMILIES = {
    "Navigation2D-v0": Entry("rlmaml_envs.navigation:Navigation2D"),
    "HalfCheetahVel-v0": Entry("rlmaml_envs.half_cheetah:VELOCITY"),
    "HalfCheetahDir-v0": Entry("rlmaml_envs.half_cheetah:DIRECTION"),
    "HalfCheetahChanged-v0": Entry("rlmaml_envs.half_cheetah:CHANGED"),
    "AntVel-v0": Entry("rlmaml_envs.ant:VELOCITY"),
    "AntDir-v0": Entry("rlmaml_envs.ant:DIRECTION"),
    "AntDir2D-v0": Entry("rlmaml_envs.ant:PLANE_DIRECTION"),
    "AntGoal-v0": Entry("rlmaml_envs.ant:GOAL"),
    "AntChanged-v0": Entry("rlmaml_envs.ant:CHANGED"),
    "Walker2dVel-v0": Entry("rlmaml_envs.walker2d:VELOCITY"),
    "Walker2dParams-v0": Entry("rlmaml_envs.walker2d:PARAMETERS"),
    "HopperParams-v0": Entry("rlmaml_envs.hopper:PARAMETERS"),
    "HumanoidDir2D-v0": Entry("rlmaml_envs.humanoid:PLANE_DIRECTION"),
    "RoverGoal-v0": Entry("rlmaml_envs.rover:GOAL"),
    "SwimmerVel-v0": Entry("rlmaml_envs.swimmer:VELOCITY"),
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
    entry = find_entry(env_id)
    if not isinstance(entry.family, str):
        return entry.family
    module, name = entry.family.split(":")
    try:
        maker: FamilyMaker = getattr(import_module(module), name)
    except Exception as error:
        if not entry.origin:
            raise
        raise ValueError(f"{env_id}, of {entry.origin}, cannot be loaded: {error!r}.") from error
    if entry.origin:
        check_maker(env_id, maker)
    return maker


def check_maker(env_id: str, maker: Any) -> None:
    """Refuse what makes no worlds.

    Raises:
        ValueError: it cannot be called, or has no variants.
    """
    variants = getattr(maker, "variants", None)
    if not callable(maker) or not isinstance(variants, Mapping) or not variants:
        raise ValueError(
            f"{env_id} needs a task family: a LocomotionFamily, or a class that implements TaskFamily and has "
            f"`variants`; got {maker!r:.200}."
        )


def origin_of(env_id: str) -> str:
    """Where a family came from: the file, module or package of its own that it is in, and its name there.

    Raises as ``find_entry`` does.
    """
    entry = find_entry(env_id)
    return entry.origin or (entry.family if isinstance(entry.family, str) else "registered by a program")


def is_shipped(env_id: str) -> bool:
    """Whether a family is one of ours."""
    entry = FAMILIES.get(env_id)
    return entry is not None and isinstance(entry.family, str) and not entry.origin


def data_sheet(env_id: str) -> str | None:
    """The text that says what a family's numbers are, with units; None for one registered without a module.

    Raises as ``find_entry`` does.
    """
    entry = find_entry(env_id)
    return import_module(entry.family.split(":")[0]).__doc__ if isinstance(entry.family, str) else entry.text


def constants_of(env_id: str, variant: str | None = None) -> Any:
    """The constants of a variant, the first one's for None; those of its tasks beyond the training range are the same.

    Raises:
        ValueError: the id or the variant is unknown.
    """
    variants = load_family(env_id).variants
    return select_variant(env_id, variants, named_range(variants, variant)[0])


def horizon_of(env_id: str, variant: str | None = None) -> int:
    """Control steps until an episode of a variant, the first by default, is truncated.

    Raises:
        ValueError: the id or the variant is unknown, or the variant states no horizon.
    """
    entry = find_entry(env_id)
    chosen = constants_of(env_id, variant)
    horizon: int | None = getattr(chosen, "horizon", None) if entry.horizon is None else entry.horizon
    if horizon is None:
        raise ValueError(
            f"{env_id}: the variant {variant or 'that is the default'} states no horizon. "
            "Give it a field horizon, or call register_family(..., horizon=...)."
        )
    return horizon


def published_returns(env_id: str, variant: str | None, horizon: int) -> Mapping[str, Published]:
    """Published mean returns that compare with a variant's, the first one's for None, in episodes of ``horizon`` steps.

    They belong to one exactly defined problem at the horizon that its data sheet states, which also names their
    source, and say nothing about any other: there they are empty.

    Returns:
        What was trained -> its returns, with the numbers of tasks and episodes that they are of.

    Raises:
        ValueError: the id or the variant is unknown.
    """
    chosen = constants_of(env_id, variant)
    published: Mapping[str, Published] = getattr(chosen, "published", {})
    beyond = named_range(load_family(env_id).variants, variant)[1]
    return published if getattr(chosen, "horizon", None) == horizon and not beyond else {}


def path_drawing(env_id: str, variant: str | None = None) -> PathDrawing | None:
    """How the episodes of a variant, the first by default, are drawn; None where they are not. No environment is made.

    Raises:
        ValueError: the id or the variant is unknown.
    """
    own: PathDrawing | None = getattr(constants_of(env_id, variant), "draw_episodes", None)
    return own or load_family(env_id).draw_episodes
