"""Meta-train MAML-TRPO on 2-D navigation, and end with returns on tasks never seen, beside the published ones.

Everything is kept in the run directory: TensorBoard logs, metrics.jsonl, run.json (configuration, versions,
commit), a checkpoint, evaluation.json and a picture of adaptation. Ctrl-C leaves a usable run; --resume goes on.
"""

from dataclasses import dataclass, field
from pathlib import Path

import tyro
from common import environment_maker
from defaults import NAVIGATION

from rlmaml.cli import run_command
from rlmaml.config import TrainConfig


@dataclass(frozen=True)
class Options:
    """Options of the script: where the run is kept, and the settings of the run."""

    run_dir: Path | None = None
    """Directory of the run; by default runs/<env id>-<variant>-seed<seed>."""
    resume: bool = False
    """Continue the run in the run directory, or begin it if there is none."""
    overwrite: bool = False
    """Delete the run in the run directory and begin anew."""
    config: tyro.conf.OmitArgPrefixes[TrainConfig] = field(default_factory=lambda: NAVIGATION)


def main() -> None:
    """Parse, train, print the table."""
    options = tyro.cli(Options, description=__doc__)
    config = options.config
    run_dir = options.run_dir or Path("runs") / f"{config.env_id}-{config.variant}-seed{config.seed}"

    from envs.navigation_drawing import draw_paths
    from rlmaml.run import train
    from rlmaml.table import evaluation_table

    evaluation = train(
        config,
        environment_maker(config),
        run_dir,
        resume=options.resume,
        overwrite=options.overwrite,
        draw=draw_paths,
    )
    print(f"\nMean return on {config.evaluation_tasks} held-out tasks, {config.evaluation_episodes} episodes each:\n")
    print(evaluation_table(evaluation.summary(), config.env_id, config.variant, config.horizon))
    print(f"\nRun: {run_dir}\nLook at it with: tensorboard --logdir {run_dir.parent}")


if __name__ == "__main__":
    run_command(main)
