"""A report of one or several runs as a single HTML page, with every picture inside."""

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlmaml.base.errors import UserError
from rlmaml.core.types import Tasks, at_most, first_tasks
from rlmaml.deploy.adaptable import ActionKind, as_policy
from rlmaml.evaluation.effects import Effects, adaptation_effects
from rlmaml.evaluation.evaluate import Evaluation
from rlmaml.evaluation.figures import ordinary_figures, whole_ticks
from rlmaml.evaluation.table import step_titles
from rlmaml.evaluation.video import MakeScene, as_video, film_progress
from rlmaml.results.compare import Comparison, MethodReturns, colour_of, over_stages
from rlmaml.results.compression import JudgedOn, SmallRow, read_table, small_page
from rlmaml.results.contenders import IN_RANGE
from rlmaml.results.page_parts import (
    COLOURS,
    INK,
    PAGE,
    STYLE,
    as_label,
    as_picture,
    as_svg,
    as_table,
    differences_table,
    differing_table,
    folded_configuration,
    page_axes,
    place_legend,
)
from rlmaml.results.paired import Reached, check_one_problem, check_same_tasks
from rlmaml.rules.adaptation_rule import adaptation_rule
from rlmaml.settings.inner import MemorySettings
from rlmaml.settings.methods.registry import find_method
from rlmaml.settings.stages import stage_unit, stage_words
from rlmaml.settings.trust_region import INNER_KL, KL_SCALE
from rlmaml.settings.whole import Settings
from rlmaml.storage.checkpoint import Checkpoint
from rlmaml.storage.kept_checkpoints import policy_checkpoint
from rlmaml.storage.run_directory import RunDirectory, check_different
from rlmaml.terminal.words import counted, interval_words
from rlmaml.training.final_evaluation import evaluated_once
from rlmaml.training.run import EVALUATION_SEED, MakeEnv, evaluate_run, run_settings

TASKS_OF_EFFECTS, EPISODES_OF_EFFECTS = 5, 10
"""The first tasks, and of each the first episodes, on which is measured what adaptation changed."""
MARKERS = ("x", "+", "1", "2", "3", "4")
"""Of published returns."""


class ReportedRun(NamedTuple):
    """Everything that is shown of one run."""

    name: str
    settings: Settings
    written: Mapping[str, Any]
    """Settings, commit, versions, machine, as plain data."""
    metrics: Sequence[Mapping[str, Any]]
    """One entry per meta-iteration."""
    evaluation: Evaluation
    num_episodes: int
    """Of each task and stage in the evaluation."""
    effects: Effects | None
    """None where the evaluation has no inner step."""
    task_units: Mapping[str, str] = {}
    """Of the tasks' parameters."""
    task_elements: Mapping[str, Sequence[Sequence[str]]] = {}
    """What the elements of these parameters are called, along every axis, where they have names."""
    actions: ActionKind = "sampled"
    """With which it was evaluated."""
    picture: bytes | None = None
    """A PNG."""
    video: bytes | None = None
    """An MP4."""
    compression: tuple[Sequence[SmallRow], JudgedOn] | None = None
    """What it gained and lost by being made smaller, where it was."""


class EvaluationSizes(NamedTuple):
    """On what the runs are evaluated."""

    num_tasks: int
    num_episodes: int | None
    """None for as many as in the evaluation that ended each training."""
    steps: int
    seed: int
    actions: ActionKind = "sampled"


def read_runs(run_dirs: Sequence[Path]) -> list[Checkpoint]:
    """The checkpoints of runs, or of other policies, of one problem.

    Raises:
        UserError: one cannot be read or is named twice, or they are of different families or variants.
    """
    check_different(run_dirs)
    checkpoints = [policy_checkpoint(run_dir) for run_dir in run_dirs]
    check_one_problem({str(path): one.settings for path, one in zip(run_dirs, checkpoints, strict=True)})
    return checkpoints


def reported(
    directory: RunDirectory,
    checkpoint: Checkpoint,
    make_env: MakeEnv,
    make_scene: MakeScene,
    sizes: EvaluationSizes,
    tell: Callable[[str], object] = print,
) -> ReportedRun:
    """Everything that is shown of one run: its evaluation, which may be the one that ended its training, and pictures.

    Args:
        directory: of the run, or of the policy as :func:`rlmaml.storage.run_directory.beside` says.
        checkpoint: its checkpoint, with devices and threads as they are to be used.
        make_env: makes the environment.
        make_scene: makes an environment to be filmed.
        sizes: on what it is evaluated.
        tell: what is done with a line about what could not be had.
    """
    settings = checkpoint.settings
    steps = 0 if settings.run.observe_task else sizes.steps
    num_episodes = sizes.num_episodes or settings.run.evaluation_episodes
    how: dict[str, Any] = {"steps": steps, "num_episodes": num_episodes, "seed": sizes.seed, "actions": sizes.actions}
    env = make_env(1)
    evaluation = evaluated_once(directory, checkpoint, make_env, num_tasks=sizes.num_tasks, **how)
    written = run_settings(settings) | {"iterations_done": checkpoint.iteration, "evaluation_seed": sizes.seed}
    written |= {"steps_taken": checkpoint.steps_taken} if checkpoint.steps_taken else {}
    return ReportedRun(
        name=as_label(directory.name),
        settings=settings,
        written=written,
        metrics=directory.read_metrics() if directory.metrics.exists() or not checkpoint.steps_taken else (),
        evaluation=evaluation,
        num_episodes=num_episodes,
        effects=effects_of(evaluation, checkpoint, make_env, how) if steps else None,
        task_units=getattr(env, "task_units", {}),
        task_elements=getattr(env, "task_elements", {}),
        actions=sizes.actions,
        picture=directory.figure.read_bytes() if directory.figure.exists() else None,
        video=video_of(directory, checkpoint, make_env, make_scene, evaluation.tasks, sizes.seed, tell),
        compression=read_table(directory.compression) if directory.compression.exists() else None,
    )


def effects_of(evaluation: Evaluation, checkpoint: Checkpoint, make_env: MakeEnv, how: Mapping[str, Any]) -> Effects:
    """What adaptation changed on the first tasks of an evaluation: these alone are adapted to once more where need be.

    Args:
        evaluation: of the policy.
        checkpoint: the policy.
        make_env: makes the environment.
        how: it was evaluated.
    """
    tasks = min(TASKS_OF_EFFECTS, len(evaluation.returns))
    if not evaluation.rollouts:
        evaluation = evaluate_run(checkpoint, make_env, num_tasks=tasks, **how)
    policy = as_policy(checkpoint).network
    rule = adaptation_rule(checkpoint.settings, policy)
    stages = [
        stage._replace(
            params=stage.params if rule.remembers else first_tasks(stage.params, tasks),
            memory=at_most(first_tasks(stage.memory, tasks), EPISODES_OF_EFFECTS),
        )
        for stage in evaluation.adaptations
    ]
    few = at_most(first_tasks(evaluation.rollouts[0], tasks), EPISODES_OF_EFFECTS)
    return adaptation_effects(policy, rule, stages, few)


def video_of(
    directory: RunDirectory,
    checkpoint: Checkpoint,
    make_env: MakeEnv,
    make_scene: MakeScene,
    tasks: Tasks,
    seed: int,
    tell: Callable[[str], object],
) -> bytes | None:
    """The video that was made of a run, or a short new one of the first task, or none where nothing can be drawn."""
    made = directory.videos[0]
    if made.exists():
        return made.read_bytes()
    task = {name: values[0] for name, values in tasks.items()}
    try:
        frames, rate = film_progress(as_policy(checkpoint), make_env(20), make_scene(), task, seed)
    except (RuntimeError, UserError) as error:
        tell(f"No video of {directory.path}: {error}")
        return None
    return as_video(frames, rate, ".mp4")


@ordinary_figures()
def report_page(
    runs: Sequence[ReportedRun],
    published: Mapping[str, Sequence[float]],
    comparison: Comparison | None = None,
) -> str:
    """The page. It loads nothing from elsewhere.

    Args:
        runs: one or more runs of the same problem.
        published: returns after each step that compare, by name.
        comparison: what baselines reached on this problem, where they were run.
    """
    first = runs[0].settings.run
    title = f"{first.env_id}, {first.variant}"
    with rc_context(STYLE):
        parts = [f"<h1>{html.escape(title)}</h1>", _returns(runs, published, comparison), _curves(runs)]
        for run in runs:
            parts += [f"<h2>{html.escape(run.name)}</h2>", _media(run), _tasks(run), _changes(run), _sizes(run)]
            parts.append(folded_configuration(run.written))
    return PAGE.format(title=html.escape(f"rlmaml: {title}"), body="\n".join(parts))


def _returns(
    runs: Sequence[ReportedRun], published: Mapping[str, Sequence[float]], comparison: Comparison | None
) -> str:
    shown = [MethodReturns(run.evaluation.returns.double().numpy()[None]) for run in runs]
    compared = comparison.results[IN_RANGE].items() if comparison else ()
    methods = {name: found for name, found in compared if comparison and name not in comparison.searched}
    stages = max(len(returns.mean) for returns in (*shown, *methods.values()))
    figure, axes = page_axes()
    rows = []
    for run, returns, colour in zip(runs, shown, COLOURS * len(runs), strict=False):
        _line(axes, returns, len(returns.mean), fmt="o-", color=colour, label=run.name)
        rows.append((run.name, _cells(returns)))
    for method, returns in methods.items():
        seeds = counted(len(returns.per_task), "seed")
        _line(axes, returns, stages, fmt="s:", color=colour_of(method), label=f"{method}, {seeds}", fillstyle="none")
        rows.append((f"{method}, {seeds}: {find_method(method).summary}", _cells(returns)))
    for (name, means), marker in zip(published.items(), MARKERS * len(published), strict=False):
        line = over_stages(np.array(means[:stages]), stages)
        if not comparison:
            style: dict[str, Any] = {"marker": marker, "markersize": 4, "color": INK, "linewidth": 1}
            axes.plot(range(len(line)), line, "--", label=name, **style)
        rows.append((name, [f"{mean:.2f}" for mean in means[:stages]]))
    units = dict.fromkeys(stage_unit(run.settings) for run in runs)
    axes.set(
        xlabel=" or ".join("inner steps" if unit == "steps" else unit for unit in units),
        ylabel=f"mean return, {runs[0].actions} actions",
        xticks=range(stages),
    )
    place_legend(figure, axes)
    tasks, episodes = len(runs[0].evaluation.returns), runs[0].num_episodes
    size = (tasks, episodes, runs[0].written["evaluation_seed"])
    note = (
        f"{counted(tasks, 'held-out task')}, {counted(episodes, 'episode')} each, {runs[0].actions} actions; "
        f"{interval_words(tasks, 'task')}."
    )
    if comparison:
        note += " " + _comparison_note(comparison, size)
    header = ["", *step_titles(range(stages), zero_shot=not any("steps_taken" in run.written for run in runs))]
    return f"<p class=note>{note}</p>{as_svg(figure)}{as_table(header, rows)}{_differences(runs, header)}"


def _differences(runs: Sequence[ReportedRun], header: Sequence[str]) -> str:
    """Every run less the first, task by task, and the settings in which they differ; nothing for a single run."""
    if len(runs) < 2:
        return ""
    check_same_tasks([run.evaluation.tasks for run in runs])
    compared = [Reached(run.name, run.settings, run.evaluation.returns_with_failed.double().numpy()) for run in runs]
    stages = range(len(header) - 1)
    return (
        "<h2>Differences</h2><p class=note>Task by task; below, the settings in which the runs differ.</p>"
        f"{differences_table(compared, header, stages, 2)}<br>{differing_table(compared)}"
    )


def _line(axes: Axes, returns: MethodReturns, stages: int, **style: Any) -> None:
    mean, half = (over_stages(values, stages) for values in (returns.mean, np.nan_to_num(returns.over_tasks)))
    axes.errorbar(np.arange(len(mean)), mean, half, capsize=3, **style)


def _cells(returns: MethodReturns) -> list[str]:
    pairs = zip(returns.mean, returns.over_tasks, strict=True)
    return [f"{mean:.2f}" if np.isnan(half) else f"{mean:.2f} ± {half:.2f}" for mean, half in pairs]


def _comparison_note(comparison: Comparison, size: tuple[int, int, int]) -> str:
    """Where the squares are from, and how to evaluate the runs on as much if it was on something else."""
    run = comparison.settings.run
    compared = (run.evaluation_tasks, run.evaluation_episodes, EVALUATION_SEED)
    note = "Squares: means over the seeds of the comparison beside the runs, as trained and evaluated there"
    if size == compared:
        return f"{note}, on the same tasks and as many episodes."
    tasks, episodes, seed = compared
    return (
        f"{note}, on {counted(tasks, 'held-out task')}, {counted(episodes, 'episode')} each, and so not exactly "
        f"comparable. For the runs on the same: report.py --tasks {tasks} --episodes {episodes} --seed {seed}."
    )


def _curves(runs: Sequence[ReportedRun]) -> str:
    if not any(run.metrics for run in runs):
        return ""
    figure, axes = page_axes()
    for run, colour in zip(runs, COLOURS * len(runs), strict=False):
        if not run.metrics:
            continue
        stages = sorted(name for name in run.metrics[0] if name.startswith("return/"))
        words = stage_words(run.settings, in_training=True)
        for k, style in ((0, ":"), (len(stages) - 1, "-")):
            curve = [line[stages[k]] for line in run.metrics]
            marker = "." if len(curve) == 1 else ""
            axes.plot(curve, style, marker=marker, color=colour, linewidth=1.2, label=f"{run.name}, {words(k)}")
    axes.set(xlabel="meta-iteration", ylabel="training return, sampled actions")
    whole_ticks(axes)
    place_legend(figure, axes)
    return f"<h2>Learning curves</h2>{as_svg(figure)}"


def _media(run: ReportedRun) -> str:
    parts = []
    if run.video:
        source = f"data:video/mp4;base64,{base64.b64encode(run.video).decode()}"
        parts.append(f'<video controls loop muted playsinline src="{source}"></video>')
    if run.picture:
        parts.append(as_picture(run.picture, "Episodes before and after adaptation"))
    return "\n".join(parts)


def _tasks(run: ReportedRun) -> str:
    returns = run.evaluation.returns.numpy()
    order = np.argsort(returns[:, -1])
    few = min(3, len(order) // 2) or 1
    parts = {
        f"{name} tasks, {run.actions} actions": shown
        for name, shown in (("worst", order[:few]), ("best", order[few:][-few:]))
    }
    columns = step_titles(range(returns.shape[1]), zero_shot="steps_taken" not in run.written)
    tables = [
        as_table(
            [name, *columns],
            [(run.evaluation.task_words[task], [f"{value:.1f}" for value in returns[task]]) for task in shown.tolist()],
        )
        for name, shown in parts.items()
    ]
    panels = [(name, np.asarray(values)) for name, values in run.evaluation.tasks.items() if np.ndim(values) <= 2]
    matrices = [name for name in run.evaluation.tasks if name not in dict(panels)]
    undrawn = f"<p class=note>Matrices are not drawn: {html.escape(', '.join(matrices))}.</p>" if matrices else ""
    figure = Figure(figsize=(4.2 * max(1, len(panels)), 3.2), layout="constrained")
    axes_of = figure.subplots(1, len(panels), squeeze=False)[0] if panels else []
    for axes, (name, values) in zip(axes_of, panels, strict=True):
        unit = f", {run.task_units[name]}" if run.task_units.get(name) else ""
        if values.ndim == 2 and values.shape[1] == 2:
            style: dict[str, Any] = {"cmap": "viridis", "s": 40, "edgecolors": INK, "linewidths": 0.8}
            dots = axes.scatter(*values.T, c=returns[:, -1], **style)
            figure.colorbar(dots, ax=axes, label=f"return after {returns.shape[1] - 1}, {run.actions} actions")
            first, second = run.task_elements.get(name, (("0", "1"),))[0]
            axes.set(xlabel=f"{name}.{first}{unit}", ylabel=f"{name}.{second}{unit}")
        else:
            numbers = values if values.ndim == 1 else values.mean(1)
            axes.scatter(numbers, returns[:, 0], s=14, color="#9aa4b2", label="before")
            axes.scatter(numbers, returns[:, -1], s=18, color=COLOURS[0], label=f"after {returns.shape[1] - 1}")
            axes.set(xlabel=f"{name}{unit}" if values.ndim == 1 else f"mean of {name}{unit}")
            axes.set(ylabel=f"return, {run.actions} actions")
            axes.legend(frameon=False, fontsize=8)
    drawn = as_svg(figure) if panels else ""
    return f"<h3>Where it adapts, and where not</h3>{drawn}{undrawn}{'<br>'.join(tables)}"


def _sizes(run: ReportedRun) -> str:
    if run.compression is None:
        return ""
    return small_page(*run.compression)


def _changes(run: ReportedRun) -> str:
    if run.effects is None:
        return ""
    steps = len(run.effects.kl)
    rows = [
        (f"{name}, relative change", ["0", *[f"{100 * value:.1f} %" if value else "stays" for value in values]])
        for name, values in run.effects.layers.items()
    ]
    rows += [
        (f"{name}, root mean square", [f"{value:.3f}" if value else "0" for value in values])
        for name, values in run.effects.from_zero.items()
    ]
    rows.append(("KL from the unadapted policy, nats", ["0", *[f"{value:.3f}" for value in run.effects.kl]]))
    rows.append(("entropy, nats", [f"{value:.2f}" for value in run.effects.entropy]))
    titles = step_titles(range(steps + 1), zero_shot="steps_taken" not in run.written)
    tasks = counted(min(TASKS_OF_EFFECTS, len(run.evaluation.returns)), "task")
    header = [f"mean over the first {tasks}", *titles]
    scale = KL_SCALE if isinstance(run.settings.inner, MemorySettings) else INNER_KL
    return f"<h3>What adaptation changed</h3>{as_table(header, rows)}<p class=note>KL: {scale}.</p>"
