"""Figures of adaptation: some episodes of some tasks, before and after it."""

import io
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rlmaml.base.as_before import Held
from rlmaml.base.files import write_atomically
from rlmaml.core.types import Rollout, Tasks
from rlmaml.deploy.adaptable import ActionKind
from rlmaml.settings.stages import StageWords, after_steps


class Episode(NamedTuple):
    """One episode without padding: its path (steps + 1, place), and rewards (steps,)."""

    path: npt.NDArray[Any]
    """Where the robot was, as the environment tracked it; its observations with the final one where it did not."""
    rewards: npt.NDArray[Any]


DrawEpisodes: TypeAlias = Callable[..., None]
"""``draw(axes, task, episodes, *, color, label)``: several episodes of one task on matplotlib axes."""

BEFORE, AFTER = "#9aa4b2", "#1f3a7a"
"""Grey and blue; green is what is asked, and red what is damaged, as in films."""
CHARACTERS = 40
"""Of a line above one task."""


THEIRS = re.compile(
    r"(backend|interactive|keymap|timezone|toolbar|tk|webagg)\b|font\.(family|serif|sans-serif|monospace)"
)
"""Of somebody's matplotlib: how windows are shown, and fonts, without which names in their language are boxes."""
ordinary_figures = Held(
    lambda: dict(dict.items(mpl.rcParams)),  # as they are stored: to look up the backend would choose one
    lambda values: dict.update(mpl.rcParams, values),
    lambda found: (
        found
        | {name: value for name, value in dict.items(mpl.rcParamsDefault) if not THEIRS.match(name)}
        | {"text.parse_math": False}
    ),
)
"""Figures look alike whatever somebody's matplotlib is set to, LaTeX among it, which may not be there; and the names of
somebody's runs, tasks and sensors are text, never markup."""


@ordinary_figures()
def adaptation_figure(
    draw: DrawEpisodes,
    tasks: Tasks,
    rollouts: Sequence[Rollout],
    *,
    words: StageWords = after_steps,
    num_tasks: int = 4,
    num_episodes: int = 5,
    actions: ActionKind = "sampled",
    task_words: Sequence[str] = (),
) -> Figure:
    """The first tasks side by side: some episodes of the first stage, and as many of the last one.

    Args:
        draw: draws episodes of one task.
        tasks: with a leading task axis.
        rollouts: of every stage.
        words: what the stages are called.
        num_tasks: how many tasks are shown, at most.
        num_episodes: and of each stage, how many episodes.
        actions: of these episodes.
        task_words: the tasks in words, to stand above each.
    """
    num_tasks = min(num_tasks, len(rollouts[0].returns))
    titles = ["\n".join(wrapped_words(words)) for words in task_words[:num_tasks]] or [""] * num_tasks
    height = 3.8 + 0.14 * max(title.count("\n") for title in titles)
    figure = Figure(figsize=(3.2 * num_tasks, height), layout="constrained")
    all_axes = figure.subplots(1, num_tasks, squeeze=False)[0]
    last = len(rollouts) - 1
    shown = [(0, BEFORE, words(0))] + ([(last, AFTER, words(last))] if last else [])
    for index, axes in enumerate(all_axes):
        task = {name: values[index] for name, values in tasks.items()}
        for step, color, label in shown:
            draw(axes, task, shown_episodes(rollouts[step], index, num_episodes), color=color, label=label)
        means = [f"{float(rollouts[step].returns[index].nanmean()):.1f}" for step, _, _ in shown]
        axes.set_title(f"return {' → '.join(means)}, {actions} actions\n{titles[index]}".rstrip(), fontsize=8)
    found = [entry for axes in all_axes for entry in zip(*axes.get_legend_handles_labels(), strict=True)]
    names = [label for _, _, label in shown]
    entries = {label: handle for handle, label in sorted(found, key=lambda entry: entry[1] not in names)}
    columns = len(entries) if num_tasks > 1 else 1
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns, frameon=False)
    return figure


def draw_rewards(
    axes: Axes, _: Mapping[str, Any], episodes: Sequence[Episode], *, color: str, label: str | None = None
) -> None:
    """Draw the reward over the steps of several episodes of one task."""
    for index, episode in enumerate(episodes):
        axes.plot(episode.rewards, color=color, alpha=0.6, linewidth=1.0, label=label if index == 0 else None)
    axes.set_xlabel("step", fontsize=8)
    whole_ticks(axes)
    axes.set_ylabel("reward", fontsize=8)
    axes.tick_params(labelsize=7)


def whole_ticks(axes: Axes) -> None:
    """Let the horizontal axis, on which something is counted, have ticks at whole numbers alone."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def wrapped_words(words: str) -> list[str]:
    """What is said of a task on lines that fit above it; a number stays with its name and its unit."""
    return textwrap.wrap(re.sub(r" (?==)|(?<==) |(?<=[\d)]) (?=[^\d(])", "\N{NO-BREAK SPACE}", words), CHARACTERS)


def shown_episodes(rollout: Rollout, task: int, num_episodes: int) -> list[Episode]:
    """The first sound episodes of one task, without padding."""
    episodes = []
    for episode in torch.nonzero(~rollout.unstable[task]).flatten().tolist()[:num_episodes]:
        valid = rollout.valid[task, episode]
        path = rollout.tracked[task, episode, : int(valid.sum()) + 1]
        if not path.shape[-1]:
            final = rollout.final_observations[task, episode]
            path = torch.cat([rollout.observations[task, episode][valid], final.unsqueeze(0)])
        episodes.append(Episode(np.asarray(path.cpu()), np.asarray(rollout.rewards[task, episode][valid].cpu())))
    return episodes


@ordinary_figures()
def write_figure(path: Path | str, figure: Figure) -> None:
    """Write a figure as a PNG, whole or not at all.

    Raises:
        UserError: see :func:`rlmaml.base.files.write_atomically`.
    """
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150)
    write_atomically(path, picture.getvalue())
