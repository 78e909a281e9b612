"""Write one HTML page about one or several runs, or other policies.

It shows returns, learning curves, tasks, what adaptation changed, and a video. All runs are shown on the same held-out
tasks: by the evaluation that ended a training, where it is of just what is asked for, or else by a new one. Where
compare.py has left comparison.json in the folder of the runs, its baselines are shown beside them. A video made by
render.py is shown, or else a short one is made where robots can be drawn. Of runs on supervised tasks it shows the
scores that their trainings left. Everything is inside: the page opens without a network.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from environments import environment_maker, published
from machine import Machine, check_least
from own_code import OwnCode
from rlmaml.base.errors import UserError
from rlmaml.base.files import check_new, check_writable, write_atomically
from rlmaml.settings.command_line import options_of
from rlmaml.settings.inner import MemorySettings
from rlmaml.terminal.command import lasting_imports, run_command
from supervised import check_left


@dataclass(frozen=True)
class Options:
    """Options of the script."""

    run_dirs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN_DIR ...")]
    """Directories of runs, or files of policies, of one family and variant."""
    num_tasks: Annotated[int, tyro.conf.arg(name="tasks")] = 40
    """Held-out tasks, drawn for evaluation alone."""
    num_episodes: Annotated[int | None, tyro.conf.arg(name="episodes")] = None
    """Episodes per task and inner step; by default as many as in the evaluation that ended each training."""
    steps: int = 3
    """Inner steps; beyond the trained ones, the last step size is used again."""
    seed: int = 10_000
    """Seed of the held-out tasks and of the episodes."""
    actions: Literal["sampled", "mean"] = "sampled"
    """With which actions the policies are judged: sampled, as they adapt, or the mean, the most likely ones."""
    own: tyro.conf.OmitArgPrefixes[OwnCode] = field(default_factory=OwnCode)
    machine: tyro.conf.OmitArgPrefixes[Machine] = field(default_factory=Machine)
    output: Path | None = None
    """The page; by default report.html in the first run directory."""
    overwrite: bool = False
    """Replace a page that is already there."""

    def __post_init__(self) -> None:
        """Check the numbers before anything is loaded."""
        check_least(
            ("--tasks", self.num_tasks, 1),
            ("--episodes", 1 if self.num_episodes is None else self.num_episodes, 1),
            ("--steps", self.steps, 0),
            ("--seed", self.seed, 0),
        )
        if not self.run_dirs:
            raise UserError("Give one or more directories of runs.")


def main() -> None:
    """Parse, evaluate each run, write the page."""
    options = options_of(Options, __doc__)

    from rlmaml.storage.run_directory import beside

    directories = [beside(run_dir) for run_dir in options.run_dirs]
    target = options.output or directories[0].report
    check_writable(options.output)
    check_new(target, overwrite=options.overwrite)
    if any(directory.is_of_examples() for directory in directories):
        from rlmaml.results.scored import read_scored
        from rlmaml.results.supervised_report import supervised_page

        check_left(options, "num_tasks", "num_episodes", "steps", "seed", "actions")
        write_page(target, supervised_page(read_scored(options.run_dirs)))
        return

    with lasting_imports():
        from rlmaml.base.threads import warn_of_idle_threads
        from rlmaml.results.compare import comparison_around
        from rlmaml.results.report import EvaluationSizes, ReportedRun, read_runs, report_page, reported
        from rlmaml.terminal.bars import ProgressBar

    options.own.allow()
    warn_of_idle_threads(threads=options.machine.threads)
    checkpoints = read_runs(options.run_dirs)
    options.own.check(checkpoints[0])
    comparison = comparison_around(options.run_dirs, checkpoints[0].settings)
    if comparison and comparison.actions != options.actions:
        print(
            f"The comparison beside the runs is of {comparison.actions} actions, and shown beside them alone: "
            f"--actions {comparison.actions}.",
            file=sys.stderr,
        )
        comparison = None
    sizes = EvaluationSizes(options.num_tasks, options.num_episodes, options.steps, options.seed, options.actions)
    runs: list[ReportedRun] = []
    bar = ProgressBar(directories, desc=f"evaluating run 1 of {len(directories)}", unit="run")
    for directory, checkpoint in zip(bar, checkpoints, strict=True):
        settings = options.machine.applied(checkpoint.settings)
        bar.set_description(f"evaluating run {len(runs) + 1} of {len(directories)}")
        runs.append(
            reported(
                directory,
                checkpoint._replace(settings=settings),
                environment_maker(settings),
                lambda settings=settings: environment_maker(settings, "rgb_array")(1),  # type: ignore[misc]
                sizes,
                tell=print,
            )
        )
    differs = {
        "of policies as trained": any(checkpoint.steps_taken for checkpoint in checkpoints),
        "of inner steps": any(isinstance(run.settings.inner, MemorySettings) for run in runs),
        "of sampled actions": options.actions != "sampled",
    }
    shown = published(runs[0].settings, options.num_tasks, runs[0].num_episodes, differs)
    write_page(target, report_page(runs, shown, comparison))


def write_page(target: Path, page: str) -> None:
    """Write the page, and say how large it is."""
    write_atomically(target, page.encode())
    print(f"{target}, {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_command(main)
