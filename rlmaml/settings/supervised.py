"""Which settings go with supervised tasks, which have examples in place of episodes."""

from rlmaml.base.errors import UserError
from rlmaml.settings.checks import option
from rlmaml.settings.methods.maml_trpo import MamlSettings
from rlmaml.settings.methods.registry import METHODS
from rlmaml.settings.methods.reptile import ReptileSettings
from rlmaml.settings.whole import Settings, configure

OF_EPISODES = (
    *("num_episodes", "horizon", "observe_task", "evaluation_episodes", "rollout_device", "video_interval"),
    *("discount", "gae_lambda", "time_limit", "advantage_scale", "inner_reward_power", "inner_advantage_scale"),
    *("inner_loss", "initial_std", "adapt_std", "entropy_bonus", "curvature_fraction", "jacobian_fraction"),
)
"""Fields that say something about episodes, or about how policies explore in them."""
SUPERVISED = tuple(
    name
    for name, method in METHODS.items()
    if issubclass(method.outer, MamlSettings | ReptileSettings) and "observe_task" not in method.stands_for
)
"""Methods that need a loss and its gradient alone."""


def check_source(settings: Settings, *, supervised: bool) -> None:
    """Refuse methods and options of episodes where there are examples, and the other way round.

    Raises:
        UserError: names the option, what was received and what is legal.
    """
    optimiser = settings.outer.outer_optimiser if isinstance(settings.outer, MamlSettings) else None
    if not supervised:
        if optimiser == "adam":
            raise UserError(
                "--outer-optimiser is 'adam'; it must be trust_region for episodes. With Adam there is promp."
            )
        return
    if settings.algorithm not in SUPERVISED:
        raise UserError(
            f"--algorithm is {settings.algorithm!r}, which learns from episodes; for supervised tasks it must be one "
            f"of {', '.join(SUPERVISED)}."
        )
    received, free = settings.flat(), configure(settings.algorithm, settings.policy).flat()
    for name in OF_EPISODES:
        if name in free and received[name] != free[name]:
            raise UserError(
                f"{option(name)} is {received[name]!r}, but supervised tasks have no episodes. Leave it out."
            )
