"""Time MAML's meta-iterations on sine waves in one pass over all tasks, and in a Python loop over tasks, in turn.

Run it on an otherwise idle machine. Both draw the same tasks and examples, begin from the same parameters and end with
the same ones to rounding; times are medians over the repeats, in seconds per meta-iteration.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from common import check_least
from defaults import SUPERVISED
from rlmaml.base.files import check_new, check_writable
from rlmaml.settings.command_line import options_of
from rlmaml.terminal.command import run_command


@dataclass(frozen=True)
class Options:
    """Options of the script."""

    num_tasks: Annotated[int, tyro.conf.arg(name="tasks")] = 25
    """Tasks per meta-iteration."""
    shots: int = 10
    """Points of a wave that a model adapts on."""
    queries: int = 10
    """Points of a wave that the loss after adaptation is on."""
    hidden: tuple[int, ...] = (40, 40)
    """Widths of the model's hidden layers."""
    inner_steps: int = 1
    """Inner gradient steps per task."""
    threads: int = 1
    """Threads of torch."""
    repeats: int = 50
    """Meta-iterations of either kind that are timed."""
    json: Path | None = None
    """File to which the figures are written."""
    overwrite: bool = False
    """Replace a file that is already there."""


def main() -> None:
    """Parse, time, print."""
    options = options_of(Options, __doc__)
    check_least(("--repeats", options.repeats, 1))
    check_writable(options.json)
    check_new(options.json, overwrite=options.overwrite)
    settings = SUPERVISED["sinusoid"].changed(
        num_tasks=options.num_tasks,
        hidden=options.hidden,
        inner_steps=options.inner_steps,
        threads=options.threads,
        inner_step_sizes=(0.01,),
        learn_step_sizes=False,
        stage_weights=(),
    )

    from rlmaml.families.sinusoid import Sinusoid
    from rlmaml.results.task_loop import beside_loop
    from rlmaml.storage.run_directory import write_json
    from rlmaml.training.run import run_settings

    figures = beside_loop(Sinusoid(shots=options.shots, queries=options.queries), settings, options.repeats)
    if options.json:
        write_json(options.json, figures | run_settings(settings))
    print("seconds per meta-iteration")
    for name, seconds in figures["seconds"].items():
        print(f"  {name:<10} {seconds:.4f}")
    print(f"one pass is {figures['ratio']:.1f} times as fast; largest difference {figures['difference']:.1e}")


if __name__ == "__main__":
    run_command(main)
