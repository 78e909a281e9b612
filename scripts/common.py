"""What the scripts share: they introduce the environments of ``envs`` to ``rlmaml``."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from rlmaml.config import TrainConfig
from rlmaml.errors import UserError

if TYPE_CHECKING:
    from envs import TaskVectorEnv


def environment_maker(config: TrainConfig) -> Callable[[int], "TaskVectorEnv"]:
    """A function that makes the configured environment with a given number of copies."""

    def make(num_envs: int) -> "TaskVectorEnv":
        from envs import make_tasks_env

        try:
            return make_tasks_env(config.env_id, num_envs, config.horizon, variant=config.variant)
        except ValueError as error:
            raise UserError(str(error)) from error

    return make
