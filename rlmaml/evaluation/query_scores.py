"""How well a model adapts to supervised tasks never seen: scores on their query sets after every step."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.base.intervals import finite_or_none, half_interval
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.base.threads import torch_threads
from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.core.devices import move
from rlmaml.core.losses import InnerLoss
from rlmaml.core.policy import Policy
from rlmaml.core.types import Memory, Meta, Outputs, Params
from rlmaml.evaluation.evaluate import adapted_in_stages
from rlmaml.evaluation.table import shown_steps, step_titles
from rlmaml.rules.gradient_rule import losses_of
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.sampling.examples import ListedFamily, SupervisedFamily, examples_of
from rlmaml.settings.whole import Settings
from rlmaml.storage.scores_file import HeldOut


@runtime_checkable
class Says(Protocol):
    """What says something of examples."""

    def unroll(self, params: Params, batch: Any) -> tuple[Outputs, Memory | None]:
        """As :meth:`rlmaml.core.policy.Policy.unroll`, of whole episodes or examples."""


class QueryScores(NamedTuple):
    """Scores on held-out tasks; column k is after k steps."""

    scores: Float[Tensor, "task stage"]

    def summary(self) -> dict[str, list[Any]]:
        """Mean over tasks, and its 95 % interval by Student's t, per stage.

        The interval is null where tasks are too few for one, and both where a score is not finite.
        """
        values = self.scores.double()
        scores = torch.where(values.isfinite(), values, torch.nan).numpy()
        mean, half = scores.mean(0), half_interval(scores)
        lowest, highest = finite_or_none(mean - half), finite_or_none(mean + half)
        return {"mean": finite_or_none(mean), "ci95": [list(pair) for pair in zip(lowest, highest, strict=True)]}


def scores_as_json(scores: Mapping[str, QueryScores], held_out: HeldOut, config: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluation of a run: a summary of every score, and what it is on every task; null for what is not finite.

    Args:
        scores: by name, that of the run first.
        held_out: the tasks.
        config: settings, commit, versions, machine, as plain data.
    """
    per_task = {name: [finite_or_none(row) for row in one.scores.double().numpy()] for name, one in scores.items()}
    summaries = {name: one.summary() for name, one in scores.items()}
    return {**summaries, "per_task": per_task, "held_out": held_out._asdict(), "config": config}


@ordinary_torch()
def judged_queries(
    family: SupervisedFamily,
    policy: Policy,
    rule: InnerRule,
    meta: Meta,
    settings: Settings,
    *,
    judge: InnerLoss,
    num_tasks: int,
    steps: int,
    seed: int,
    said: Says | None = None,
) -> Float[Tensor, "task stage *part"]:
    """Adapt theta to ``num_tasks`` tasks drawn for evaluation alone, with no meta-update, and judge it after each step.

    As many tasks as a meta-iteration has are adapted to at once; how many changes no task. Of a family whose tasks are
    listed, the first of them are taken, each once, and no more than there are.

    Args:
        family: of the held-out tasks.
        policy: the model.
        rule: how it adapts.
        meta: meta-parameters.
        settings: of device and threads.
        judge: of ONE task's query set, from what the model says of it: a number, or several.
        num_tasks: number of tasks.
        steps: number of steps; it may be other than the trained one.
        seed: seed of the evaluation; its streams are never used in training.
        said: who says by the adapted parameters what is judged; None for the model.
    """
    judged_model = said or policy
    run = settings.run
    listed = family.every_task() if isinstance(family, ListedFamily) else None
    if listed is not None:
        num_tasks = min(num_tasks, len(next(iter(listed.values()))))
    seeds = RandomStreams(seed, Phase.EVALUATION).task_seeds(num_tasks)
    meta = move(meta, run.device)
    parts = []
    for first in range(0, num_tasks, run.num_tasks):
        chosen = range(first, min(first + run.num_tasks, num_tasks))
        streams = RandomStreams(seed, Phase.EVALUATION, tasks=chosen)
        if listed is None:
            tasks = family.sample_tasks(len(chosen), seeds[first : chosen.stop])
        else:
            tasks = {name: values[first : chosen.stop] for name, values in listed.items()}
        collect = examples_of(family, tasks, streams, chosen, steps)
        query = move(collect(rule.begin(meta), steps).data, run.device)

        def judged(params: Params, k: int, query: Any = query) -> Float[Tensor, "task *part"]:  # noqa: ARG001
            with torch.no_grad():
                return losses_of(judged_model.unroll(params, query)[0], query, judge).cpu()

        with torch_threads(run.threads):
            stages = adapted_in_stages(
                *(policy, rule, meta, collect, streams),
                num_tasks=len(chosen),
                steps=steps,
                device=run.device,
                judged=judged,
            )
            parts.append(torch.stack([stage.seen for stage in stages], 1))
    return torch.cat(parts)


def score_table(
    rows: Mapping[str, Mapping[str, Sequence[Any]]],
    published: Mapping[str, Mapping[int, float]],
    *,
    titles: Sequence[str] | None = None,
) -> str:
    """Means after each step with half of their 95 % intervals, one row per name, above published means.

    Args:
        rows: summaries, as :meth:`QueryScores.summary` makes them, by name.
        published: mean after a number of steps, by name.
        titles: of the columns, all of which are then shown; None for steps.
    """
    last = max(len(row["mean"]) for row in rows.values()) - 1
    shown = shown_steps(last) if titles is None else list(range(last + 1))
    lines = [("steps", *step_titles(shown, "")) if titles is None else ("ratings", *titles)]
    for name, row in rows.items():
        cells = [_cell(mean, interval) for mean, interval in zip(row["mean"], row["ci95"], strict=True)]
        lines.append((name, *[cells[step] if step < len(cells) else "" for step in shown]))
    for name, means in published.items():
        lines.append((name, *[f"{means[step]:.3f}" if step in means else "" for step in shown]))
    width = max(len(line[0]) for line in lines) + 2
    wide = max(15, 2 + max(len(cell) for line in lines for cell in line[1:]))
    return "\n".join(
        (f"{line[0]:<{width}}" + "".join(f"{cell:>{wide}}" for cell in line[1:])).rstrip() for line in lines
    )


def _cell(mean: float | None, interval: Sequence[float | None]) -> str:
    low, high = interval
    if mean is None:
        return "–"
    return f"{mean:.3f}" if low is None or high is None else f"{mean:.3f} ±{(high - low) / 2:.3f}"
