"""Meta-train MAML-TRPO on 2-D navigation, and end with returns on tasks never seen, beside the published ones.

Everything is kept in the run directory: TensorBoard logs, metrics.jsonl, run.json (configuration, versions,
commit), a checkpoint, evaluation.json and a picture of adaptation. Ctrl-C leaves a usable run; --resume goes on.
"""

from common import train_command
from defaults import NAVIGATION

from rlmaml.base.command import run_command


def main() -> None:
    """Parse, train, print the table."""
    train_command(NAVIGATION, str(__doc__))


if __name__ == "__main__":
    run_command(main)
