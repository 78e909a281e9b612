"""Runs of a comparison: what each method is trained with, and trained and evaluated runs, several at once."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from rlmaml.algorithms.registry import make_meta_algorithm
from rlmaml.base.errors import UserError
from rlmaml.deploy.adaptable import ActionKind
from rlmaml.evaluation.figures import DrawEpisodes
from rlmaml.rules.search_rule import Search
from rlmaml.settings.methods.registry import find_method
from rlmaml.settings.policy import LatentSettings
from rlmaml.settings.search import SearchSettings
from rlmaml.settings.unread import FROM_NOTHING
from rlmaml.settings.whole import Settings, check_resumable, differences, from_plain, of_length
from rlmaml.storage.evaluation_file import read_evaluation
from rlmaml.storage.kept_checkpoints import newest_checkpoint
from rlmaml.storage.run_directory import ComparisonDirectory, RunDirectory, write_json
from rlmaml.terminal.processes import in_processes
from rlmaml.terminal.words import counted
from rlmaml.training.fine_tuning import fine_tuned, fine_tuning
from rlmaml.training.run import (
    EVALUATION_SEED,
    MakeEnv,
    configured_evaluation,
    run_settings,
    train,
    trained_context_range,
    validation_return,
)

IN_RANGE, BEYOND_RANGE = "in the training range", "beyond the training range"

WITH_FAILED = "per_task_with_failed"
"""Where a report has what is compared: a failed simulation counts as the worst return seen."""

Reports: TypeAlias = dict[str, dict[str, Any]]
"""Set of tasks -> a run's evaluation on it, as JSON."""


class Contender(NamedTuple):
    """One method with one seed, in a directory of its own."""

    settings: Settings
    directory: RunDirectory
    search: SearchSettings | None = None
    """How it adapts in its evaluations; None for the trained rule."""
    actions: ActionKind = "sampled"
    """With which it is judged."""

    @property
    def method(self) -> str:
        """Its name."""
        return self.settings.algorithm

    @property
    def seed(self) -> int:
        """Of its training."""
        return self.settings.run.seed


def contender_settings(settings: Settings, own: Settings, seed: int) -> Settings:
    """Settings of a method with as many environment steps in training as the family's default method has.

    The random policy and the oracle start from nothing, whatever ``start_from`` says: the oracle's network is another.

    Args:
        settings: of the family, for its default method.
        own: of the family, for the method.
        seed: of the training.
    """
    own = own.changed(seed=seed)
    if own.algorithm in FROM_NOTHING:
        own = own.changed(start_from="")
    if "iterations" in find_method(own.algorithm).stands_for:
        return own
    steps = settings.run.iterations * sampled_episodes(settings)
    return of_length(own, max(1, round(steps / sampled_episodes(own))))


def sampled_episodes(settings: Settings) -> int:
    """Episodes that a meta-iteration samples, of all tasks and stages."""
    stages: int = settings.inner.inner_steps + make_meta_algorithm(settings).reads_last_stage
    return settings.run.num_tasks * settings.run.num_episodes * stages


def asked_of(settings: Settings, **asked: Any) -> Settings:
    """A method's settings with what is asked of all methods, but for what is the method's own.

    What a method stands for or begins from is: an oracle is evaluated without steps, a random policy is not trained.
    Where ``iterations`` are asked for, its schedules go with them.
    """
    method = find_method(settings.algorithm)
    own = {**method.stands_for, **method.defaults}
    left = {name: value for name, value in asked.items() if name not in own}
    length = left.pop("iterations", settings.run.iterations)
    return of_length(settings, length).changed(**left)


def searched_methods(methods: Mapping[str, Settings], search: SearchSettings | None) -> dict[str, str]:
    """Methods that a search is for, those with a context, and the search in words.

    Raises:
        UserError: there is a search, and no such method.
    """
    if search is None:
        return {}
    found = [name for name, own in methods.items() if is_searched(own)]
    if not found:
        raise UserError(
            f"--search tries contexts, and none of {', '.join(methods)} has one; add --algorithms cavia or rma."
        )
    average = f", {search.average} per attempt" if search.average > 1 else ""
    return dict.fromkeys(found, f"{search.search}, {counted(search.attempts * search.average, 'episode')}{average}")


def is_searched(settings: Settings) -> bool:
    """Whether the policy has something to search in: a context, or a latent that a student guesses."""
    return isinstance(settings.network, LatentSettings) or getattr(settings.network, "context", 0) > 0


def checked_contenders(
    settings: Settings,
    methods: Mapping[str, Settings],
    seeds: Sequence[int],
    directory: ComparisonDirectory,
    *,
    search: SearchSettings | None,
    searched: Container[str],
    actions: ActionKind = "sampled",
) -> list[Contender]:
    """Every method with every seed, seed by seed.

    Args:
        settings: of the family, for its default method.
        methods: names -> their settings in the family.
        seeds: of the trainings.
        directory: of the comparison.
        search: how some adapt.
        searched: their names.
        actions: with which they are judged.

    Raises:
        UserError: see :func:`check_contenders`.
    """
    contenders = [
        Contender(
            contender_settings(settings, own, seed),
            directory.run(name, seed),
            search if name in searched else None,
            actions,
        )
        for seed in seeds
        for name, own in methods.items()
    ]
    check_contenders(contenders)
    return contenders


def check_contenders(contenders: Iterable[Contender]) -> None:
    """Refuse contenders whose runs are there with other settings, before any is trained.

    Raises:
        UserError: names the method, the seed, and every setting that differs, with both values.
    """
    for contender in contenders:
        if not contender.directory.checkpoint.exists():
            continue
        if differing := differences(newest_checkpoint(contender.directory).settings, contender.settings):
            raise UserError(
                f"{contender.directory.path} holds a run of {contender.method}, seed {contender.seed}, with another "
                f"configuration: {'; '.join(differing)}. Choose another --output, or delete that run."
            )


def evaluated(
    contenders: Sequence[Contender],
    places: Sequence[str],
    make_env: Callable[[Settings], MakeEnv],
    draw: DrawEpisodes,
    *,
    processes: int = 1,
) -> Iterator[tuple[Contender, Reports]]:
    """Every contender as it is finished, with its evaluations; what is missing of its training is done first.

    Args:
        contenders: what is wanted.
        places: sets of tasks.
        make_env: makes what makes the environments of some settings; with several processes it can be pickled.
        draw: draws episodes of one task; likewise.
        processes: contenders at once. With several each has a process and one thread, and shows no progress of its own.
            Where one fails, or the user interrupts, the others keep a checkpoint and end.

    Raises:
        UserError: see :func:`evaluated_run`; or a process failed, which has said why.
    """
    work = partial(evaluated_places, places=places, make_env=make_env, draw=draw)
    if processes == 1:
        for contender in contenders:
            yield contender, work(contender)
        return
    missing = []
    for contender in contenders:
        found = {
            place: stored_report(
                contender.settings,
                contender.directory,
                beyond=place == BEYOND_RANGE,
                search=contender.search,
                actions=contender.actions,
            )
            for place in places
        }
        reports = {place: report for place, report in found.items() if report}
        if len(reports) == len(places):
            yield contender, reports
        else:
            missing.append(contender)
    for contender in worked_on(missing, partial(work, progress=False), processes):
        yield contender, work(contender)


def worked_on(
    contenders: Sequence[Contender], work: Callable[[Contender], object], processes: int
) -> Iterator[Contender]:
    """Every contender as soon as a process of its own, with one thread, has done the work on it.

    Raises:
        UserError: see :func:`rlmaml.terminal.processes.in_processes`.
    """
    alone = partial(on_one_thread, work=work)
    return in_processes(contenders, alone, processes, lambda one: f"{one.method}, seed {one.seed}")


def on_one_thread(contender: Contender, *, work: Callable[[Contender], object]) -> None:
    """Do the work on a contender as one of several processes does it."""
    work(contender._replace(settings=contender.settings.changed(threads=1, rollout_threads=1)))


def evaluated_places(
    contender: Contender,
    *,
    places: Sequence[str],
    make_env: Callable[[Settings], MakeEnv],
    draw: DrawEpisodes,
    progress: bool = True,
) -> Reports:
    """:func:`evaluated_run` on every set of tasks."""
    settings = contender.settings
    return {
        place: evaluated_run(
            settings,
            make_env(settings),
            contender.directory,
            draw,
            beyond=place == BEYOND_RANGE,
            search=contender.search,
            actions=contender.actions,
            progress=progress,
        )
        for place in places
    }


def report_file(
    settings: Settings,
    directory: RunDirectory,
    *,
    beyond: bool,
    search: SearchSettings | None = None,
    actions: ActionKind = "sampled",
) -> Path:
    """Where a run's evaluation is: of sampled actions the one that ended the training, where that will do."""
    if search:
        found = directory.searched_beyond if beyond else directory.searched
    else:
        found = directory.beyond if beyond else directory.fine_tuned if fine_tuning(settings) else directory.evaluation
    return found if actions == "sampled" else directory.of_mean_actions(found)


def stored_report(
    settings: Settings,
    directory: RunDirectory,
    *,
    beyond: bool,
    search: SearchSettings | None = None,
    actions: ActionKind = "sampled",
) -> dict[str, Any] | None:
    """The evaluation in a run's directory, or None where there is none of these settings.

    Raises:
        UserError: the directory holds a run of other settings.
    """
    path = report_file(settings, directory, beyond=beyond, search=search, actions=actions)
    tuning = fine_tuning(settings)
    if not path.exists():
        return None
    report = read_evaluation(path)
    made = report["config"]
    stored = from_plain(made["settings"])
    if tuning:
        stored = stored.changed(inner_step_sizes=settings.inner.inner_step_sizes)
    check_resumable(stored, settings)
    how = tuple(made.get(name) for name in ("fine_tuning", "trust_region", "search"))
    alike = how == (tuning, None, as_plain_search(search)) and made.get("beyond", False) == beyond
    alike = alike and made.get("actions", "sampled") == actions
    return report if alike and WITH_FAILED in report and not differences(stored, settings, counted=True) else None


def evaluated_run(
    settings: Settings,
    make_env: MakeEnv,
    directory: RunDirectory,
    draw: DrawEpisodes,
    *,
    beyond: bool,
    search: SearchSettings | None = None,
    actions: ActionKind = "sampled",
    progress: bool = True,
) -> dict[str, Any]:
    """A run's evaluation as JSON: the one in its directory if it is of these settings, or else a new one.

    What is missing of the training is done first.

    Raises:
        UserError: the directory holds a run of other settings, or see :func:`rlmaml.training.run.train`.
    """
    if report := stored_report(settings, directory, beyond=beyond, search=search, actions=actions):
        return report
    tuning = fine_tuning(settings)
    path = report_file(settings, directory, beyond=beyond, search=search, actions=actions)
    if not beyond:
        train(settings, make_env, directory.path, resume=True, draw=draw, progress=progress)
    if beyond or tuning or search or actions == "mean":
        trained = newest_checkpoint(directory)._replace(settings=settings)
        if tuning and beyond:
            chosen = from_plain(
                read_evaluation(report_file(settings, directory, beyond=False, actions=actions))["config"]["settings"]
            )
            trained = trained._replace(settings=settings.changed(inner_step_sizes=chosen.inner.inner_step_sizes))
        elif tuning:
            trained = fine_tuned(trained, partial(validation_return, make_env=make_env), progress=progress)
        within = Search(search, trained_context_range(trained, make_env, directory)) if search else None
        evaluation = configured_evaluation(
            trained, make_env, EVALUATION_SEED, beyond=beyond, search=within, actions=actions
        )
        how = {"beyond": beyond, "fine_tuning": tuning, "search": as_plain_search(search), "actions": actions}
        write_json(path, evaluation.as_json(run_settings(trained.settings) | how))
    return read_evaluation(path)


def as_plain_search(search: SearchSettings | None) -> dict[str, Any] | None:
    """How a search is written beside a result; None for none."""
    return None if search is None else search.as_plain()
