"""Make the policy of a run smaller, fine-tune it by the run's own training, and show what that gains and loses.

--prune SHARE leaves out this share of the entries of every weight matrix, those nearest to 0; they stay 0 whatever
moves the others. --low-rank RANK puts products of two factors in the place of matrices, where that is smaller, and the
factors adapt. The new run goes on from the same meta-iteration with the same settings, has its learning curves, and is
resumed, evaluated, adapted, exported and made still smaller like any other. The table has the whole policy and the
smaller one, each also with weights of 8 bits, as export.py --int8 rounds them, after adaptation: size, time of an
action, time and memory of one step of adaptation on one core, and the loss in return before and after adaptation; what
was not meta-trained (pretrained, random) adapts by steps of the sizes that are best on validation tasks. It is kept in
the new run, and report.py shows it. Of a run on supervised tasks it has scores in place of returns. To combine both:
factor a run, and prune that one --beside the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from environments import environment_maker, episode_drawing
from machine import Machine, check_least
from own_code import OwnCode
from resuming import resume_command
from rlmaml.settings.command_line import options_of
from rlmaml.settings.policy import CompressionSettings
from rlmaml.settings.whole import Settings
from rlmaml.terminal.command import run_command
from rlmaml.terminal.words import counted
from supervised import as_told, check_unasked
from supervised_runs import opened_run

if TYPE_CHECKING:
    from rlmaml.results.compression import JudgedOn, SmallRow
    from rlmaml.storage.checkpoint import Checkpoint


@dataclass(frozen=True)
class Options:
    """Options of the script."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Directory of the run that is made smaller, or a checkpoint of it, such as best.safetensors; it stays as it is."""
    change: tyro.conf.OmitArgPrefixes[CompressionSettings] = field(default_factory=CompressionSettings)
    iterations: int | None = None
    """Further meta-iterations of the training, to fine-tune; by default a tenth of those it was trained for."""
    new_run: Annotated[Path | None, tyro.conf.arg(name="run-dir", metavar="RUN_DIR")] = None
    """Directory of the new run; by default RUN_DIR-pruned-SHARE or RUN_DIR-rank-RANK."""
    beside: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN_DIR ...")] = ()
    """Further runs or checkpoints, measured beside the two; losses are those against the first of all."""
    num_tasks: Annotated[int, tyro.conf.arg(name="tasks")] = 40
    """Held-out tasks on which returns are measured."""
    num_episodes: Annotated[int, tyro.conf.arg(name="episodes")] = 20
    """Episodes per task and step: adapted on, and judged by."""
    steps: int | None = None
    """Steps of adaptation; by default as many as were trained, and one where none was."""
    seed: int = 10_000
    """Seed of the held-out tasks and of the episodes."""
    own: tyro.conf.OmitArgPrefixes[OwnCode] = field(default_factory=OwnCode)
    machine: tyro.conf.OmitArgPrefixes[Machine] = field(default_factory=Machine)
    resume: bool = False
    """Go on with the new run where its fine-tuning was stopped."""
    overwrite: bool = False
    """Delete the run in the new run's directory and begin anew."""

    def __post_init__(self) -> None:
        """Check the numbers before anything is loaded."""
        check_least(
            ("--tasks", self.num_tasks, 1),
            ("--episodes", self.num_episodes, 1),
            ("--steps", 0 if self.steps is None else self.steps, 0),
            ("--seed", self.seed, 0),
        )
        self.change.check_given()

    @property
    def target(self) -> Path:
        """Directory of the new run."""
        change = self.change
        done = f"rank-{change.low_rank}" if change.prune is None else f"pruned-{change.prune:g}"
        from rlmaml.storage.run_directory import run_of

        run_dir = run_of(self.run_dir).path
        return self.new_run or run_dir.with_name(f"{run_dir.name}-{done}")


def main() -> None:
    """Parse, make smaller, fine-tune, measure."""
    options = options_of(Options, __doc__)

    from rlmaml.storage.run_directory import run_of

    if run_of(options.run_dir).is_of_examples():
        compress_examples(options)
        return

    from rlmaml.results.compression import JudgedOn, small_rows
    from rlmaml.storage.kept_checkpoints import newest_checkpoint, policy_checkpoint
    from rlmaml.storage.run_directory import RunDirectory, check_different
    from rlmaml.training.run import train

    options.own.allow()
    check_different([*options.beside, options.run_dir, options.target])
    stored = [policy_checkpoint(path) for path in (*options.beside, options.run_dir)]
    for one in stored:
        options.own.check(one)
    settings = options.machine.applied(begun(options, stored).settings)
    run = settings.run
    train(
        settings,
        environment_maker(settings),
        options.target,
        resume=True,
        draw=episode_drawing(run.env_id, run.variant),
        make_scene=lambda: environment_maker(settings, "rgb_array")(1),
    )
    trained = settings.inner.inner_steps if not run.observe_task else 0
    steps = max(1, trained) if options.steps is None else options.steps
    judged = JudgedOn(options.num_tasks, options.num_episodes, steps, options.seed)
    rows = [
        row
        for one in (*stored, newest_checkpoint(RunDirectory(options.target)))
        for row in small_rows(one, environment_maker(one.settings.changed(rollout_threads=1)), judged)
    ]
    show(options, rows, judged, settings)


def begun(options: Options, stored: "Sequence[Checkpoint]") -> "Checkpoint":
    """The smaller policy of the new run, which is begun, or gone on with, and how long it is fine-tuned.

    Args:
        options: of the script.
        stored: what the table compares; the last one is made smaller.
    """
    from rlmaml.results.paired import check_one_problem
    from rlmaml.storage.kept_checkpoints import newest_checkpoint
    from rlmaml.storage.run_directory import RunDirectory, run_of
    from rlmaml.training.compressed import begin_compressed, compressed
    from rlmaml.training.opening import check_openable

    paths = (*options.beside, options.run_dir)
    check_one_problem({str(path): one.settings for path, one in zip(paths, stored, strict=True)})
    target = RunDirectory(options.target)
    goes_on = check_openable(target, resume=options.resume, overwrite=options.overwrite)
    if goes_on:
        smaller = newest_checkpoint(target)
    else:
        smaller = compressed(stored[-1], options.change, options.iterations)
        begin_compressed(smaller, run_of(options.run_dir), target, overwrite=options.overwrite)
    left = counted(smaller.settings.run.iterations - smaller.iteration, "meta-iteration")
    more = f"gone on with for {left}" if smaller.iteration < smaller.settings.run.iterations else "trained to its end"
    print(f"{target.path}: {more if goes_on else f'fine-tuned for {left}'}.")
    return smaller


def show(options: Options, rows: "Sequence[SmallRow]", judged: "JudgedOn", settings: Settings) -> None:
    """Keep the table in the new run and print it, with the command that goes on training that for as long again."""
    from rlmaml.results.compression import as_plain_table, markdown
    from rlmaml.storage.run_directory import RunDirectory, write_json
    from rlmaml.training.run import run_settings

    target = RunDirectory(options.target)
    write_json(target.compression, as_plain_table(rows, judged, run_settings(settings)))
    print(f"\n{markdown(rows, judged)}\n\nRun: {target.path}")
    longer = ["--iterations", str(max(1, 2 * settings.run.iterations))]
    command = resume_command(target.path, longer, policy=options.own.policy, family=options.own.family)
    print(f"Go on training it, for as long again, with: {command}")


def compress_examples(options: Options) -> None:
    """The same for a run on supervised tasks, which are made again by the options that it keeps."""
    check_unasked(options, "num_episodes")

    from rlmaml.results.compression import JudgedOn, scored_rows
    from rlmaml.storage.kept_checkpoints import newest_checkpoint, policy_checkpoint
    from rlmaml.storage.run_directory import RunDirectory, check_different
    from rlmaml.training.supervised import train_supervised

    check_different([*options.beside, options.run_dir, options.target])
    run = opened_run(options.run_dir, options.own, options.machine, options.seed)
    stored = [*(policy_checkpoint(path) for path in options.beside), run.checkpoint]
    settings, tasks = options.machine.applied(begun(options, stored).settings), run.tasks
    made_by = as_told(run.options, options.target, run.robot)
    train_supervised(tasks._replace(settings=settings), options.target, made_by=made_by, resume=True)
    steps = max(1, settings.inner.inner_steps) if options.steps is None else options.steps
    judged = JudgedOn(options.num_tasks, 0, steps, options.seed, tasks.what)
    rows = [
        row
        for one in (*stored, newest_checkpoint(RunDirectory(options.target)))
        for row in scored_rows(one, tasks, judged)
    ]
    show(options, rows, judged, settings)


if __name__ == "__main__":
    run_command(main)
