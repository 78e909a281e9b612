"""Meta-train MAML-TRPO on a family of robot tasks, and end with returns on tasks drawn for evaluation.

Usage: train_locomotion.py ID [--variant NAME] [options], e.g. HalfCheetahDir-v0 --variant finn2017. The settings of
each family and variant are in scripts/defaults.py; ID --help shows them. Everything is kept in the run directory:
TensorBoard logs, metrics.jsonl, run.json (configuration, versions, commit), a checkpoint, evaluation.json and a
picture of adaptation. Ctrl-C leaves a usable run; --resume goes on.
"""

import argparse
import sys

from common import default_variant, train_command
from defaults import NAVIGATION, locomotion

from rlmaml.base.command import run_command
from rlmaml.base.errors import UserError


def main() -> None:
    """Find the family's settings, then parse, train, print the table."""
    env_id, *arguments = sys.argv[1:] or [""]
    if env_id in ("-h", "--help"):
        env_id, arguments = "HalfCheetahDir-v0", ["--help"]
    if not env_id or env_id.startswith("-"):
        raise UserError("Give the task family first, e.g. train_locomotion.py HalfCheetahDir-v0; --help explains.")
    if env_id == NAVIGATION.env_id:
        raise UserError(f"{env_id} is not a robot; train it with scripts/train_nav.py.")
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--variant")
    variant = chosen.parse_known_args(arguments)[0].variant or default_variant(env_id)
    train_command(locomotion(env_id, variant), str(__doc__), arguments)


if __name__ == "__main__":
    run_command(main)
