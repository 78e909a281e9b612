"""Meta-train on a family of robot tasks, and end with returns on tasks drawn for evaluation.

Usage: train_locomotion.py ID [--variant NAME] [options], e.g. HalfCheetahDir-v0 --variant finn2017. The settings of
each family and variant are in scripts/defaults.py; ID --help shows them. --algorithm chooses the method, MAML-TRPO by
default; ID --algorithm NAME --help lists its options. Everything is kept in the run directory: TensorBoard logs,
metrics.jsonl, run.json (settings, versions, commit), a checkpoint, evaluation.json and a picture of adaptation. Ctrl-C
ends the training after its meta-iteration, and --resume goes on. torchrun --nproc-per-node=2
scripts/train_locomotion.py ID shares the tasks among processes, with the same result.
"""

import sys

from common import has_physics, train_command

from rlmaml.base.command import run_command
from rlmaml.base.errors import UserError


def main() -> None:
    """Find the family's settings, then parse, train, print the table."""
    env_id, *arguments = sys.argv[1:] or [""]
    if env_id in ("-h", "--help"):
        env_id, arguments = "HalfCheetahDir-v0", ["--help"]
    if not env_id or env_id.startswith("-"):
        raise UserError("Give the task family first, e.g. train_locomotion.py HalfCheetahDir-v0; --help explains.")
    if not has_physics(env_id):
        raise UserError(f"{env_id} is not a robot; train it with scripts/train_nav.py.")
    train_command(env_id, str(__doc__), arguments)


if __name__ == "__main__":
    run_command(main)
