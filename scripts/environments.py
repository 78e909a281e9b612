"""The environments of ``rlmaml_envs`` as commands ask for them, and what their data sheets say."""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from defaults import tuned
from own_code import allow_family
from rlmaml.base.errors import UserError
from rlmaml.base.memory import check_memory
from rlmaml.settings.inner import MemorySettings
from rlmaml.settings.memory_needed import episodes_bytes
from rlmaml.settings.whole import Settings

if TYPE_CHECKING:
    from rlmaml.evaluation.figures import DrawEpisodes
    from rlmaml_envs import TaskVectorEnv


def environment_maker(
    settings: Settings, render_mode: str | None = None, *, family: str | None = None, told: bool = True
) -> Callable[[int], "TaskVectorEnv"]:
    """A function that makes the configured environment with a given number of copies.

    Args:
        settings: of the run.
        render_mode: ``"rgb_array"`` for an environment to be drawn.
        family: a family of the user's own that another process may not know yet, as ``--family`` names it.
        told: where False, observations do not end in the task, not even an ``oracle``'s.

    Raises:
        UserError: see :func:`allow_family`.
    """
    run = settings.run
    if family:
        allow_family(family)

    def make(num_envs: int) -> "TaskVectorEnv":
        episodes = "One episode" if num_envs == 1 else f"An episode in each of {num_envs} copies"
        check_memory(episodes_bytes(run, num_envs), episodes, "Take fewer tasks or episodes, or a shorter --horizon.")
        try:
            from rlmaml_envs import make_tasks_env

            return make_tasks_env(
                run.env_id,
                num_envs,
                run.horizon,
                render_mode=render_mode,
                variant=run.variant,
                observe_task=told and run.observe_task,
                threads=run.rollout_threads,
            )
        except (ImportError, ValueError) as error:
            raise UserError(str(error)) from error

    return make


def episode_drawing(env_id: str, variant: str, family: str | None = None) -> "DrawEpisodes":
    """How a variant's episodes are drawn in figures, to be pickled: as it says, or as rewards over time.

    Args:
        env_id: the family's id.
        variant: the variant.
        family: as in :func:`environment_maker`.
    """
    from rlmaml.evaluation.figures import draw_rewards
    from rlmaml_envs import path_drawing

    return partial(_draw_observations, env_id, variant, family) if path_drawing(env_id, variant) else draw_rewards


def _draw_observations(
    env_id: str, variant: str, family: str | None, axes: Any, task: Any, episodes: Any, **style: Any
) -> None:
    from rlmaml_envs import path_drawing

    if family:
        allow_family(family)
    draw_paths = path_drawing(env_id, variant)
    assert draw_paths is not None
    draw_paths(axes, task, [episode.path for episode in episodes], **style)


def chosen_variant(env_id: str, variant: str | None, hold_out: str | None) -> str:
    """The variant that ``--variant`` names or ``--hold-out`` stands for; without both, the first of the family.

    Raises:
        UserError: both are given, the id is unknown, or the family has no such kind of change.
    """
    if hold_out is None:
        return variant or default_variant(env_id)
    if variant is not None:
        raise UserError(f"--hold-out {hold_out} names a variant, and so does --variant {variant}. Give one of them.")
    try:
        from rlmaml_envs.kinds import variant_without
        from rlmaml_envs.registry import load_family

        return variant_without(env_id, load_family(env_id).variants, hold_out)
    except (ImportError, ValueError) as error:
        raise UserError(f"--hold-out: {error}") from error


def default_variant(env_id: str) -> str:
    """The first variant of a family.

    Raises:
        UserError: the id is unknown, or the family's simulator is not installed.
    """
    try:
        from rlmaml_envs.registry import load_family

        return next(iter(load_family(env_id).variants))
    except (ImportError, ValueError) as error:
        raise UserError(str(error)) from error


def in_variant(settings: Settings, variant: str | None) -> Settings:
    """The settings of a run for another variant of its family, as long as the run's; None for the run's own."""
    return settings.changed(variant=variant) if variant else settings


def resolved(settings: Settings) -> Settings:
    """The settings with the horizon of the variant's data sheet where none was asked for.

    Raises:
        UserError: the family or its variant is unknown.
    """
    from rlmaml_envs import horizon_of
    from rlmaml_envs.registry import constants_of

    run = settings.run
    try:
        constants_of(run.env_id, run.variant)
        return settings.changed(horizon=run.horizon or horizon_of(run.env_id, run.variant))
    except (ImportError, ValueError) as error:
        raise UserError(str(error)) from error


def published(
    settings: Settings, tasks: int, episodes: int, differs: Mapping[str, bool] = MappingProxyType({})
) -> dict[str, tuple[float, ...]]:
    """Published returns of the same problem, after 0, 1, 2, 3 inner steps; empty where none compare.

    Args:
        settings: of the run.
        tasks: on which it is evaluated.
        episodes: per task and inner step. Both are to be those of a published row; where none has them, that is said.
        differs: what published returns are, in words -> whether these here are not; that is said, too.
    """
    from rlmaml_envs import horizon_of, published_returns

    run = resolved(settings).run
    own = horizon_of(run.env_id, run.variant)
    found = dict(published_returns(run.env_id, run.variant, own))
    lived = isinstance(settings.inner, MemorySettings) or differs.get("of inner steps", False)
    differs = {f"of episodes of {own} steps": run.horizon != own, **differs, "of inner steps": lived}
    others = [words for words, other in differs.items() if other]
    if found and others:
        print(f"Published returns are {' and '.join(others)}, and not shown beside other ones.", file=sys.stderr)
        return {}
    fitting = {name: row.means for name, row in found.items() if (row.tasks, row.episodes) == (tasks, episodes)}
    if found and not fitting:
        sizes = [sorted({getattr(row, size) for row in found.values()}) for size in ("tasks", "episodes")]
        of = [" or ".join(map(str, numbers)) for numbers in sizes]
        print(
            f"Published returns are of {of[0]} tasks with {of[1]} episodes each, and not shown beside other ones: "
            f"--tasks {sizes[0][0]} --episodes {sizes[1][0]}.",
            file=sys.stderr,
        )
    return fitting


def has_physics(env_id: str) -> bool:
    """Whether a family's robots are moved by MuJoCo.

    Raises:
        UserError: the id is unknown.
    """
    settings = tuned(env_id, default_variant(env_id))
    return environment_maker(settings)(1).has_physics


def has_tasks_beyond(settings: Settings) -> bool:
    """Whether the family has tasks beyond the training range."""
    env = environment_maker(settings)(1)
    return bool(env.wide_task_space != env.task_space)


def check_beyond(settings: Settings) -> None:
    """Raise a :class:`UserError` where the family has no tasks beyond the training range."""
    if not has_tasks_beyond(settings):
        run = settings.run
        raise UserError(f"--beyond: every legal task of {run.env_id}, {run.variant}, is in the training range.")


def unchanged_variant(settings: Settings) -> str | None:
    """The variant of a family in which the robot is as it was built; None where there is none, or it is this one."""
    from rlmaml_envs.kinds import UNCHANGED
    from rlmaml_envs.registry import load_family

    there = UNCHANGED in load_family(settings.run.env_id).variants and settings.run.variant != UNCHANGED
    return UNCHANGED if there else None
