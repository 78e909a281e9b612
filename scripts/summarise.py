"""Print the returns of several seeds of one experiment as a table, with their mean and interval."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rlmaml.base.errors import UserError
from rlmaml.settings.command_line import options_of
from rlmaml.terminal.command import run_command


@dataclass(frozen=True)
class Options:
    """Options of the script."""

    run_dirs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN_DIR ...")]
    """Directories of finished runs that differ in their seed alone."""


def main() -> None:
    """Parse, summarise, print."""
    options = options_of(Options, __doc__)
    if not options.run_dirs:
        raise UserError("Give one or more directories of finished runs.")

    from rlmaml.results.summary import summarise_seeds

    print(summarise_seeds(options.run_dirs))


if __name__ == "__main__":
    run_command(main)
