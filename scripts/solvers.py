"""Compare ways to solve for the natural gradient, on the episodes of a stored policy: what each gains, and its seconds.

The settings of meta-updates were chosen by such tables of early, middle and late checkpoints. Run it on an otherwise
idle machine.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from environments import environment_maker
from machine import Machine, check_least
from own_code import OwnCode
from rlmaml.settings.command_line import options_of
from rlmaml.terminal.command import run_command
from rlmaml.terminal.words import counted


@dataclass(frozen=True)
class Options:
    """Options of the script."""

    checkpoint: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Directory of the run, or a checkpoint."""
    draws: int = 2
    """Independent draws of tasks and episodes."""
    own: tyro.conf.OmitArgPrefixes[OwnCode] = field(default_factory=OwnCode)
    machine: tyro.conf.OmitArgPrefixes[Machine] = field(default_factory=Machine)

    def __post_init__(self) -> None:
        """Check the numbers before anything is loaded."""
        check_least(("--draws", self.draws, 1))


def main() -> None:
    """Parse, compare, print the table."""
    options = options_of(Options, __doc__)

    from rlmaml.results.solvers import SOLVERS, compare_solvers, solver_table
    from rlmaml.storage.kept_checkpoints import policy_checkpoint
    from rlmaml.terminal.bars import ProgressBar

    options.own.allow()
    checkpoint = policy_checkpoint(options.checkpoint)
    options.own.check(checkpoint)
    settings = options.machine.applied(checkpoint.settings)
    outcomes = compare_solvers(checkpoint._replace(settings=settings), environment_maker(settings), draws=options.draws)
    rows = list(ProgressBar(outcomes, total=len(SOLVERS), desc="solving", unit="way", leave=False))
    run = settings.run
    print(
        f"{run.env_id}, {run.variant}, after {counted(checkpoint.iteration, 'meta-iteration')}; gains in thousandths:\n"
    )
    print(solver_table(rows))


if __name__ == "__main__":
    run_command(main)
