"""What a training on one variant of a family brings on another: beside a training there alone, with the same data."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from rlmaml.base.errors import UserError
from rlmaml.deploy.adaptable import ActionKind
from rlmaml.evaluation.figures import DrawEpisodes, ordinary_figures, whole_ticks, write_figure
from rlmaml.evaluation.table import step_titles
from rlmaml.policies.sizes import Sizes
from rlmaml.results.compare import MethodReturns, colour_of, gather, in_words, over_stages
from rlmaml.results.contenders import (
    IN_RANGE,
    WITH_FAILED,
    Contender,
    checked_contenders,
    evaluated,
)
from rlmaml.results.paired import Mean, cells_of, mean_over_tasks, paired_difference
from rlmaml.settings.whole import Settings, differences, from_plain
from rlmaml.storage.evaluation_file import read_evaluation
from rlmaml.storage.kept_checkpoints import newest_checkpoint
from rlmaml.storage.run_directory import ComparisonDirectory, write_json
from rlmaml.storage.scores_file import BETTER, RETURN
from rlmaml.terminal.words import interval_words, markdown_table
from rlmaml.training.begin import sizes_in
from rlmaml.training.fine_tuning import fine_tuned, fine_tuning
from rlmaml.training.run import EVALUATION_SEED, MakeEnv, configured_evaluation, run_settings, validation_return


class Side(NamedTuple):
    """One variant: every method's settings in it, and how its episodes are drawn."""

    methods: Mapping[str, Settings]
    draw: DrawEpisodes

    @property
    def variant(self) -> str:
        """Its name."""
        return next(iter(self.methods.values())).run.variant


class Transfer(NamedTuple):
    """A finished comparison: returns on the target's tasks."""

    source: str
    target: str
    from_source: Mapping[str, MethodReturns]
    """Of methods trained on the source."""
    alone: Mapping[str, MethodReturns]
    """Of methods trained on the target."""
    actions: ActionKind = "sampled"
    score: str = RETURN
    """What they reach: returns, or a score of supervised tasks."""

    def brought(self, method: str) -> Mean:
        """What the source brings after each step: paired differences on the target's tasks, means over seeds.

        Of scores of which lower ones are better, it is how much lower they are.
        """
        alone, from_source = (side[method].per_task.mean(0) for side in (self.alone, self.from_source))
        return paired_difference(*((from_source, alone) if BETTER.get(self.score) == "lower" else (alone, from_source)))

    @property
    def digits(self) -> int:
        """Of what they reach, after the point."""
        return 2 if self.score == RETURN else 4


def transfer(
    source: Side,
    target: Side,
    budget: Settings,
    seeds: Sequence[int],
    make_env: Callable[[Settings], MakeEnv],
    directory: ComparisonDirectory,
    *,
    processes: int = 1,
    actions: ActionKind = "sampled",
    tell: Callable[[str], object] = print,
) -> Transfer:
    """Train on both variants what is missing, adapt all to the target's tasks, and write results and figure.

    Args:
        source: what is trained on first.
        target: what all are adapted to.
        budget: settings of the default method on the target, which say how many environment steps a training samples.
        seeds: of the trainings.
        make_env: makes what makes the environments of some settings.
        directory: of the results; each variant's runs are in a directory of its name.
        processes: runs at once.
        actions: with which policies are judged.
        tell: what is done with a line about what is going on.

    Raises:
        UserError: both are the same variant, a method's policy does not fit both, a run that is there has other
            settings, or see :func:`rlmaml.training.run.train`.
    """
    check_alike(source, target, make_env)
    found: dict[str, dict[tuple[str, int], dict[str, Any]]] = {}
    contenders = {
        side.variant: checked_contenders(
            budget,
            side.methods,
            seeds,
            ComparisonDirectory(directory.path / side.variant),
            search=None,
            searched=(),
            actions=actions,
        )
        for side in (source, target)
    }
    total, done = sum(map(len, contenders.values())), 0
    for side in (source, target):
        found[side.variant] = {}
        for contender, reports in evaluated(
            contenders[side.variant], [IN_RANGE], make_env, side.draw, processes=processes
        ):
            done += 1
            tell(f"run {done} of {total}: {in_words(contender, reports)}, on {side.variant}")
            report = reports[IN_RANGE]
            if side is source:
                report = transferred(contender, target.methods[contender.method], make_env)
            found[side.variant][contender.method, contender.seed] = report
    from_source, alone = (
        {method: gather(found[side.variant][method, seed] for seed in seeds) for method in side.methods}
        for side in (source, target)
    )
    outcome = Transfer(source.variant, target.variant, from_source, alone, actions)
    write_figure(directory.transfer_figure, transfer_figure(outcome))
    write_json(directory.transfer, plain_transfer(outcome, run_settings(budget) | {"seeds": list(seeds)}))
    return outcome


def check_alike(source: Side, target: Side, make_env: Callable[[Settings], MakeEnv]) -> None:
    """Refuse variants between which no policy can go, before anything is trained.

    Raises:
        UserError: they are the same, or their observations, actions or task parameters have other sizes.
    """
    check_two_variants(source.variant, target.variant)
    for method, settings in source.methods.items():
        other = target.methods[method]
        ours, theirs = (sizes_in(make_env(one)(1), one) for one in (settings, other))
        check_same_sizes(method, source.variant, target.variant, ours, theirs)


def check_two_variants(source: str, target: str) -> None:
    """Refuse a single variant.

    Raises:
        UserError: names it.
    """
    if source == target:
        raise UserError(f"--source and --target are both {source}; give two variants, or two ranges of one.")


def check_same_sizes(method: str, source: str, target: str, ours: Sizes, theirs: Sizes) -> None:
    """Refuse variants between which no policy can go.

    Raises:
        UserError: names both sizes.
    """
    if ours != theirs:
        raise UserError(
            f"A policy of {method} trained on {source} does not fit {target}: {ours} against {theirs}. Give variants "
            "that observe and act alike."
        )


def transferred(contender: Contender, target: Settings, make_env: Callable[[Settings], MakeEnv]) -> dict[str, Any]:
    """The evaluation on the target's tasks of a run that was trained on the source, as JSON, kept beside the run.

    A policy that was not meta-trained has the step sizes with which it ends highest on the target's validation tasks.
    """
    run = target.run
    there = contender.settings.changed(variant=run.variant, horizon=run.horizon)
    path, tuning = contender.directory.on_variant(run.variant), fine_tuning(there)
    trained = newest_checkpoint(contender.directory)
    how = {"trained_on": contender.settings.run.variant, "fine_tuning": tuning, "actions": contender.actions}
    if path.exists():
        report = read_evaluation(path)
        stored = from_plain(report["config"]["settings"])
        if tuning:
            stored = stored.changed(inner_step_sizes=there.inner.inner_step_sizes)
        alike = all(report["config"].get(name) == value for name, value in how.items())
        if alike and not differences(stored, there, counted=True):
            return report
    policy = trained._replace(settings=there)
    if tuning:
        policy = fine_tuned(policy, partial(validation_return, make_env=make_env(there)))
    evaluation = configured_evaluation(policy, make_env(there), EVALUATION_SEED, actions=contender.actions)
    write_json(path, evaluation.as_json(run_settings(policy.settings) | how))
    return read_evaluation(path)


def transfer_table(outcome: Transfer) -> str:
    """Markdown: returns on the target's tasks after each step, and what the source brings."""
    stages = max(len(returns.mean) for returns in (*outcome.from_source.values(), *outcome.alone.values()))
    table = []
    for method in outcome.from_source:
        rows = {
            f"{method}, trained on {outcome.source}": mean_over_tasks(outcome.from_source[method].per_task.mean(0)),
            f"{method}, trained on {outcome.target} alone": mean_over_tasks(outcome.alone[method].per_task.mean(0)),
            "what the source brings": outcome.brought(method),
        }
        table += [[name, *cells_of(row, outcome.digits)] for name, row in rows.items()]
    lines = markdown_table([f"on {outcome.target}", *step_titles(range(stages))], table)
    better = f" Of {outcome.score} {BETTER[outcome.score]} ones are better." if outcome.score in BETTER else ""
    _, tasks, _ = next(iter(outcome.alone.values())).per_task.shape
    lines.append(f"\n{interval_words(tasks, 'task')}, of means over seeds; differences are task by task.{better}\n")
    return "\n".join([*lines, *[in_a_sentence(outcome, method) for method in outcome.from_source]])


def in_a_sentence(outcome: Transfer, method: str) -> str:
    """What the source brings in the end, or that it costs, or that neither shows."""
    mean, half = (float(values[-1]) for values in outcome.brought(method))
    if np.isnan(half) or abs(mean) <= half:
        said = "shows neither a gain nor a loss"
    else:
        said = f"{'brings' if mean > 0 else 'costs'} {abs(mean):.{outcome.digits}f} ± {half:.{outcome.digits}f}"
    return f"{method}: to have trained on {outcome.source} instead of {outcome.target} {said} after the last step."


@ordinary_figures()
def transfer_figure(outcome: Transfer) -> Figure:
    """Return on the target's tasks over inner steps: full lines from the source, dashed ones from the target alone."""
    figure = Figure(figsize=(5.8, 4.4), layout="constrained")
    axes = figure.subplots()
    for side, trained_on, style in (
        (outcome.from_source, outcome.source, "o-"),
        (outcome.alone, f"{outcome.target} alone", "s--"),
    ):
        for method, returns in side.items():
            row = mean_over_tasks(returns.per_task.mean(0))
            stages = max(len(row.mean), 2)
            mean, half = (over_stages(values, stages) for values in (row.mean, np.nan_to_num(row.half)))
            label = f"{method}, trained on {trained_on}"
            axes.errorbar(np.arange(stages), mean, half, fmt=style, color=colour_of(method), capsize=3, label=label)
    measured = f"mean return, {outcome.actions} actions" if outcome.score == RETURN else f"mean {outcome.score}"
    axes.set(title=f"adapted to {outcome.target}", xlabel="inner steps", ylabel=measured)
    whole_ticks(axes)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", frameon=False, fontsize=8)
    return figure


def plain_transfer(outcome: Transfer, written: Mapping[str, Any]) -> dict[str, Any]:
    """Everything in the table and the figure, and how it was made, as plain data."""

    def plain(values: Any) -> Any:
        return [plain(value) for value in values] if np.ndim(values) else float(values) if np.isfinite(values) else None

    sides = {outcome.source: outcome.from_source, f"{outcome.target} alone": outcome.alone}
    name = WITH_FAILED if outcome.score == RETURN else outcome.score
    how = {"actions": outcome.actions} if outcome.score == RETURN else {}
    return {
        "config": {**written, "source": outcome.source, "target": outcome.target, **how},
        "results": {
            trained_on: {method: {name: plain(returns.per_task)} for method, returns in side.items()}
            for trained_on, side in sides.items()
        },
        "brought": {
            method: {name: plain(values) for name, values in outcome.brought(method)._asdict().items()}
            for method in outcome.from_source
        },
    }
