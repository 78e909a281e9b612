"""Families in Gymnasium's registry."""

from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from rlmaml_envs.registry import horizon_of


class FamilySpec(EnvSpec):
    """An ``EnvSpec`` whose ``max_episode_steps`` is the horizon of the family's default variant.

    It is looked up when it is first read: the data sheet, and with it MuJoCo, is imported then and not before. Reading
    it raises what :func:`rlmaml_envs.registry.horizon_of` does.
    """

    @property
    def max_episode_steps(self) -> int | None:
        """Control steps until Gymnasium's ``TimeLimit`` truncates an episode."""
        return horizon_of(self.id) if self._limit is None else self._limit

    @max_episode_steps.setter
    def max_episode_steps(self, steps: int | None) -> None:
        self._limit = steps


def add_to_gymnasium(env_id: str) -> None:
    """Make ``gymnasium.make`` and ``gymnasium.make_vec`` know a family of the table.

    Raises:
        gymnasium.error.Error: ``env_id`` is not of the form ``"Name-v0"``.
    """
    # make_vec takes a limit from these arguments before the spec's: None lets the batch ask its own variant.
    arguments: dict[str, Any] = {"family": env_id, "max_episode_steps": None}
    gymnasium.registry[env_id] = FamilySpec(
        env_id,
        entry_point="rlmaml_envs.single:TaskEnv",
        vector_entry_point="rlmaml_envs.vector:TaskVectorEnv",
        kwargs=arguments,
    )
