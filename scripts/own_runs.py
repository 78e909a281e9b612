"""Runs and policies of one's own beside each other: what ``compare.py RUN_DIR RUN_DIR ...`` does."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from environments import environment_maker
from machine import Machine, check_least
from own_code import OwnCode
from rlmaml.base.errors import UserError
from rlmaml.base.files import check_new, check_writable
from rlmaml.terminal.words import counted
from supervised import check_left


@dataclass(frozen=True)
class RunsOptions:
    """Options for runs of one's own."""

    run_dirs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN_DIR ...")]
    """Directories of runs, checkpoints or adapted policies, which go on from where they are, of one family and variant;
    the others are compared with the first."""
    num_tasks: Annotated[int, tyro.conf.arg(name="tasks")] = 40
    """Held-out tasks, the same for all."""
    num_episodes: Annotated[int, tyro.conf.arg(name="episodes")] = 20
    """Episodes per task and inner step."""
    steps: int = 3
    """Inner steps; beyond the trained ones, the last step size is used again."""
    seed: int = 10_000
    """Seed of the tasks and of the episodes."""
    actions: Literal["sampled", "mean"] = "sampled"
    """With which actions the policies are judged: sampled, as they adapt, or the mean, the most likely ones."""
    own: tyro.conf.OmitArgPrefixes[OwnCode] = field(default_factory=OwnCode)
    machine: tyro.conf.OmitArgPrefixes[Machine] = field(default_factory=Machine)
    output: Path | None = None
    """File to which the comparison is written as JSON: means, differences, what each reached on every task, and the
    settings that differ."""
    overwrite: bool = False
    """Replace a file that is already there."""

    def __post_init__(self) -> None:
        """Check the numbers before anything is loaded."""
        check_least(
            ("--tasks", self.num_tasks, 1),
            ("--episodes", self.num_episodes, 1),
            ("--steps", self.steps, 0),
            ("--seed", self.seed, 0),
        )
        if len(self.run_dirs) < 2:
            raise UserError("Give two or more runs or policies; for a single one there is evaluate.py RUN_DIR.")


def compare_runs(options: RunsOptions) -> None:
    """Evaluate each run on the same tasks, or read the scores that its training left, print the table."""
    from rlmaml.storage.run_directory import beside, write_json

    check_writable(options.output)
    check_new(options.output, overwrite=options.overwrite)
    if any(beside(run_dir).is_of_examples() for run_dir in options.run_dirs):
        from rlmaml.results.scored import read_scored, scored_as_json, scored_table

        check_left(options, "num_tasks", "num_episodes", "steps", "seed", "actions")
        scored = read_scored(options.run_dirs)
        if options.output:
            write_json(options.output, scored_as_json(scored))
        print(scored_table(scored))
        return

    from rlmaml.results.page_parts import as_label
    from rlmaml.results.paired import Reached, check_same_tasks, paired_as_json, paired_table
    from rlmaml.results.report import read_runs
    from rlmaml.terminal.bars import ProgressBar
    from rlmaml.training.final_evaluation import evaluated_once

    options.own.allow()
    checkpoints = read_runs(options.run_dirs)
    options.own.check(checkpoints[0])
    directories = [beside(run_dir.resolve()) for run_dir in options.run_dirs]
    asked = {name: getattr(options, name) for name in ("num_tasks", "num_episodes", "seed", "actions")}
    evaluations = []
    bar = ProgressBar(checkpoints, unit="run", leave=False)
    for number, (directory, checkpoint) in enumerate(zip(directories, bar, strict=True), start=1):
        bar.set_description(f"evaluating run {number} of {len(checkpoints)}")
        settings = options.machine.applied(checkpoint.settings)
        evaluations.append(
            evaluated_once(
                *(directory, checkpoint._replace(settings=settings), environment_maker(settings)),
                steps=0 if settings.run.observe_task else options.steps,
                keep_rollouts=False,
                **asked,
            )
        )
    check_same_tasks([evaluation.tasks for evaluation in evaluations])
    runs = [
        Reached(as_label(directory.name), checkpoint.settings, evaluation.returns_with_failed.double().numpy())
        for directory, checkpoint, evaluation in zip(directories, checkpoints, evaluations, strict=True)
    ]
    if options.output:
        write_json(options.output, paired_as_json(runs) | {"config": asked | {"steps": options.steps}})
    tasks, episodes = counted(options.num_tasks, "held-out task"), counted(options.num_episodes, "episode")
    print(f"Mean return on {tasks}, {episodes} each, of {options.actions} actions:\n")
    print(paired_table(runs, zero_shot=not any(checkpoint.steps_taken for checkpoint in checkpoints)))
    for run, checkpoint in zip(runs, checkpoints, strict=True):
        if checkpoint.steps_taken:
            task = checkpoint.adaptation.get("task", "a task that is not known")
            print(f"{run.name} had taken {counted(checkpoint.steps_taken, 'step')} before, on {task}.")
