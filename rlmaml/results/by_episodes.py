"""Methods beside each other by what they cost on a new robot: the return against the episodes lived on it.

Memory, search, inner steps, robust policies and teachers are compared with the same environment steps in training and
on the same held-out tasks. What a change costs a policy is its return on the robot as it was built minus its return on
the changed one before it has lived on it; what it recovers is a share of that.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from matplotlib.figure import Figure

from rlmaml.base.errors import UserError
from rlmaml.base.intervals import FEWEST, finite_or_none
from rlmaml.base.plain_data import DamagedError, is_number, read_json
from rlmaml.core.policy import Policy, TaughtPolicy
from rlmaml.deploy.adaptable import ActionKind
from rlmaml.evaluation.figures import ordinary_figures, write_figure
from rlmaml.evaluation.lived import returns_after_living
from rlmaml.evaluation.table import ZERO_SHOT
from rlmaml.results.compare import Floats, MethodReturns, colour_of
from rlmaml.results.contenders import (
    BEYOND_RANGE,
    IN_RANGE,
    Contender,
    as_plain_search,
    checked_contenders,
    searched_methods,
    worked_on,
)
from rlmaml.results.costs import TrainingCost, costs_as_plain, training_costs
from rlmaml.results.paired import Mean, cells_of
from rlmaml.rules.adaptation_rule import trained_rule
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.rules.search_rule import ContextRange, Search, SearchRule, search_rule
from rlmaml.rules.teacher_rule import TeacherRule
from rlmaml.settings.memory_needed import check_lived_fits
from rlmaml.settings.search import SearchSettings
from rlmaml.settings.whole import Settings, differences, from_plain
from rlmaml.storage.kept_checkpoints import newest_checkpoint
from rlmaml.storage.run_directory import ComparisonDirectory, write_json
from rlmaml.terminal.words import counted, interval_words, markdown_table
from rlmaml.training.begin import policy_in
from rlmaml.training.run import EVALUATION_SEED, MakeEnv, run_settings, train, trained_context_range

LIVED = (0, 1, 2, 5, 10, 20, 50)
"""Episodes lived on a new robot, at which methods are compared."""
AS_BUILT = "on the robot as it was built"
TEACHER = "teacher"
ACTIONS: tuple[ActionKind, ...] = ("sampled", "mean")

Curves: TypeAlias = dict[str, dict[str, dict[str, list[list[float | None]]]]]
"""Set of tasks -> actions -> row of the table -> return per task and number of episodes."""


class Place(NamedTuple):
    """A set of tasks on which policies are compared."""

    name: str
    variant: str
    beyond: bool


class Asked(NamedTuple):
    """What is asked of every contender."""

    lived: tuple[int, ...]
    places: tuple[Place, ...]

    def of(self, contender: Contender) -> dict[str, Any]:
        """As it is written beside a contender's result, with how that searches."""
        asked = {"lived": list(self.lived), "places": [list(place) for place in self.places]}
        return {"asked": asked, "search": as_plain_search(contender.search)}


class LivedComparison(NamedTuple):
    """A finished comparison."""

    lived: tuple[int, ...]
    results: Mapping[str, Mapping[str, Mapping[str, MethodReturns]]]
    """Set of tasks -> actions -> row of the table -> returns, a stage for each number of episodes."""
    costs: Mapping[str, TrainingCost] = {}
    """What a training of each method took."""

    def cost(self, actions: str, row: str, place: str) -> float:
        """What the change costs: the return on the robot as it was built, minus that on the changed one, at once."""
        return float(self._first(actions, row, AS_BUILT) - self._first(actions, row, place))

    def recovered(self, actions: str, row: str, place: str) -> Floats:
        """Share of the cost that is recovered, per number of episodes; NaN where no cost is known.

        That is so where the cost is smaller than the intervals of its two returns together, or too few tasks give none:
        what hardly moves before it has adapted loses nothing by a change.
        """
        nothing = np.full(len(self.lived), np.nan)
        if AS_BUILT not in self.results:
            return nothing
        cost, changed = self.cost(actions, row, place), self.results[place][actions][row]
        first = self.lived.index(0)
        unsure = np.sum([changed.over_tasks[first], self.results[AS_BUILT][actions][row].over_tasks[first]])
        return (changed.mean - changed.mean[first]) / cost if cost > unsure else nothing

    def _first(self, actions: str, row: str, place: str) -> float:
        return float(self.results[place][actions][row].mean[self.lived.index(0)])


def compare_lived(
    settings: Settings,
    methods: Mapping[str, Settings],
    seeds: Sequence[int],
    make_env: Callable[[Settings], MakeEnv],
    directory: ComparisonDirectory,
    *,
    lived: Sequence[int],
    beyond: bool,
    as_built: str | None = None,
    processes: int = 1,
    search: SearchSettings | None = None,
    tell: Callable[[str], object] = print,
) -> LivedComparison:
    """Train what is missing, evaluate what is missing, and write table's data and the figure into the directory.

    Args:
        settings: of the family, for its default method: what says how many environment steps a training samples.
        methods: names that ``--algorithm`` takes -> their settings in the family.
        seeds: of the trainings.
        make_env: makes what makes the environments of some settings.
        directory: of the runs and of the comparison.
        lived: numbers of episodes, 0 among them.
        beyond: also compare beyond the training range.
        as_built: the variant in which nothing has changed; None where there is none.
        processes: runs at once.
        search: how methods with a context adapt instead of by their trained rule, with each number of episodes.
        tell: what is done with a line about what is going on.

    Raises:
        UserError: the numbers are not different whole ones with 0 among them, or need more memory than there is, a
            directory holds a run of other settings, a search is asked for and no method has a context, or see
            :func:`rlmaml.training.run.train`.
    """
    if len(set(lived)) < len(lived) or 0 not in lived or min(lived) < 0 or len(lived) < 2:
        raise UserError(
            f"--lived is {' '.join(map(str, lived)) or 'empty'}; give different numbers of episodes, 0 among them."
        )
    searched = searched_methods(methods, search)
    if search is not None and max(lived) < search.average:
        raise UserError(f"--lived is {max(lived)} at most; an attempt of --search takes {search.average} episodes.")
    variant = settings.run.variant
    places = [Place(IN_RANGE, variant, False)]
    places += [Place(BEYOND_RANGE, variant, True)] if beyond else []
    places += [Place(AS_BUILT, as_built, False)] if as_built else []
    asked = Asked(tuple(sorted(lived)), tuple(places))
    contenders = checked_contenders(settings, methods, seeds, directory, search=search, searched=searched)
    for contender in contenders:
        check_lived_fits(contender.settings, max(lived), searches=contender.search is not None)
    tell(f"{counted(len(contenders), 'run')}, {min(processes, len(contenders))} at once, in {directory.path}")
    found = {(contender.method, contender.seed): stored_curves(contender, asked) for contender in contenders}
    done = 0

    def finished(contender: Contender) -> None:
        nonlocal done
        done += 1
        tell(f"run {done} of {len(contenders)}: {contender.method}, seed {contender.seed}")

    missing = []
    for contender in contenders:
        if found[contender.method, contender.seed] is None:
            missing.append(contender)
        else:
            finished(contender)
    work = partial(measured_curves, asked=asked, make_env=make_env, progress=processes == 1)
    if processes == 1:
        for contender in missing:
            work(contender)
            finished(contender)
    else:
        for contender in worked_on(missing, work, processes):
            finished(contender)
    found |= {(contender.method, contender.seed): stored_curves(contender, asked) for contender in missing}
    results: dict[str, dict[str, dict[str, MethodReturns]]] = {
        place.name: {actions: _rows(found, methods, seeds, place.name, actions) for actions in ACTIONS}
        for place in places
    }
    comparison = LivedComparison(asked.lived, results, training_costs(contenders))
    write_figure(directory.lived_figure, lived_figure(comparison))
    write_json(directory.lived, _as_plain(comparison) | {"config": run_settings(settings) | {"seeds": list(seeds)}})
    return comparison


def _rows(
    found: Mapping[tuple[str, int], Curves | None],
    methods: Mapping[str, Settings],
    seeds: Sequence[int],
    place: str,
    actions: str,
) -> dict[str, MethodReturns]:
    """The rows of the table on one set of tasks, each of all seeds."""
    rows = {}
    for method in methods:
        of_seeds = [curves[place][actions] for seed in seeds if (curves := found[method, seed]) is not None]
        for row in of_seeds[0]:
            rows[row] = MethodReturns(np.array([curves[row] for curves in of_seeds], np.float64))
    return rows


def stored_curves(contender: Contender, asked: Asked) -> Curves | None:
    """What was measured of a contender before, or None where it was not, or of something else.

    Raises:
        DamagedError: the file is not what it should be.
    """
    path = contender.directory.lived
    if not path.exists():
        return None
    stored = read_json(path)
    try:
        made, how = stored["config"], asked.of(contender)
        same = {name: made[name] for name in how} == how
        alike = same and not differences(from_plain(made["settings"]), contender.settings, counted=True)
        curves: Curves = stored["curves"]
        for place, actions in ((place.name, actions) for place in asked.places for actions in ACTIONS) if alike else ():
            if contender.method not in curves[place][actions]:
                raise ValueError(f"{contender.method} is missing")
            for row, per_task in curves[place][actions].items():
                if not all(value is None or is_number(value) for task in per_task for value in task):
                    raise ValueError(f"{row} holds what is no number")
                sizes = contender.settings.run.evaluation_tasks, len(asked.lived)
                if np.array(per_task, np.float64).shape != sizes:
                    raise ValueError(f"{row} has other numbers than one for each of {sizes[0]} tasks and {sizes[1]}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(path, str(error)) from error
    return curves if alike else None


def measured_curves(
    contender: Contender, *, asked: Asked, make_env: Callable[[Settings], MakeEnv], progress: bool = True
) -> None:
    """Train what is missing of a contender, and write its returns by episodes lived into its directory."""
    settings, directory = contender.settings, contender.directory
    if not directory.checkpoint.exists() or newest_checkpoint(directory).iteration < settings.run.iterations:
        train(settings, make_env(settings), directory.path, resume=True, progress=progress)
    trained = newest_checkpoint(directory)._replace(settings=settings)
    limits = trained_context_range(trained, make_env(settings), directory) if contender.search else None
    curves: Curves = {}
    for place in asked.places:
        make = make_env(settings.changed(variant=place.variant))
        policy = policy_in(trained, make(1), place.variant)

        def rule_for(episodes: int) -> InnerRule:
            if contender.search is None or limits is None or not episodes:
                return trained_rule(settings, policy)  # noqa: B023
            return within_budget(contender.search, limits, policy, episodes)  # noqa: B023

        measure = partial(
            returns_after_living,
            make,
            policy,
            meta=trained.meta,
            settings=settings,
            lived=asked.lived,
            num_tasks=settings.run.evaluation_tasks,
            num_episodes=settings.run.evaluation_episodes,
            seed=EVALUATION_SEED,
            beyond=place.beyond,
        )
        for actions in ACTIONS:
            rows = {contender.method: measure(rule_for=rule_for, actions=actions)}
            if isinstance(policy, TaughtPolicy):
                rows[TEACHER] = measure(rule_for=partial(_told, policy), actions=actions)
            plain = {row: [finite_or_none(task) for task in found.double().numpy()] for row, found in rows.items()}
            curves.setdefault(place.name, {})[actions] = plain
    write_json(directory.lived, {"curves": curves, "config": run_settings(settings) | asked.of(contender)})


def within_budget(search: SearchSettings, limits: ContextRange, policy: Policy, episodes: int) -> SearchRule:
    """The search with as many attempts as so many episodes are enough for, which share them all; none for too few."""
    attempts = episodes // search.average
    planned = dataclasses.replace(search, search_episodes=max(1, attempts) * search.average)
    return dataclasses.replace(search_rule(Search(planned, limits), policy), steps=attempts)


def _told(policy: TaughtPolicy, episodes: int) -> InnerRule:  # noqa: ARG001
    """The teacher's episodes alone, however many were lived: who is told the task need not live."""
    return TeacherRule(0, policy.told)


def lived_table(comparison: LivedComparison, place: str, actions: str) -> str:
    """Markdown: mean return of each row after each number of episodes, with its interval, and what is recovered."""
    rows = comparison.results[place][actions]
    seeds, tasks, _ = next(iter(rows.values())).per_task.shape
    recovers = place != AS_BUILT and AS_BUILT in comparison.results
    head = [
        "method",
        *(f"{n} lived" if n else ZERO_SHOT for n in comparison.lived),
        *(["recovered"] if recovers else []),
    ]
    table = []
    for row, returns in rows.items():
        cells = cells_of(Mean(returns.mean, _shown_half(returns)), digits=1)
        if recovers:
            share = comparison.recovered(actions, row, place)[-1]
            cells.append("–" if np.isnan(share) else f"{100 * share:.0f} %")
        table.append([row, *cells])
    over = interval_words(seeds, "seed") if seeds >= FEWEST else interval_words(tasks, "task")
    note = f"\nMeans over {counted(seeds, 'seed')}; {over}. {actions.capitalize()} actions."
    return "\n".join([*markdown_table(head, table), note])


def _shown_half(returns: MethodReturns) -> Floats:
    """Half the interval over seeds, or over tasks where seeds are too few for one."""
    return returns.over_seeds if len(returns.per_task) >= FEWEST else returns.over_tasks


@ordinary_figures()
def lived_figure(comparison: LivedComparison) -> Figure:
    """Return against episodes lived: a column for each set of tasks, a row for sampled and one for mean actions."""
    places = comparison.results
    figure = Figure(figsize=(5.2 * len(places), 4.0 * len(ACTIONS)), layout="constrained")
    panels = figure.subplots(len(ACTIONS), len(places), squeeze=False, sharey="row")
    for line, actions in zip(panels, ACTIONS, strict=True):
        for axes, (place, of_actions) in zip(line, places.items(), strict=True):
            for row, returns in of_actions[actions].items():
                half = _shown_half(returns)
                colour = "#222222" if row == TEACHER else colour_of(row)
                style = "--" if row in (TEACHER, "oracle", "pretrained", "robust", "random") else "o-"
                axes.errorbar(
                    comparison.lived, returns.mean, np.nan_to_num(half), fmt=style, color=colour, capsize=3, label=row
                )
            axes.set_xscale("symlog", linthresh=1)
            axes.set_xticks(comparison.lived, map(str, comparison.lived))
            axes.minorticks_off()
            axes.set(title=f"{place}, {actions} actions", xlabel="episodes lived on the new robot")
            axes.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel("mean return")
    figure.legend(*panels[0][-1].get_legend_handles_labels(), loc="outside lower center", ncols=8, frameon=False)
    return figure


def _as_plain(comparison: LivedComparison) -> dict[str, Any]:
    """Everything in the tables and the figure, as plain data."""
    return {
        "lived": list(comparison.lived),
        "results": {
            place: {
                actions: {
                    row: {
                        "mean": finite_or_none(returns.mean),
                        "ci95_over_seeds": finite_or_none(returns.over_seeds),
                        "ci95_over_tasks": finite_or_none(returns.over_tasks),
                        "recovered": finite_or_none(comparison.recovered(actions, row, place)),
                        "per_task": [[finite_or_none(task) for task in seed] for seed in returns.per_task],
                    }
                    for row, returns in rows.items()
                }
                for actions, rows in of_actions.items()
            }
            for place, of_actions in comparison.results.items()
        },
        "training": costs_as_plain(comparison.costs),
    }
