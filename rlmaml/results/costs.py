"""What the trainings of a comparison took, beside what they reached."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from rlmaml.results.contenders import Contender, sampled_episodes
from rlmaml.results.summary import training_seconds
from rlmaml.terminal.words import markdown_table


class TrainingCost(NamedTuple):
    """Of one training of a method, the mean over seeds."""

    iterations: int
    """Meta-iterations."""
    environment_steps: int
    """Sampled in all of them, of episodes that take their whole horizon."""
    seconds: float
    """Wall time of the meta-iterations, whatever else the machine did; 0 where nothing is trained."""


def training_costs(contenders: Iterable[Contender]) -> dict[str, TrainingCost]:
    """What a training of each method took; contenders are trained.

    Raises:
        UserError: a run has no record of its training.
    """
    seconds: dict[str, list[float]] = {}
    own = {}
    for contender in contenders:
        run = contender.settings.run
        took = training_seconds(contender.directory) if run.iterations else 0.0
        seconds.setdefault(contender.method, []).append(took)
        steps = run.iterations * sampled_episodes(contender.settings) * (run.horizon or 0)
        own[contender.method] = run.iterations, steps
    return {method: TrainingCost(*own[method], float(np.mean(times))) for method, times in seconds.items()}


def cost_table(costs: Mapping[str, TrainingCost]) -> str:
    """Markdown: meta-iterations, environment steps in millions and minutes of each method."""
    rows = [
        [method, str(cost.iterations), f"{cost.environment_steps / 1e6:.1f} M", f"{cost.seconds / 60:.1f} min"]
        if cost.iterations
        else [method, "–", "–", "–"]
        for method, cost in costs.items()
    ]
    return "\n".join(markdown_table(["one training of", "meta-iterations", "environment steps", "wall time"], rows))


def costs_as_plain(costs: Mapping[str, TrainingCost]) -> dict[str, Any]:
    """The same as plain data."""
    return {method: cost._asdict() for method, cost in costs.items()}
