"""Task families as Gymnasium environments.

Importing this package registers every id of ``registry.FAMILIES``, and those that other packages offer,
:mod:`rlmaml_envs.offered`. ``gymnasium.make(id)`` gives an ordinary
single environment, ``gymnasium.make_vec(id, num_envs=...)`` the batched one; both run the same code.

An episode is as long as its variant says, :func:`horizon_of`, unless ``max_episode_steps`` is given.
``gymnasium.spec(id).max_episode_steps`` is the horizon of the default variant. ``gymnasium.make`` limits every variant
by it, because Gymnasium asks the spec alone; for another variant pass ``max_episode_steps=horizon_of(id, variant)``.
"""

from typing import Any

import gymnasium

from rlmaml_envs.family import FamilyMaker
from rlmaml_envs.offered import offered_families
from rlmaml_envs.registration import add_to_gymnasium
from rlmaml_envs.registry import FAMILIES, Entry, check_maker, find_entry, horizon_of, path_drawing, published_returns
from rlmaml_envs.vector import REST, TaskVectorEnv

__all__ = [
    "KNOWN_IDS",
    "TaskVectorEnv",
    "horizon_of",
    "make_tasks_env",
    "path_drawing",
    "published_returns",
    "register_family",
]

KNOWN_IDS = tuple(FAMILIES)


def register_family(
    env_id: str, family: FamilyMaker, horizon: int | None = None, *, origin: str = "", text: str | None = None
) -> None:
    """Add a task family of your own: from now on its id works wherever those of ``KNOWN_IDS`` do, in this process.

    Args:
        env_id: a Gymnasium id, e.g. ``"MyRobot-v0"``.
        family: a :class:`rlmaml_envs.locomotion.LocomotionFamily`, or a class that implements ``TaskFamily``.
        horizon: control steps until an episode of any of its variants is truncated; None leaves it to the ``horizon``
            of each variant.
        origin: where it came from, as a run's directory records it.
        text: its data sheet as prose, for the card of an exported policy.

    Raises:
        ValueError: the id is taken, it is no family, or ``horizon`` is None and a variant states none.
    """
    if env_id in FAMILIES:
        raise ValueError(f'There is a task environment "{env_id}" already; choose another id.')
    check_maker(env_id, family)
    FAMILIES[env_id] = Entry(family, horizon, origin=origin, text=text)
    try:
        for variant in family.variants:
            horizon_of(env_id, variant)
        add_to_gymnasium(env_id)
    except Exception:
        del FAMILIES[env_id]
        raise


FAMILIES.update(offered_families(KNOWN_IDS))
for _id in FAMILIES:
    add_to_gymnasium(_id)


def make_tasks_env(env_id: str, num_envs: int, horizon: int | None = None, **options: Any) -> TaskVectorEnv:
    """The batched environment of a family, through ``gymnasium.make_vec``, for meta-training.

    A copy whose episode is over rests until it is reset by hand, whereas that of ``gymnasium.make_vec`` by itself is
    reset by the next step, as Gymnasium's users expect; see :class:`TaskVectorEnv`.

    Args:
        env_id: one of ``KNOWN_IDS``.
        num_envs: number of copies, num_tasks * num_episodes.
        horizon: control steps until an episode is truncated; None takes the variant's.
        options: options of the family, e.g. ``variant="rothfuss2019"``, ``render_mode`` and ``autoreset_mode``.

    Raises:
        ValueError: unknown id, unknown variant, or a ``num_envs`` or ``horizon`` that is not positive.
    """
    find_entry(env_id)
    limit: dict[str, Any] = {} if horizon is None else {"max_episode_steps": horizon}
    env = gymnasium.make_vec(env_id, num_envs=num_envs, **{"autoreset_mode": REST, **limit, **options})
    assert isinstance(env, TaskVectorEnv)
    return env
