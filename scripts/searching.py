"""A search by a trained policy, as evaluate.py and adapt.py take it."""

from pathlib import Path
from typing import TYPE_CHECKING

from environments import environment_maker
from machine import Machine
from rlmaml.base.errors import UserError
from rlmaml.settings.search import SearchSettings

if TYPE_CHECKING:
    from rlmaml.rules.search_rule import Search


def check_budget_alone(trust_region: float | None, steps: bool, episodes: bool) -> None:
    """Refuse what says in another way how a search goes: a trust region, a number of steps, or episodes per step.

    Raises:
        UserError: names the options.
    """
    if trust_region is not None or steps or episodes:
        raise UserError(
            "--search takes as many steps as --search-episodes and --search-average say; it excludes --trust-region, "
            "--steps and --episodes-per-step."
        )


def trained_search(settings: SearchSettings, run_dir: Path, machine: Machine) -> "Search":
    """A search within the range of a run's contexts, which is measured in the variant of its training if need be.

    Raises:
        UserError: see :func:`rlmaml.training.run.trained_context_range`.
    """
    from rlmaml.rules.search_rule import Search
    from rlmaml.storage.kept_checkpoints import newest_checkpoint
    from rlmaml.storage.run_directory import beside
    from rlmaml.training.run import trained_context_range

    directory = beside(run_dir)
    checkpoint = newest_checkpoint(directory)
    trained = machine.applied(checkpoint.settings)
    limits = trained_context_range(checkpoint._replace(settings=trained), environment_maker(trained), directory)
    return Search(settings, limits)
