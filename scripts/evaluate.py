"""Adapt a trained policy to held-out tasks and print the mean return after every step.

Of a run on supervised tasks its tasks are made again, as its training made them, and its scores after every step are
printed: by default on those of its test, and with another --seed on fresh ones.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from environments import check_beyond, environment_maker, in_variant, published
from machine import Machine, check_least
from own_code import OwnCode
from rlmaml.base.errors import UserError
from rlmaml.base.files import check_new, check_writable
from rlmaml.settings.command_line import options_of
from rlmaml.settings.search import SearchSettings
from rlmaml.settings.trust_region import check_trust_region
from rlmaml.terminal.command import run_command
from rlmaml.terminal.words import counted
from searching import check_budget_alone, trained_search
from supervised import check_unasked
from supervised_runs import opened_run
from task_choice import chosen_in_all, help_with_tasks


@dataclass(frozen=True)
class Options:
    """Options of the script."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Directory of the run, a checkpoint, or an adapted policy, which goes on from where it is."""
    tasks: int | None = None
    """Held-out tasks, drawn for evaluation alone: 40 by default, or of supervised ones as many as at the end of the
    training."""
    num_episodes: Annotated[int, tyro.conf.arg(name="episodes")] = 40
    """Episodes per task and step."""
    steps: int | None = None
    """Steps of adaptation: 3 by default, or of supervised tasks as many as at the end of the training; beyond the
    trained inner steps, the last size is used again. A search takes as many as its budget has attempts: before the last
    step, what is reported are the contexts that it tries."""
    trust_region: float | None = None
    """Adapt by trust-region steps of at most this KL, in nats, instead of inner steps; 0.05, say."""
    search: tyro.conf.OmitArgPrefixes[SearchSettings] = field(default_factory=SearchSettings)
    teacher: bool = False
    """Of a run of rma, judge the teacher, too, who is told the task, and then its student, who has to guess it, in as
    many episodes as a trial has."""
    seed: int = 10_000
    """Seed of the held-out tasks and of the episodes."""
    variant: str | None = None
    """Evaluate on another variant of the family, e.g. a changed robot; by default the one of the training."""
    actions: Literal["sampled", "mean"] = "sampled"
    """With which actions the policies are judged: sampled, as they adapt, or the mean, the most likely ones."""
    beyond: bool = False
    """Draw the tasks outside of the training range, where the family has such tasks: after a training with --hold-out
    KIND, those of that kind."""
    task: tuple[str, ...] = ()
    """Parameters that all held-out tasks have, by name, velocity=1.3 or missing=picture, or elements of them; what is
    not given is drawn for each task. All are listed with units by RUN_DIR --help."""
    own: tyro.conf.OmitArgPrefixes[OwnCode] = field(default_factory=OwnCode)
    machine: tyro.conf.OmitArgPrefixes[Machine] = field(default_factory=Machine)
    json: Path | None = None
    """File to which the returns are written, per task and in summary."""
    overwrite: bool = False
    """Replace a file that is already there."""

    def __post_init__(self) -> None:
        """Check the numbers before anything is loaded."""
        check_least(
            ("--tasks", self.num_tasks, 1),
            ("--episodes", self.num_episodes, 1),
            ("--steps", self.num_steps, 0),
            ("--seed", self.seed, 0),
        )
        if self.task and self.beyond:
            raise UserError("--beyond draws tasks outside of the training range, where --task may move them; give one.")
        check_trust_region(self.trust_region)
        if self.teacher and self.steps is not None:
            raise UserError("--teacher is followed by the episodes of one of the student's trials; leave --steps out.")
        if self.search.search:
            check_budget_alone(self.trust_region, steps=self.steps is not None, episodes=False)
            check_least(("--episodes", self.num_episodes, self.search.average))

    @property
    def num_tasks(self) -> int:
        """Held-out tasks, of episodes."""
        return 40 if self.tasks is None else self.tasks

    @property
    def num_steps(self) -> int:
        """Steps of adaptation, or attempts."""
        if self.search.search:
            return self.search.attempts
        return 3 if self.steps is None else self.steps


def main() -> None:
    """Parse, evaluate, print the table."""
    options = options_of(Options, help_with_tasks(__doc__, sys.argv[1:], Options))
    check_writable(options.json)
    check_new(options.json, overwrite=options.overwrite)

    from rlmaml.storage.run_directory import run_of

    if run_of(options.run_dir).is_of_examples():
        evaluate_examples(options)
        return

    from rlmaml.base.threads import warn_of_idle_threads
    from rlmaml.evaluation.table import evaluation_table
    from rlmaml.settings.stages import stage_unit
    from rlmaml.storage.kept_checkpoints import policy_checkpoint
    from rlmaml.storage.run_directory import write_json
    from rlmaml.training.fine_tuning import words_on_sizes
    from rlmaml.training.run import evaluate_run, run_settings

    options.own.allow()
    checkpoint = policy_checkpoint(options.run_dir)
    options.own.check(checkpoint)
    steps = checkpoint.settings.inner.inner_steps if options.teacher else options.num_steps
    settings = in_variant(options.machine.applied(checkpoint.settings), options.variant).changed(
        evaluation_tasks=options.num_tasks,
        evaluation_episodes=options.num_episodes,
        evaluation_steps=steps,
    )
    warn_of_idle_threads(threads=options.machine.threads)
    if options.beyond:
        check_beyond(settings)
    choose = chosen_in_all(options.task, settings) if options.task else None
    evaluation = evaluate_run(
        checkpoint._replace(settings=settings),
        environment_maker(settings),
        num_tasks=options.num_tasks,
        num_episodes=options.num_episodes,
        steps=steps,
        seed=options.seed,
        beyond=options.beyond,
        choose=choose,
        trust_region=options.trust_region,
        search=trained_search(options.search, options.run_dir, options.machine) if options.search.search else None,
        teacher=options.teacher,
        keep_rollouts=False,
        progress=True,
        actions=options.actions,
    )
    if options.json:
        written = run_settings(settings) | {"iterations_done": checkpoint.iteration, "evaluation_seed": options.seed}
        written |= {"steps_taken": checkpoint.steps_taken} if checkpoint.steps_taken else {}
        written |= {"beyond": options.beyond, "trust_region": options.trust_region, "actions": options.actions}
        written |= {"task": list(options.task)} if options.task else {}
        written |= {"search": options.search.as_plain() if options.search.search else None, "teacher": options.teacher}
        write_json(options.json, evaluation.as_json(written))
    inner_steps = options.trust_region is None and options.search.search is None
    differs = {
        "of tasks in the training range": options.beyond,
        "of tasks drawn in all their parameters": bool(options.task),
        "of policies as trained": bool(checkpoint.steps_taken),
        "of inner steps": not inner_steps,
        "of sampled actions": options.actions != "sampled",
    }
    theirs = published(settings, options.num_tasks, options.num_episodes, differs)
    place = " beyond the training range" if options.beyond else ""
    place += f" with {' '.join(options.task)}" if options.task else ""
    judged = f"{counted(options.num_episodes, 'episode')} each, {options.actions} actions"
    print(f"Mean return on {counted(options.num_tasks, 'held-out task')}{place}, {judged}:\n")
    unit = "attempts" if options.search.search else stage_unit(settings)
    zero_shot, first = not checkpoint.steps_taken, "teacher" if options.teacher else ""
    print(evaluation_table(evaluation.summary(), evaluation.terms, theirs, zero_shot=zero_shot, unit=unit, first=first))
    if inner_steps and (words := words_on_sizes(settings)):
        print(f"\n{words}")


def evaluate_examples(options: Options) -> None:
    """Score a run on supervised tasks, print the table."""
    check_unasked(options, "num_episodes", "trust_region", "search", "teacher", "variant", "actions", "beyond", "task")

    from rlmaml.evaluation.query_scores import score_table, scores_as_json
    from rlmaml.storage.run_directory import write_json
    from rlmaml.storage.scores_file import HeldOut
    from rlmaml.training.run import run_settings
    from rlmaml.training.supervised import as_scored, score_run_by

    run = opened_run(options.run_dir, options.own, options.machine, options.seed)
    asked = {"evaluation_tasks": options.tasks, "evaluation_steps": options.steps}
    given = {name: value for name, value in asked.items() if value is not None}
    checkpoint = run.checkpoint._replace(settings=run.checkpoint.settings.changed(**given))
    judges = {run.tasks.what: run.tasks.held_out.score, **run.tasks.judges}
    method, checkpoint = as_scored(run.method, checkpoint, run.tasks)
    scores = score_run_by(method, checkpoint, run.tasks.held_out, judges, options.seed)
    held_out = HeldOut(checkpoint.settings.run.env_id, run.tasks.held_out.variant, options.seed)
    if options.json:
        config = run_settings(checkpoint.settings) | {"iterations_done": checkpoint.iteration}
        write_json(options.json, scores_as_json(scores, held_out, config))
    for name, own in scores.items():
        title = f"{name} on {held_out.words(len(own.scores))}:"
        print(f"{title}\n\n{score_table({checkpoint.settings.algorithm: own.summary()}, {})}\n")


if __name__ == "__main__":
    run_command(main)
