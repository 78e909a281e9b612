"""Make the policy of a run smaller, fine-tune it by the run's own training, and show what that gains and loses.

--prune SHARE leaves out this share of the entries of every weight matrix, those nearest to 0; they stay 0 whatever
moves the others. --low-rank RANK puts products of two factors in the place of matrices, where that is smaller, and the
factors adapt. The new run goes on from the same meta-iteration with the same settings, has its learning curves, and is
resumed, evaluated, adapted, exported and made still smaller like any other. The table has the whole policy and the
smaller one, each also with weights of 8 bits, as export.py --int8 rounds them, after adaptation: size, time of an
action, time and memory of one step of adaptation on one core, and the loss in return before and after adaptation. It is
kept in the new run, and report.py shows it. Of a run on supervised tasks it has scores in place of returns, and none in
8 bits. To combine both: factor a run, and prune that one --beside the first.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from common import Machine, OwnCode, check_least, environment_maker, episode_drawing
from rlmaml.settings.policy import CompressionSettings
from rlmaml.terminal.command import run_command
from rlmaml.terminal.words import counted
from supervised_runs import check_unasked, opened_run


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
    options = tyro.cli(Options, description=__doc__)

    from rlmaml.storage.run_directory import run_of

    if run_of(options.run_dir).is_of_examples():
        compress_examples(options)
        return

    from rlmaml.results.compression import JudgedOn, as_plain_table, check_comparable, markdown, small_rows
    from rlmaml.storage.kept_checkpoints import newest_checkpoint, policy_checkpoint
    from rlmaml.storage.run_directory import RunDirectory, check_different, write_json
    from rlmaml.training.compressed import begin_compressed, compressed
    from rlmaml.training.opening import check_openable
    from rlmaml.training.run import run_settings, train

    options.own.allow()
    check_different([*options.beside, options.run_dir, options.target])
    source, target = run_of(options.run_dir), RunDirectory(options.target)
    stored = [policy_checkpoint(path) for path in (*options.beside, options.run_dir)]
    for one in stored:
        options.own.check(one)
    check_comparable(stored)
    goes_on = check_openable(target, resume=options.resume, overwrite=options.overwrite)
    if goes_on:
        smaller = newest_checkpoint(target)
    else:
        smaller = compressed(stored[-1], options.change, options.iterations)
        begin_compressed(smaller, source, target, overwrite=options.overwrite)
    settings = options.machine.applied(smaller.settings)
    run = settings.run
    print(f"{target.path}: fine-tuned for {counted(run.iterations - smaller.iteration, 'meta-iteration')}.")
    train(
        settings,
        environment_maker(settings),
        target.path,
        resume=True,
        draw=episode_drawing(run.env_id, run.variant),
        make_scene=lambda: environment_maker(settings, "rgb_array")(1),
    )
    trained = settings.inner.inner_steps if not run.observe_task else 0
    steps = max(1, trained) if options.steps is None else options.steps
    judged = JudgedOn(options.num_tasks, options.num_episodes, steps, options.seed)
    rows = [
        row
        for one in (*stored, newest_checkpoint(target))
        for row in small_rows(one, environment_maker(one.settings.changed(rollout_threads=1)), judged)
    ]
    write_json(target.compression, as_plain_table(rows, judged, run_settings(settings)))
    print(f"\n{markdown(rows, judged)}\n\nRun: {target.path}")
    print(f"Go on training it with: --config {target.settings} --run-dir {target.path} --resume --iterations N")


def compress_examples(options: Options) -> None:
    """The same for a run on supervised tasks, which are made again by the options that it keeps."""
    check_unasked(options, "num_episodes")

    from rlmaml.results.compression import JudgedOn, as_plain_table, check_comparable, markdown, scored_row
    from rlmaml.storage.kept_checkpoints import newest_checkpoint, policy_checkpoint
    from rlmaml.storage.run_directory import RunDirectory, check_different, run_of, write_json
    from rlmaml.training.begin import make_method
    from rlmaml.training.compressed import begin_compressed, compressed
    from rlmaml.training.opening import check_openable
    from rlmaml.training.run import run_settings
    from rlmaml.training.supervised import train_supervised

    check_different([*options.beside, options.run_dir, options.target])
    target = RunDirectory(options.target)
    run = opened_run(options.run_dir, options.own, options.machine, options.seed)
    stored = [*(policy_checkpoint(path) for path in options.beside), run.checkpoint]
    check_comparable(stored)
    if check_openable(target, resume=options.resume, overwrite=options.overwrite):
        smaller = newest_checkpoint(target)
    else:
        smaller = compressed(run.checkpoint, options.change, options.iterations)
        begin_compressed(smaller, run_of(options.run_dir), target, overwrite=options.overwrite)
    settings, tasks = options.machine.applied(smaller.settings), run.tasks
    print(f"{target.path}: fine-tuned for {counted(settings.run.iterations - smaller.iteration, 'meta-iteration')}.")
    trained = train_supervised(
        *(settings, tasks.family, tasks.held_out, target.path, tasks.what),
        validation=tasks.validation,
        split=tasks.split,
        judges=tasks.judges,
        made_by=run.made_by,
        resume=True,
    )
    steps = max(1, settings.inner.inner_steps) if options.steps is None else options.steps
    judged = JudgedOn(options.num_tasks, 0, steps, options.seed, tasks.what)
    rows = [
        scored_row(one, make_method(one.settings, tasks.family), tasks.held_out, judged, tasks.held_out.score)
        for one in (*stored, trained.checkpoint)
    ]
    write_json(target.compression, as_plain_table(rows, judged, run_settings(settings)))
    print(f"\n{markdown(rows, judged)}\n\nRun: {target.path}")
    words = " ".join(run.words)
    print(f"Go on training it with: {words} --config {target.settings} --run-dir {target.path} --resume --iterations N")


if __name__ == "__main__":
    run_command(main)
