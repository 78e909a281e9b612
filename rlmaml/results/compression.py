"""What making a policy smaller gains and loses: one table of sizes, times and returns before and after adaptation."""

import html
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlmaml.base.errors import UserError
from rlmaml.base.intervals import finite_or_none
from rlmaml.base.plain_data import DamagedError, is_number, read_json
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.base.threads import torch_threads
from rlmaml.core.parameters import for_every_task
from rlmaml.core.policy import Policy, carries
from rlmaml.core.types import Params
from rlmaml.deploy.adaptable import AdaptablePolicy, as_policy
from rlmaml.deploy.cost import StepCost, cost_of, latency, step_cost
from rlmaml.deploy.eight_bits import InEightBits
from rlmaml.deploy.export import Actor, export_program, load_onnx, write_int8, write_onnx
from rlmaml.deploy.robot import Actuation, as_predicted, normalised_actuation
from rlmaml.evaluation.evaluate import Evaluation
from rlmaml.policies.smaller import change_in_words, numbers_in
from rlmaml.results.contenders import asked_of
from rlmaml.results.page_parts import as_table
from rlmaml.results.paired import Floats, Mean, cells_of, mean_over_tasks, paired_difference
from rlmaml.sampling.outcomes import task_returns
from rlmaml.sampling.rollout import rollout
from rlmaml.storage.checkpoint import Checkpoint, checkpoint_bytes
from rlmaml.storage.scores_file import BETTER, RETURN
from rlmaml.terminal.words import counted, interval_words, markdown_table
from rlmaml.training.begin import make_method
from rlmaml.training.fine_tuning import fine_tuned, fine_tuning
from rlmaml.training.run import MakeEnv, evaluate_run, validation_return
from rlmaml.training.supervised import SupervisedTasks, as_scored, score_run

INT8 = "int8"
COLUMNS = (
    *("policy", "numbers", "kB", "ONNX kB", "µs/action", "ms/step", "MB/step"),
    *("zero-shot", "adapted", "loss, zero-shot", "loss, adapted"),
)


class JudgedOn(NamedTuple):
    """On what policies are judged: their most likely actions, after steps on episodes of their own, or a score."""

    num_tasks: int
    num_episodes: int
    """0 of supervised tasks, which have none."""
    steps: int
    seed: int
    score: str = RETURN
    """What is measured: the return, or a score on the query sets of supervised tasks."""


class SmallRow(NamedTuple):
    """A policy in the table."""

    name: str
    numbers: int
    """Of theta: what adapts, and what its file holds."""
    kilobytes: float
    """Of the file with theta and all settings."""
    onnx_kilobytes: float | None
    """Of the exported file, without metadata; None of kinds that are not exported, and models of supervised tasks."""
    microseconds: float | None
    """Of one action of that file on one core, median."""
    step_milliseconds: float
    """Of one step of adaptation on one core: processor time, median."""
    step_megabytes: float
    """Most that the tensors of that step take at once."""
    returns: Floats
    """(task, stage), before adaptation and after every step; scores of supervised tasks."""


class SmallFile(NamedTuple):
    """An exported file."""

    bytes: int
    seconds: float
    """Of one action on one core, median."""


def small_rows(checkpoint: Checkpoint, make_env: MakeEnv, judged: JudgedOn) -> list[SmallRow]:
    """The rows of a policy as it is, and with weights of 8 bits, which are rounded after it has adapted.

    Kinds that remember, and those that are not exported, have one row, without an exported file.

    Args:
        checkpoint: of a run.
        make_env: makes the environment of its training.
        judged: on what it is judged.

    Raises:
        UserError: the packages for ONNX are not installed, or see :func:`rlmaml.training.run.evaluate_run`.
    """
    settings = checkpoint.settings.changed(device="cpu", rollout_device="cpu", threads=1, rollout_threads=1)
    checkpoint = as_judged(checkpoint._replace(settings=settings), make_env, judged)
    policy = as_policy(checkpoint)
    num_tasks, num_episodes, steps, seed, _ = judged
    exact = evaluate_run(
        checkpoint, make_env, num_tasks=num_tasks, num_episodes=num_episodes, steps=steps, seed=seed, actions="mean"
    )
    names, returns = [change_in_words(policy.network)], [exact.returns.double().numpy()]
    files: list[SmallFile | None] = [None]
    if exports(policy.network, policy.weights):
        names.append(f"{names[0]}, {INT8}")
        files = [*exported(policy, normalised_actuation(policy.sizes.action))]
        returns.append(returns_in_eight_bits(policy, exact, make_env, judged))
    alone = make_env(num_episodes)
    alone.set_tasks({name: values[:1] for name, values in exact.tasks.items()})
    step = step_cost(policy, policy.record(alone, seed))
    return [
        small_row(own, policy.checkpoint, file, step, reached)
        for own, file, reached in zip(names, files, returns, strict=True)
    ]


def as_judged(checkpoint: Checkpoint, make_env: MakeEnv, judged: JudgedOn) -> Checkpoint:
    """A policy as it is judged: steps of one that was not meta-trained have the sizes best on validation tasks.

    Args:
        checkpoint: with the configured sizes.
        make_env: makes the environment of its training.
        judged: on how many tasks and episodes, and after how many steps; validation is as large.
    """
    settings = asked_of(
        checkpoint.settings,
        evaluation_tasks=judged.num_tasks,
        evaluation_episodes=judged.num_episodes,
        evaluation_steps=judged.steps,
    )
    if fine_tuning(settings) is None:
        return checkpoint
    tuned = fine_tuned(checkpoint._replace(settings=settings), partial(validation_return, make_env=make_env))
    sizes = tuned.settings.inner.inner_step_sizes
    return checkpoint._replace(settings=checkpoint.settings.changed(inner_step_sizes=sizes))


def small_row(name: str, checkpoint: Checkpoint, file: SmallFile | None, step: StepCost, reached: Floats) -> SmallRow:
    """One row, in the units of the table."""
    return SmallRow(
        name,
        numbers_in(checkpoint.meta.params),
        len(checkpoint_bytes(checkpoint)) / 1000,
        file.bytes / 1000 if file else None,
        1e6 * file.seconds if file else None,
        1e3 * step.seconds,
        step.peak_bytes / 1e6,
        reached,
    )


def scored_rows(checkpoint: Checkpoint, tasks: SupervisedTasks, judged: JudgedOn) -> list[SmallRow]:
    """The rows of a model of supervised tasks, as those of a policy: as it is, and rounded after it has adapted.

    Args:
        checkpoint: of a run.
        tasks: what it is judged on; one step of adaptation is timed on the first one's support set.
        judged: on how many, and after how many steps.

    Raises:
        UserError: the packages for ONNX are not installed.
    """
    asked = {"evaluation_tasks": judged.num_tasks, "evaluation_steps": judged.steps}
    settings, held_out = checkpoint.settings.changed(device="cpu", threads=1, **asked), tasks.held_out
    configured = checkpoint._replace(settings=settings)
    method, checkpoint = as_scored(make_method(settings, tasks.family), configured, tasks)
    model = as_policy(checkpoint)

    def scores(said: InEightBits | None = None) -> Floats:
        found = score_run(method, checkpoint, held_out, held_out.score, judged.seed, said=said)
        return found.scores.double().numpy()

    names, reached = [change_in_words(method.policy)], [scores()]
    files: list[SmallFile | None] = [None]
    if exports(method.policy, checkpoint.meta.params):
        given = as_predicted(model.sizes.action)
        files, names = [*exported(model, given)], [*names, f"{names[0]}, {INT8}"]
        with tempfile.TemporaryDirectory() as folder:
            reached.append(scores(InEightBits(model, Path(folder), given)))
    support, _ = held_out.sets(held_out.sample_tasks(1, [judged.seed]), [judged.seed])
    meta = for_every_task(checkpoint.meta, 1)
    step = cost_of(lambda: method.rule.step(method.policy, meta, method.rule.begin(meta), support, 0))
    return [small_row(name, checkpoint, file, step, own) for name, file, own in zip(names, files, reached, strict=True)]


def returns_in_eight_bits(policy: AdaptablePolicy, exact: Evaluation, make_env: MakeEnv, judged: JudgedOn) -> Floats:
    """Of every task and stage of an evaluation by most likely actions: from the same initial states, in 8 bits."""
    num_tasks, num_episodes, steps, seed, _ = judged
    env = make_env(num_tasks * num_episodes)
    env.set_tasks(exact.tasks)
    streams, tasks = RandomStreams(seed, Phase.EVALUATION, tasks=range(num_tasks)), range(num_tasks)
    with tempfile.TemporaryDirectory() as folder, torch_threads(1):
        acting = InEightBits(policy, Path(folder))
        sampled = [
            rollout(env, acting, exact.adaptations[k].params, tasks=tasks, streams=streams, k=k, most_likely=True)
            for k in range(steps + 1)
        ]
    return np.stack([task_returns(own).double().numpy() for own in sampled], 1)


def exports(policy: Policy, params: Params) -> bool:
    """Whether a policy is exported as a function of the observation alone: one that remembers nothing."""
    try:
        policy.deterministic(params)
    except UserError:
        return False
    return not carries(policy, params)


def exported(policy: AdaptablePolicy, actuation: Actuation) -> list[SmallFile]:
    """A policy as ONNX that gives this, without metadata, and the same with weights of 8 bits."""
    actor = Actor(policy, actuation)
    with tempfile.TemporaryDirectory() as folder, torch_threads(1):
        exact, small = (Path(folder) / f"{kind}.onnx" for kind in ("exact", INT8))
        write_onnx(export_program(actor), exact, actor, {})
        write_int8(exact, small)
        return [SmallFile(file.stat().st_size, latency(load_onnx(file), actor)) for file in (exact, small)]


def table_cells(rows: Sequence[SmallRow], score: str = RETURN) -> list[list[str]]:
    """Cells under :data:`COLUMNS`; losses are in return before and after adaptation, of the first row, task by task.

    Args:
        rows: the first is what the others are compared with.
        score: what is measured; where lower ones are better, a loss is how much higher they are.
    """
    first, cells, digits = rows[0], [], 2 if score == RETURN else 4

    def lost(row: SmallRow) -> Mean:
        before, after = (own.returns[:, [0, -1]] for own in (row, first))
        return paired_difference(after, before) if BETTER.get(score) == "lower" else paired_difference(before, after)

    for row in rows:
        returns = cells_of(mean_over_tasks(row.returns[:, [0, -1]]), digits)
        losses = [""] * 2 if row is first else cells_of(lost(row), digits)
        sizes = f"{row.numbers}", f"{row.kilobytes:.1f}", _or_dash(row.onnx_kilobytes)
        costs = _or_dash(row.microseconds), f"{row.step_milliseconds:.2f}", f"{row.step_megabytes:.2f}"
        cells.append([row.name, *sizes, *costs, *returns, *losses])
    return cells


def _or_dash(number: float | None) -> str:
    return "–" if number is None else f"{number:.1f}"


def note(judged: JudgedOn) -> str:
    """What the numbers of the table are."""
    policies = "" if judged.score == RETURN else " (export.py writes those of policies alone)"
    sizes = (
        f"numbers: of theta, which adapt. kB: its file, with all settings. ONNX: the exported file{policies}, without "
        "metadata, of kinds that are exported; what was pruned stands in it as zeros, so that it is no smaller. "
        "µs/action: its time on one core, median."
    )
    cost = "on one core, processor time, median, and the most that its tensors take at once"
    rounded, tasks = f"{INT8} adapts in full and is rounded afterwards.", counted(judged.num_tasks, "held-out task")
    steps, interval = counted(judged.steps, "step"), interval_words(judged.num_tasks, "task")
    if judged.score != RETURN:
        better = f", {BETTER[judged.score]} being better" if judged.score in BETTER else ""
        return (
            f"{sizes} ms and MB/step: one step of adaptation on a support set {cost}; {rounded} zero-shot and adapted: "
            f"{judged.score} on {tasks} before and after {steps}{better}; loss: how much worse than the first row's, "
            f"task by task. {interval}."
        )
    episodes = counted(judged.num_episodes, "episode")
    return (
        f"{sizes} ms and MB/step: one step of adaptation on {episodes} {cost}; {rounded} Returns: most likely actions "
        f"on {tasks}, {episodes} each, zero-shot and after {steps}; loss: the first row's less this one's, before and "
        f"after adaptation, task by task. {interval}."
    )


def markdown(rows: Sequence[SmallRow], judged: JudgedOn) -> str:
    """The table and its note."""
    return "\n".join([*markdown_table(COLUMNS, table_cells(rows, judged.score)), "", note(judged)])


def small_page(rows: Sequence[SmallRow], judged: JudgedOn) -> str:
    """The same as a part of an HTML page."""
    table = as_table(COLUMNS, [(cells[0], cells[1:]) for cells in table_cells(rows, judged.score)])
    return f"<h3>What it gained and lost by being smaller</h3>{table}<p class=note>{html.escape(note(judged))}</p>"


def as_plain_table(rows: Sequence[SmallRow], judged: JudgedOn, config: Mapping[str, Any]) -> dict[str, Any]:
    """The table as a file keeps it."""
    plain = [row._asdict() | {"returns": [finite_or_none(task) for task in row.returns]} for row in rows]
    return {"judged": judged._asdict(), "rows": plain, "config": dict(config)}


def read_table(path: Path) -> tuple[list[SmallRow], JudgedOn]:
    """A table as :func:`as_plain_table` makes it.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it is none.
    """
    content = read_json(path)
    try:
        judged = JudgedOn(**content["judged"])
        rows = [SmallRow(**row)._replace(returns=_array(row["returns"], judged)) for row in content["rows"]]
        numbers = [value for row in rows for value in (row[1:3] + row[5:-1])]
        numbers += [value for row in rows for value in row[3:5] if value is not None]
        if (
            not rows
            or not all(map(is_number, [*judged[:-1], *numbers]))
            or not all(isinstance(name, str) for name in (judged.score, *(row.name for row in rows)))
        ):
            raise ValueError("it has no rows of numbers")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(path, repr(error)) from error
    return rows, judged


def _array(returns: Any, judged: JudgedOn) -> Floats:
    array = np.array(returns, np.float64)
    if array.shape != (judged.num_tasks, judged.steps + 1):
        raise ValueError(f"its returns are of shape {array.shape}")
    return array
