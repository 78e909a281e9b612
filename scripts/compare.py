"""Compare methods; by default MAML with a pretrained policy, random initialisation and an oracle, as in the papers.

Each method is trained with the family's settings and the same number of environment steps, for several seeds, and then
adapted to the same held-out tasks, in the training range and, where the family has such tasks, beyond it. Finished
runs and evaluations are kept and used again, so an interrupted comparison goes on where it was. With --search, methods
with a context (cavia) adapt by it instead of by their inner steps, and --steps is for the others.

With --lived 0 1 2 5 10 20 50 methods are compared by what they cost on a new robot: the return, with sampled and with
mean actions, after so many episodes lived on it. Memory (rl2, rma) lives through them, a search tries one context in
each, or in every --search-average of them, inner steps share them, and a policy without steps (pretrained, robust,
oracle, random) stays as it is. Of rma there is the teacher, too. Where a family has the variant unchanged, the
table says what share of the cost of a change is recovered.

With --source VARIANT --target VARIANT methods are trained on either variant of a family, with as many episodes, and
adapted to the target's tasks: what the source brings, or costs, task by task. VARIANT-beyond is a variant's tasks
outside of its training range, where it has such: --source finn2017 --target finn2017-beyond. Of supervised tasks there
are errors in place of returns: compare.py sinusoid --source finn2017 --target li2017, few-shot with --data of
train_few_shot.py, or dynamics-ID with variants of the robots ID.

Options of a method's settings, as train_locomotion.py --algorithm NAME --help lists them, are for all methods that have
and read them: compare.py --hidden 64 64 --max-kl 0.02 says which do. What a method stands for stays, such as pretrained
for no inner steps; a schedule is in meta-iterations of maml-trpo, like --iterations. --tasks and --episodes are those
of the evaluation, never of a meta-iteration.

compare.py RUN_DIR RUN_DIR ... compares runs of your own, checkpoints or adapted policies on the same held-out tasks:
returns, differences task by task, and the settings in which they differ; RUN_DIR RUN_DIR --help lists its options.
Runs on supervised tasks are compared by the scores that their trainings left, on the tasks of their test.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import tyro

from defaults import tuned
from environments import (
    chosen_variant,
    environment_maker,
    episode_drawing,
    has_tasks_beyond,
    resolved,
    unchanged_variant,
)
from machine import Machine, check_least
from own_code import chosen_family
from own_runs import RunsOptions, compare_runs
from rlmaml.base.cores import num_cores
from rlmaml.base.errors import UserError
from rlmaml.settings.checks import option
from rlmaml.settings.command_line import options_of, positional_words, shared_options
from rlmaml.settings.methods.registry import DEFAULT_METHOD, METHODS, PAPERS, find_method
from rlmaml.settings.search import SearchSettings
from rlmaml.settings.unread import NO_OPTION_OF_IT, sharing, unread, why_left
from rlmaml.settings.whole import Settings, configure
from rlmaml.terminal.command import run_command
from rlmaml.terminal.words import counted, in_short
from supervised import check_unasked, supervised_name
from supervised_runs import posed_variants

if TYPE_CHECKING:
    from rlmaml.storage.run_directory import ComparisonDirectory

SettingsOf: TypeAlias = Callable[..., Settings]
"""From a method, and a variant if it is another than the family's, to what it is trained with."""
SAID_OTHERWISE = {
    "env_id": "the family's name alone, as the first word,",
    "seed": "--seeds",
    "evaluation_tasks": "--tasks",
    "evaluation_episodes": "--episodes",
    "evaluation_steps": "--steps",
    "observe_task": "--algorithms oracle",
    "rollout_threads": "--threads",
}
"""Settings that a comparison decides by options of its own, or by a method."""


@dataclass(frozen=True)
class Options:
    """Options of the script."""

    env_id: tyro.conf.Positional[str | None] = None
    """Task family; by default Navigation2D-v0."""
    family: str | None = None
    """In place of an id, a task family of your own, FILE.py:NAME or package.module:NAME, which is then run."""
    variant: str | None = None
    """Which of its definitions; by default the first."""
    hold_out: str | None = None
    """Train on any change of the robot but this kind, which then is beyond the training range: short for --variant
    any_but_KIND."""
    source: str | None = None
    """The variant, or VARIANT-beyond, to train on, whose policies are adapted to tasks of --target."""
    target: str | None = None
    """The variant, or VARIANT-beyond, that policies trained on --source are adapted to, beside policies trained on it
    alone."""
    algorithms: tuple[str, ...] = PAPERS
    """Names that --algorithm takes. Further ones may join a comparison that is there."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the trainings."""
    iterations: int | None = None
    """Meta-iterations of maml-trpo; by default the family's. The other methods get as many environment steps."""
    tasks: int = 40
    """Held-out tasks."""
    episodes: int = 40
    """Episodes per task and inner step in the evaluation."""
    steps: int = 3
    """Inner steps in the evaluation."""
    actions: Literal["sampled", "mean"] = "sampled"
    """With which actions the policies are judged: sampled, as they adapt, or the mean, the most likely ones."""
    lived: tuple[int, ...] = ()
    """Compare returns after these numbers of episodes lived on a new task, 0 among them, instead of after inner steps.
    A search then has as many episodes."""
    search: tyro.conf.OmitArgPrefixes[SearchSettings] = field(default_factory=SearchSettings)
    machine: tyro.conf.OmitArgPrefixes[Machine] = field(default_factory=Machine)
    processes: int = field(default_factory=num_cores)
    """Runs at once, by default as many as there are cores; those on supervised tasks follow one another. With several
    each has one thread, whatever --threads says, which changes no result."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Directory of the runs and of the comparison; by default runs/compare-<env id>-<variant>, or
    runs/transfer-<env id>-<source>-<target>."""
    overwrite: bool = False
    """Replace a comparison of other settings that is there, with the evaluations it was made of; trainings are kept."""

    def __post_init__(self) -> None:
        """Check the numbers before anything is loaded."""
        check_least(
            ("--tasks", self.tasks, 1),
            ("--episodes", self.episodes, self.search.average),
            ("--steps", self.steps, 1),
            ("--processes", self.processes, 1),
            *([("--iterations", self.iterations, 1)] if self.iterations is not None else []),
        )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise UserError(f"--seeds is {in_short(self.seeds)}; give one or more different numbers not below 0.")
        if not self.algorithms or len(set(self.algorithms)) < len(self.algorithms):
            raise UserError(
                f"--algorithms is {' '.join(self.algorithms) or 'empty'}; give one or more different names."
            )
        for name in self.algorithms:
            find_method(name, "--algorithms")
        if self.lived and self.actions != "sampled":
            raise UserError("--lived measures returns with sampled and with mean actions; leave --actions.")
        if (self.source is None) != (self.target is None):
            raise UserError("--source and --target go together: what is trained on, and what is adapted to.")
        if self.source is not None and (self.variant or self.hold_out or self.lived or self.search.search):
            raise UserError(
                "--source and --target name both variants, and adapt by inner steps; leave --variant, --hold-out, "
                "--lived and --search."
            )

    def settings_of(self, method: str, variant: str | None = None) -> Settings:
        """Of a method in this family, or in a variant of it, with what is asked for here."""
        from rlmaml.results.contenders import asked_of

        env_id = chosen_family(self.env_id, self.family, "Navigation2D-v0")
        variant = variant or self.target or chosen_variant(env_id, self.variant, self.hold_out)
        settings = resolved(tuned(env_id, variant, method))
        return asked_of(
            self.machine.applied(settings),
            iterations=self.iterations or settings.run.iterations,
            evaluation_tasks=self.tasks,
            evaluation_episodes=self.episodes,
            evaluation_steps=self.steps,
        )

    def sharing(self, shared: Mapping[str, Any]) -> SettingsOf:
        """The same, with options of a training that all methods are given.

        Raises:
            UserError: none of the methods reads one of them.
        """
        tell_who_reads(shared, [self.settings_of(name) for name in self.algorithms])
        return lambda method, variant=None: sharing(self.settings_of(method, variant), shared)[0]


def tell_who_reads(shared: Mapping[str, Any], methods: Sequence[Settings]) -> None:
    """Say of settings that all methods are given which of these read them, where not all do.

    Raises:
        UserError: none of them takes one, or none would read it and it does not switch something off.
    """
    lines, shares = [], [sharing(one, shared) for one in methods]
    for name, value in shared.items():
        takers = [settings for settings, taken in shares if name in taken]
        readers = [settings.algorithm for settings in takers if name not in unread(settings)]
        if not takers or (value and not readers):
            reasons: dict[str, list[str]] = {}
            for one in methods:
                reasons.setdefault(why_left(one, shared, name).rstrip("."), []).append(one.algorithm)
            lacking = reasons.pop(NO_OPTION_OF_IT, [])
            if not reasons:
                having = [method for method in METHODS if configure(method).has(name)]
                cure = (
                    f" Add one of {', '.join(having)} to --algorithms, or leave it out." if having else " Leave it out."
                )
                raise UserError(f"{option(name)} is no option of {', '.join(lacking)}.{cure}")
            if len(reasons) == 1 and next(iter(reasons)).startswith(option(name)):
                raise UserError(f"{next(iter(reasons))}.")
            told = "; ".join(f"{', '.join(those)}: {reason}" for reason, those in reasons.items())
            raise UserError(f"{option(name)} is {in_short(value)}, and nothing would read it. Of {told}.")
        if len(readers) < len(methods):
            lines.append(f"{option(name)} is for {', '.join(readers) or 'none of them'}.")
    print("".join(f"{line}\n" for line in lines), end="", flush=True)


def names_runs(arguments: Sequence[str]) -> bool:
    """Whether a command names runs or policies, and not a task family: several, or one that is or looks like a path."""
    words = positional_words(arguments, Options, RunsOptions)
    return len(words) > 1 or any(os.path.exists(word) or "/" in word or word.endswith(".safetensors") for word in words)


def main() -> None:
    """Parse, compare, print."""
    if names_runs(sys.argv[1:]):
        compare_runs(options_of(RunsOptions, __doc__))
        return
    words, shared = shared_options(sys.argv[1:], Options, SAID_OTHERWISE)
    options = options_of(Options, __doc__, words)
    if options.env_id and supervised_name(options.env_id):
        if shared:
            given = ", ".join(map(option, shared))
            raise UserError(f"{given}: a comparison on supervised tasks takes no option of a training. Leave it out.")
        compare_supervised(options, options.env_id)
        return
    settings_of = options.sharing(shared)
    settings = settings_of(DEFAULT_METHOD)
    run = settings.run

    from rlmaml.results.compare import compare, comparison_table, fractions_recovered
    from rlmaml.results.costs import cost_table
    from rlmaml.storage.run_directory import ComparisonDirectory

    directory = ComparisonDirectory(options.output or Path("runs") / f"compare-{run.env_id}-{run.variant}")
    if options.lived:
        compare_by_episodes(options, settings_of, directory)
        return
    if options.source is not None:
        compare_transfer(options, options.source, settings_of)
        return
    comparison = compare(
        settings,
        {name: settings_of(name) for name in options.algorithms},
        options.seeds,
        partial(environment_maker, family=options.family),
        directory,
        episode_drawing(run.env_id, run.variant, options.family),
        beyond=has_tasks_beyond(settings),
        processes=options.processes,
        overwrite=options.overwrite,
        search=options.search if options.search.search else None,
        actions=options.actions,
        tell=lambda text: print(text, flush=True),
    )
    for place, methods in comparison.results.items():
        tasks, episodes = counted(options.tasks, "held-out task"), counted(options.episodes, "episode")
        print(f"\n{tasks} {place}, {episodes} each, of {comparison.actions} actions:\n")
        print(comparison_table(methods, comparison.searched))
        recovered = {
            m: share for m, share in fractions_recovered(methods, comparison.searched).items() if m != "oracle"
        }
        if recovered:
            shares = ", ".join(f"{method} {100 * share:.0f} %" for method, share in recovered.items())
            print(f"Of what knowing the task is worth, one step recovers: {shares}.")
    print(f"\n{cost_table(comparison.costs)}")
    print(f"\n{directory.figure}\n{directory.results}")


def compare_by_episodes(options: Options, settings_of: SettingsOf, directory: "ComparisonDirectory") -> None:
    """Compare by episodes lived on a new robot, and print a table for every set of tasks."""
    settings = settings_of(DEFAULT_METHOD)
    from rlmaml.results.by_episodes import compare_lived, lived_table
    from rlmaml.results.costs import cost_table

    comparison = compare_lived(
        settings,
        {name: settings_of(name) for name in options.algorithms},
        options.seeds,
        partial(environment_maker, family=options.family),
        directory,
        lived=options.lived,
        beyond=has_tasks_beyond(settings),
        as_built=unchanged_variant(settings),
        processes=options.processes,
        search=options.search if options.search.search else None,
        tell=lambda text: print(text, flush=True),
    )
    for place, of_actions in comparison.results.items():
        tasks, episodes = counted(options.tasks, "held-out task"), counted(options.episodes, "episode")
        print(f"\n{tasks} {place}, {episodes} each:")
        for actions in of_actions:
            print(f"\n{lived_table(comparison, place, actions)}")
    print(f"\n{cost_table(comparison.costs)}")
    print(f"\n{directory.lived_figure}\n{directory.lived}")


def compare_transfer(options: Options, source: str, settings_of: SettingsOf) -> None:
    """Compare trainings on one variant and on another on the tasks of the latter."""
    settings = settings_of(DEFAULT_METHOD)
    from rlmaml.results.transfer import Side, transfer, transfer_table
    from rlmaml.storage.run_directory import ComparisonDirectory

    run = settings.run
    name = f"transfer-{run.env_id}-{source}-{run.variant}"
    directory = ComparisonDirectory(options.output or Path("runs") / name)
    source_side, target_side = (
        Side(
            {name: settings_of(name, variant) for name in options.algorithms},
            episode_drawing(run.env_id, variant, options.family),
        )
        for variant in (source, run.variant)
    )
    outcome = transfer(
        source_side,
        target_side,
        settings,
        options.seeds,
        partial(environment_maker, family=options.family),
        directory,
        processes=options.processes,
        actions=options.actions,
        tell=lambda text: print(text, flush=True),
    )
    tasks, episodes = counted(options.tasks, "held-out task"), counted(options.episodes, "episode")
    print(f"\n{tasks} of {run.variant}, {episodes} each, of {options.actions} actions:\n\n{transfer_table(outcome)}")
    print(f"\n{directory.transfer_figure}\n{directory.transfer}")


def compare_supervised(options: Options, env_id: str) -> None:
    """Compare trainings on one variant of supervised tasks and on another on the held-out tasks of the latter."""
    if options.source is None or options.target is None:
        raise UserError(
            f"{env_id} are supervised tasks; give --source VARIANT --target VARIANT of them, or directories of runs."
        )
    check_unasked(options, "episodes", "actions", "family", "overwrite")

    from rlmaml.results.supervised_transfer import supervised_transfer
    from rlmaml.results.transfer import transfer_table
    from rlmaml.settings.supervised import SUPERVISED
    from rlmaml.storage.run_directory import ComparisonDirectory

    methods = [name for name in options.algorithms if options.algorithms != PAPERS or name in SUPERVISED]
    run_settings = {"evaluation_steps": options.steps, "evaluation_tasks": options.tasks}
    run_settings |= {} if options.iterations is None else {"iterations": options.iterations}
    posed = posed_variants(env_id, options.machine, run_settings)
    name = f"transfer-{env_id}-{options.source}-{options.target}"
    directory = ComparisonDirectory(options.output or Path("runs") / name)
    outcome = supervised_transfer(
        *(options.source, options.target, posed.make, methods, options.seeds, directory),
        made_by=posed.made_by,
        tell=lambda text: print(text, flush=True),
    )
    tasks = counted(options.tasks, "held-out task")
    print(f"\n{outcome.score} on {tasks} of {options.target}:\n\n{transfer_table(outcome)}")
    print(f"\n{directory.transfer_figure}\n{directory.transfer}")


if __name__ == "__main__":
    run_command(main)
