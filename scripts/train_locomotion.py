"""Meta-train on a family of robot tasks, and end with returns on tasks drawn for evaluation.

Usage: train_locomotion.py ID [--variant NAME] [options], e.g. HalfCheetahDir-v0 --variant finn2017. The settings of
each family and variant are in scripts/defaults.py; ID --help shows them. --algorithm chooses the method, MAML-TRPO by
default; ID --algorithm NAME --help lists its options. In place of ID, --family FILE.py:NAME or package.module:NAME
trains a task family of your own, whose id is NAME-v0. Everything is kept in the run directory: TensorBoard logs,
metrics.jsonl, run.json (settings, versions, commit), a checkpoint, evaluation.json and a picture of adaptation. Ctrl-C
ends the training after its meta-iteration, and --resume goes on. With torchrun --nproc-per-node=2
scripts/train_locomotion.py ID processes share the tasks, with the same result.
"""

import sys

from environments import has_physics
from own_code import chosen_family, family_of
from rlmaml.base.errors import UserError
from rlmaml.settings.command_line import chosen
from rlmaml.settings.config_file import config_of
from rlmaml.terminal.command import run_command
from training_command import train_command


def main() -> None:
    """Find the family's settings, then parse, train, print the table."""
    first, *others = sys.argv[1:] or [""]
    if first in ("-h", "--help"):
        first, others = "HalfCheetahDir-v0", ["--help"]
    named = first if not first.startswith("-") else None
    arguments = others if named is not None else sys.argv[1:]
    config = config_of(arguments)
    own = chosen(arguments, "family", "") or None
    env_id = chosen_family(named, own, None if named or own else family_of(config))
    if named and not has_physics(env_id):
        raise UserError(f"{env_id} is not a robot; train it with scripts/train_nav.py.")
    train_command(env_id, str(__doc__), arguments)


if __name__ == "__main__":
    run_command(main)
