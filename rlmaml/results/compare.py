"""Methods beside each other: the same environment steps, the same held-out tasks, several seeds.

Without more ado it is the experiment of the papers (arXiv 1703.03400, section 5.3): a meta-trained policy against a
pretrained one, trained over all tasks and then fine-tuned by as many inner steps, a random one, fine-tuned from
initialisation, and an oracle, which sees the task and need not adapt. All but the random one see the same number of
environment steps in training. The inner step sizes of the fine-tuned policies are those, out of several, with which
they end highest on validation tasks.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from rlmaml.base.errors import UserError
from rlmaml.base.intervals import FEWEST, finite_or_none, half_interval
from rlmaml.base.plain_data import is_number, read_json
from rlmaml.deploy.adaptable import ActionKind
from rlmaml.evaluation.figures import DrawEpisodes, ordinary_figures, write_figure
from rlmaml.evaluation.table import step_titles
from rlmaml.results.contenders import (
    BEYOND_RANGE,
    IN_RANGE,
    WITH_FAILED,
    Contender,
    Reports,
    checked_contenders,
    evaluated,
    searched_methods,
)
from rlmaml.results.costs import TrainingCost, costs_as_plain, training_costs
from rlmaml.results.summary import failed_in_words
from rlmaml.settings.inner import MemorySettings
from rlmaml.settings.methods.registry import METHODS, PAPERS, find_method
from rlmaml.settings.search import SearchSettings
from rlmaml.settings.whole import Settings, differences, from_plain
from rlmaml.storage.run_directory import ComparisonDirectory, write_json
from rlmaml.terminal.words import counted, in_short, markdown_table
from rlmaml.training.fine_tuning import fine_tuning
from rlmaml.training.run import MakeEnv, run_settings

COLOURS = {
    "maml-trpo": "#d1495b",
    "pretrained": "#00798c",
    "robust": "#b5179e",
    "random": "#9aa4b2",
    "oracle": "#2e8b57",
}
OTHER_COLOURS = (
    *("#edae49", "#8f6bc1", "#8d6b48", "#4a7fb5", "#c06a9d"),
    *("#5f7f3f", "#b8602a", "#3f4a8a", "#a3a13b", "#2fa8f5", "#7a5195"),
)

Floats: TypeAlias = npt.NDArray[np.float64]


def colour_of(method: str) -> str:
    """A method's colour, the same in every figure."""
    others = [name for name in METHODS if name not in COLOURS]
    return COLOURS.get(method) or OTHER_COLOURS[others.index(method) % len(OTHER_COLOURS)]


class MethodReturns(NamedTuple):
    """What one method reached: ``per_task[seed, task, stage]``, with one stage for the oracle."""

    per_task: Floats

    @property
    def mean(self) -> Floats:
        """Mean return after each inner step, over tasks and seeds."""
        return np.asarray(self.per_task.mean((0, 1)))

    @property
    def over_seeds(self) -> Floats:
        """Half the 95 % interval over seeds, of each stage; NaN for too few seeds."""
        return half_interval(self.per_task.mean(1))

    @property
    def over_tasks(self) -> Floats:
        """Half the 95 % interval over tasks, of each stage, for the mean over seeds; NaN for too few tasks."""
        return half_interval(self.per_task.mean(0))


class Comparison(NamedTuple):
    """A finished comparison: settings of the family, seeds, and what each method reached on each set of tasks."""

    settings: Settings
    seeds: tuple[int, ...]
    results: Mapping[str, Mapping[str, MethodReturns]]
    searched: Mapping[str, str] = {}
    """Methods that adapt by a search, and by which; a step of theirs is an attempt, after the last is the best."""
    actions: ActionKind = "sampled"
    """With which returns were earned."""
    costs: Mapping[str, TrainingCost] = {}
    """What a training of each method took."""


def compare(
    settings: Settings,
    methods: Mapping[str, Settings],
    seeds: Sequence[int],
    make_env: Callable[[Settings], MakeEnv],
    directory: ComparisonDirectory,
    draw: DrawEpisodes,
    *,
    beyond: bool,
    processes: int = 1,
    overwrite: bool = False,
    search: SearchSettings | None = None,
    actions: ActionKind = "sampled",
    tell: Callable[[str], object] = print,
) -> Comparison:
    """Train and evaluate what is missing, and write table's and figure's data and the figure into the directory.

    Args:
        settings: of the family, for its default method: what says how many environment steps a training samples.
        methods: names that ``--algorithm`` takes -> their settings in the family.
        seeds: of the trainings.
        make_env: makes what makes the environments of some settings.
        directory: of the runs and of the comparison.
        draw: draws episodes of one task.
        beyond: also compare beyond the training range.
        processes: runs at once; with several, ``make_env`` and ``draw`` can be pickled.
        overwrite: replace a comparison of other settings that is there.
        search: how methods with a context adapt instead of by their trained rule; None for that.
        actions: with which policies are judged.
        tell: what is done with a line about what is going on.

    Raises:
        UserError: the directory holds a comparison of other settings, a search is asked for and no method has a
            context, a seed is named twice or none is, or see :func:`rlmaml.training.run.train`.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds is {in_short(tuple(seeds))}; give one or more different numbers not below 0.")
    searched = searched_methods(methods, search)
    if not overwrite:
        check_same(read_comparison(directory), settings, seeds, tuple(methods), searched, actions)
    places = [IN_RANGE, BEYOND_RANGE] if beyond else [IN_RANGE]
    contenders = checked_contenders(
        settings, methods, seeds, directory, search=search, searched=searched, actions=actions
    )
    tell(f"{counted(len(contenders), 'run')}, {min(processes, len(contenders))} at once, in {directory.path}")
    reports: dict[tuple[str, int], Reports] = {}
    for done, (contender, found) in enumerate(
        evaluated(contenders, places, make_env, draw, processes=processes), start=1
    ):
        reports[contender.method, contender.seed] = found
        tell(f"run {done} of {len(contenders)}: {in_words(contender, found)}")
    results = {place: {m: gather(reports[m, seed][place] for seed in seeds) for m in methods} for place in places}
    costs = training_costs(contenders)
    comparison = Comparison(settings.changed(seed=seeds[0]), tuple(seeds), results, searched, actions, costs)
    write_figure(directory.figure, comparison_figure(results, searched, actions))
    write_json(directory.results, as_plain(comparison))
    return comparison


def in_words(contender: Contender, found: Reports) -> str:
    """A finished contender: what it is, with which step sizes it was fine-tuned, and how many simulations failed."""
    parts = [f"{contender.method}, seed {contender.seed}"]
    if fine_tuning(contender.settings):
        sizes = found[IN_RANGE]["config"]["settings"]["inner"]["inner_step_sizes"]
        parts.append(f"fine-tuned with step sizes {in_short(sizes)}")
    if failed := failed_in_words(found.values()):
        parts.append(failed)
    return ", ".join(parts)


def read_comparison(directory: ComparisonDirectory) -> Comparison | None:
    """The comparison in a directory, or None where there is none.

    Raises:
        UserError: it cannot be read.
    """
    path = directory.results
    if not path.exists():
        return None
    try:
        stored = read_json(path)
        config = stored["config"]
        settings, seeds, searched = from_plain(config["settings"]), config["seeds"], config.get("searched", {})
        actions = config.get("actions", "sampled")
        if not seeds or any(type(seed) is not int for seed in seeds):
            raise ValueError("its seeds are no whole numbers")
        if not stored["results"] or not isinstance(searched, dict) or actions not in get_args(ActionKind):
            raise ValueError("it has no results")
        results = {
            place: {method: _stored_returns(data, len(seeds)) for method, data in part["methods"].items()}
            for place, part in stored["results"].items()
        }
        for methods in results.values():
            for method in (*methods, *searched):
                find_method(method)
        costs = {method: TrainingCost(**cost) for method, cost in stored.get("training", {}).items()}
        return Comparison(settings, tuple(seeds), results, searched, actions, costs)
    except (AttributeError, KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(
            f"{path} is damaged, or is not of this version ({error}). Repeat compare.py with --overwrite; runs "
            "are kept."
        ) from error


def _stored_returns(data: Mapping[str, Any], num_seeds: int) -> MethodReturns:
    """What one method reached, as it was written.

    Raises:
        ValueError: it is no number, or null, for every seed, task and stage.
    """
    per_task = data["per_task"]
    numbers = [value for seed in per_task for task in seed for value in task]
    if not all(value is None or is_number(value) for value in numbers):
        raise ValueError("a return is no number")
    found = np.array(per_task, np.float64)
    if found.ndim != 3 or len(found) != num_seeds or not found.size:
        raise ValueError("its returns are not one number for every seed, task and stage")
    return MethodReturns(found)


def check_same(
    stored: Comparison | None,
    settings: Settings,
    seeds: Sequence[int],
    methods: Sequence[str] = PAPERS,
    searched: Mapping[str, str] = {},
    actions: ActionKind = "sampled",
) -> None:
    """Refuse to replace a comparison by one of other settings, or without some of its methods.

    Raises:
        UserError: names every setting that differs, with both values.
    """
    if stored is None:
        return
    same_seed = settings.changed(seed=stored.settings.run.seed)
    differing = differences(stored.settings, same_seed, counted=True)
    if stored.seeds != tuple(seeds):
        differing.append(f"--seeds was {in_short(stored.seeds)} and is now {in_short(tuple(seeds))}")
    there = tuple(next(iter(stored.results.values()), {}))
    if not set(there) <= set(methods):
        differing.append(f"--algorithms was {' '.join(there)} and is now {' '.join(methods)}")
    for name in there:
        before, now = (of.get(name, "none") for of in (stored.searched, searched))
        if before != now:
            differing.append(f"--search of {name} was {before} and is now {now}")
    if stored.actions != actions:
        differing.append(f"--actions was {stored.actions} and is now {actions}")
    if differing:
        raise UserError(
            f"The comparison there has other settings: {'; '.join(differing)}. Choose another --output; --overwrite "
            "replaces it where only the evaluation, the seeds or the methods differ."
        )


def comparison_around(run_dirs: Iterable[Path], settings: Settings) -> Comparison | None:
    """The comparison of the same problem in the directory that holds the runs, or None where there is none.

    Raises:
        UserError: there are several, or one cannot be read.
    """
    folders = {run_dir.resolve().parent for run_dir in run_dirs}
    stored = [comparison for comparison in map(read_comparison, map(ComparisonDirectory, folders)) if comparison]
    found = [comparison for comparison in stored if problem(comparison.settings) == problem(settings)]
    if len(found) > 1:
        raise UserError("The runs are of several comparisons; report on one at a time.")
    return found[0] if found else None


def gather(reports: Iterable[Mapping[str, Any]]) -> MethodReturns:
    """The returns of several seeds, from their evaluations as JSON; a failed simulation has the worst return seen."""
    return MethodReturns(np.array([report[WITH_FAILED] for report in reports], np.float64))


def fraction_recovered(results: Mapping[str, MethodReturns], method: str) -> float:
    """``(method after 1 step − random before) / (oracle − random before)``: of what knowing the task is worth."""
    start, best, reached = results["random"].mean[0], results["oracle"].mean[0], results[method].mean
    return float((reached[min(1, len(reached) - 1)] - start) / (best - start))


def fractions_recovered(results: Mapping[str, MethodReturns], searched: Container[str] = ()) -> dict[str, float]:
    """:func:`fraction_recovered` of every method but those that search, of which a step is a single attempt.

    Empty without a random policy and an oracle to measure by.
    """
    if not {"random", "oracle"} <= results.keys():
        return {}
    return {method: fraction_recovered(results, method) for method in results if method not in searched}


def comparison_table(results: Mapping[str, MethodReturns], searched: Mapping[str, str] = {}) -> str:
    """Markdown: mean return of each method after each inner step, with intervals over seeds and over tasks.

    A search has a column for where it starts, and the last one, for the best that it measured; what it tried is in the
    comparison's data and figure.
    """
    results = {name: _ends(found) if name in searched else found for name, found in results.items()}
    stages = max(len(returns.mean) for returns in results.values())
    seeds, tasks, _ = next(iter(results.values())).per_task.shape
    rows = []
    for method, returns in results.items():
        triples = zip(returns.mean, returns.over_seeds, returns.over_tasks, strict=True)
        cells = [f"{_number(mean)} ({_plus_minus(seed)}, {_plus_minus(task)})" for mean, seed, task in triples]
        if method in searched:
            cells[1:1] = [""] * (stages - len(cells))
        label = f"{method} ({searched[method]})" if method in searched else method
        rows.append([label, *cells])
    lines = markdown_table(["method", *step_titles(range(stages))], rows)
    if searched:
        lines.append("\nA search has its first and its last return: at the context 0, and at the best it measured.")
    if lives := [name for name in results if issubclass(find_method(name).inner, MemorySettings)]:
        lines.append(f"\nOf {' and '.join(lives)} a column is after so many episodes lived, and not after steps.")
    over = f"over {counted(seeds, 'seed')}, and over {counted(tasks, 'task')}"
    few = f"; a dash for fewer than {FEWEST}" if min(seeds, tasks) < FEWEST else ""
    lines.append(f"\nIn brackets: 95 % intervals {over}{few}.")
    return "\n".join(lines)


@ordinary_figures()
def comparison_figure(
    results: Mapping[str, Mapping[str, MethodReturns]],
    searched: Mapping[str, str] = {},
    actions: ActionKind = "sampled",
) -> Figure:
    """Return over inner steps, a panel for each set of tasks: bars are intervals over seeds, bands over tasks."""
    figure = Figure(figsize=(5.4 * len(results), 4.2), layout="constrained")
    for axes, (place, methods) in zip(figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True):
        stages = max(len(returns.mean) for returns in methods.values())
        for method, returns in methods.items():
            mean, bars, band = (
                over_stages(values, stages) for values in (returns.mean, returns.over_seeds, returns.over_tasks)
            )
            steps, colour = np.arange(len(mean)), colour_of(method)
            axes.fill_between(steps, mean - band, mean + band, color=colour, alpha=0.12, linewidth=0)
            label = f"{method} ({searched[method]})" if method in searched else method
            style = "--" if method == "oracle" else "o-"
            axes.errorbar(steps, mean, np.nan_to_num(bars), fmt=style, color=colour, capsize=3, label=label)
        axes.set(title=place, xlabel="inner steps", ylabel=f"mean return, {actions} actions")
        axes.set_xticks(range(0, stages, 1 + stages // 15))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return figure


def as_plain(comparison: Comparison) -> dict[str, Any]:
    """Everything in the table and the figure, and how it was made, as plain data."""
    written = run_settings(comparison.settings) | {
        "seeds": list(comparison.seeds),
        "searched": dict(comparison.searched),
        "actions": comparison.actions,
    }
    results = {
        place: {
            "methods": {
                method: {
                    "mean": finite_or_none(returns.mean),
                    "ci95_over_seeds": finite_or_none(returns.over_seeds),
                    "ci95_over_tasks": finite_or_none(returns.over_tasks),
                    "per_task": [[finite_or_none(task) for task in seed] for seed in returns.per_task],
                }
                for method, returns in methods.items()
            },
            "fraction_recovered": {
                method: finite_or_none(np.array([share]))[0]
                for method, share in fractions_recovered(methods, comparison.searched).items()
            },
        }
        for place, methods in comparison.results.items()
    }
    return {"config": written, "results": results, "training": costs_as_plain(comparison.costs)}


def problem(settings: Settings) -> tuple[str, str, int | None]:
    """What makes runs comparable: family, variant and horizon."""
    return settings.run.env_id, settings.run.variant, settings.run.horizon


def over_stages(values: Floats, stages: int) -> Floats:
    """One value per stage: a single one, as of an oracle, serves all of them."""
    return np.broadcast_to(values, (stages,)) if len(values) == 1 else values


def _ends(returns: MethodReturns) -> MethodReturns:
    """The first and the last stage alone."""
    return MethodReturns(returns.per_task[:, :, [0, -1]])


def _plus_minus(half: float) -> str:
    return "–" if np.isnan(half) else f"± {half:.2f}"


def _number(value: float) -> str:
    """A number, or a dash where all simulations failed."""
    return "–" if np.isnan(value) else f"{value:.2f}"
