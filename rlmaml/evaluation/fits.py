"""Figures of functions of one number: what a model says before and after steps on a task's few points."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.core.parameters import for_every_task
from rlmaml.core.policy import Policy
from rlmaml.core.types import Examples, Meta, Params
from rlmaml.evaluation.evaluate import adapted_in_stages
from rlmaml.evaluation.figures import ordinary_figures
from rlmaml.evaluation.table import ZERO_SHOT
from rlmaml.families.sinusoid import REACH, Sinusoid
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.sampling.examples import examples_of
from rlmaml.terminal.words import counted

LOOKS = {0: "#9aa4b2", 1: "#edae49", 10: "#d1495b"}
"""Steps that are drawn, by colour."""


@ordinary_torch()
@ordinary_figures()
def fits_figure(
    family: Sinusoid, policy: Policy, rule: InnerRule, meta: Meta, seed: int, *, num_tasks: int = 4
) -> Figure:
    """Held-out waves side by side: the wave, its points, and the model after 0, 1 and 10 steps."""
    streams = RandomStreams(seed, Phase.EVALUATION, tasks=range(num_tasks))
    tasks = family.sample_tasks(num_tasks, streams.task_seeds(num_tasks))
    last = max(LOOKS)
    collect = examples_of(family, tasks, streams, range(num_tasks), last)
    points = collect(rule.begin(for_every_task(meta, num_tasks)), 0).data
    x = torch.linspace(-REACH, REACH, 200)
    grid = x.view(1, -1, 1).expand(num_tasks, -1, -1)
    asked = Examples(grid, grid, torch.ones(grid.shape[:2], dtype=torch.bool), grid[:, :0])

    def said(params: Params, k: int) -> torch.Tensor | None:
        with torch.no_grad():
            return policy.unroll(params, asked)[0].distribution.mean[..., 0] if k in LOOKS else None

    stages = adapted_in_stages(policy, rule, meta, collect, streams, num_tasks=num_tasks, steps=last, judged=said)
    lines: Sequence[torch.Tensor | None] = [stage.seen for stage in stages]
    wave = family.wave(tasks, grid[..., 0].double().numpy())
    figure = Figure(figsize=(3 * num_tasks, 3.2), layout="constrained")
    for task, axes in enumerate(figure.subplots(1, num_tasks, squeeze=False)[0]):
        axes.plot(x, wave[task], color="black", linewidth=1.0, label="wave")
        axes.plot(*(part[task, :, 0] for part in points[:2]), "k^", markersize=5, label=counted(family.shots, "point"))
        for step, color in LOOKS.items():
            line = lines[step]
            assert line is not None
            axes.plot(x, line[task], color=color, label=ZERO_SHOT if step == 0 else f"after {counted(step, 'step')}")
        axes.set_xlabel("x")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure
