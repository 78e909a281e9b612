"""Time MAML's meta-iterations on waves or pictures in one pass over all tasks, and in a loop over tasks, in turn.

Run it on an otherwise idle machine. Both draw the same tasks and examples, begin from the same parameters and have the
same gradients to rounding; times are medians over the repeats, in seconds per meta-iteration.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from defaults import SUPERVISED
from machine import check_least
from rlmaml.base.files import check_new, check_writable
from rlmaml.settings.command_line import options_of
from rlmaml.settings.whole import Settings
from rlmaml.terminal.command import run_command

if TYPE_CHECKING:
    from rlmaml.sampling.examples import SupervisedFamily


@dataclass(frozen=True)
class Options:
    """Options of the script."""

    data: Literal["sinusoid", "digits", "fashion-mnist"] = "sinusoid"
    """Waves for a perceptron, or pictures for four layers of filters."""
    num_tasks: Annotated[int, tyro.conf.arg(name="tasks")] = 25
    """Tasks per meta-iteration."""
    shots: int = 10
    """Points of a wave, or pictures of a class, that a model adapts on."""
    queries: int = 10
    """Points of a wave, or pictures of a class, that the loss after adaptation is on."""
    hidden: tuple[int, ...] = (40, 40)
    """Widths of the hidden layers of the waves' model."""
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

    from rlmaml.results.task_loop import beside_loop
    from rlmaml.storage.run_directory import write_json
    from rlmaml.training.run import run_settings

    family, settings = timed(options)
    figures = beside_loop(family, settings, options.repeats)
    if options.json:
        write_json(options.json, figures | run_settings(settings))
    print("seconds per meta-iteration")
    for name, seconds in figures["seconds"].items():
        print(f"  {name:<10} {seconds:.4f}")
    print(
        f"one pass is {figures['ratio']:.1f} times as fast; gradients differ by {figures['difference']:.1e}, as a share"
    )


def timed(options: Options) -> "tuple[SupervisedFamily, Settings]":
    """The family of which meta-iterations are timed, and their settings: MAML with given step sizes."""
    given = {
        "num_tasks": options.num_tasks,
        "inner_steps": options.inner_steps,
        "threads": options.threads,
        "inner_step_sizes": (0.01,),
        "learn_step_sizes": False,
        "stage_weights": (),
    }
    if options.data == "sinusoid":
        from rlmaml.families.sinusoid import Sinusoid

        family = Sinusoid(shots=options.shots, queries=options.queries)
        return family, SUPERVISED["sinusoid"].changed(hidden=options.hidden, **given)
    import train_few_shot

    pictures = train_few_shot.Options(data=options.data, shots=options.shots, queries=options.queries)
    tasks = train_few_shot.tasks_of(pictures, SUPERVISED["few-shot"].changed(**given))
    return tasks.family, tasks.settings


if __name__ == "__main__":
    run_command(main)
