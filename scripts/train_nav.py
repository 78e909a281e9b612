"""Meta-train on 2-D navigation, and end with returns on tasks never seen, beside the published ones.

--algorithm chooses the method, MAML-TRPO by default; --algorithm NAME --help lists its options. Everything is kept in
the run directory: TensorBoard logs, metrics.jsonl, run.json (settings, versions, commit), a checkpoint,
evaluation.json and a picture of adaptation. Ctrl-C ends the training after its meta-iteration, and --resume goes on.
torchrun --nproc-per-node=2 scripts/train_nav.py shares the tasks among processes, with the same result.
"""

from resuming import NAVIGATION
from rlmaml.terminal.command import run_command
from training_command import train_command


def main() -> None:
    """Parse, train, print the table."""
    train_command(NAVIGATION, str(__doc__))


if __name__ == "__main__":
    run_command(main)
