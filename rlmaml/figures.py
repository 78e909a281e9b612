"""Figures of adaptation, drawn by the function that a task family offers for its own episodes."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from rlmaml.types import Rollout, Tasks

DrawPaths: TypeAlias = Callable[..., None]
"""``draw(axes, task, paths, *, color, label)``: several episodes of one task on matplotlib axes."""

BEFORE, AFTER = "#9aa4b2", "#d1495b"


def adaptation_figure(
    draw: DrawPaths, tasks: Tasks, rollouts: Sequence[Rollout], *, num_tasks: int = 4, num_episodes: int = 5
) -> Figure:
    """The first tasks side by side: some episodes before adaptation, and as many after the last inner step."""
    num_tasks = min(num_tasks, len(rollouts[0].returns))
    figure = Figure(figsize=(3 * num_tasks, 3.4), layout="constrained")
    all_axes = figure.subplots(1, num_tasks, squeeze=False)[0]
    last = len(rollouts) - 1
    for index, axes in enumerate(all_axes):
        task = {name: values[index] for name, values in tasks.items()}
        for step, color, label in ((0, BEFORE, "before"), (last, AFTER, f"after {last} inner step(s)")):
            draw(axes, task, episode_paths(rollouts[step], index, num_episodes), color=color, label=label)
        before, after = (float(rollouts[step].returns[index].mean()) for step in (0, last))
        axes.set_title(f"return {before:.1f} → {after:.1f}", fontsize=10)
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def episode_paths(rollout: Rollout, task: int, num_episodes: int) -> list[npt.NDArray[Any]]:
    """Observations of the first episodes of one task, without padding and with the final one."""
    paths = []
    for episode in range(min(num_episodes, rollout.valid.shape[1])):
        valid = rollout.valid[task, episode]
        seen = rollout.observations[task, episode][valid]
        final = rollout.final_observations[task, episode]
        paths.append(np.asarray(torch.cat([seen, final.unsqueeze(0)]).cpu()))
    return paths
