"""What making a policy smaller gains and loses: one table of sizes, times and returns before and after adaptation."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlmaml.base.errors import UserError
from rlmaml.base.intervals import finite_or_none
from rlmaml.base.plain_data import DamagedError, is_number, read_json
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.base.threads import torch_threads
from rlmaml.deploy.adaptable import AdaptablePolicy, as_policy
from rlmaml.deploy.cost import step_cost
from rlmaml.deploy.eight_bits import InEightBits
from rlmaml.deploy.export import Actor, export_program, latency, load_onnx, write_int8, write_onnx
from rlmaml.deploy.robot import normalised_actuation
from rlmaml.evaluation.evaluate import Evaluation
from rlmaml.policies.gaussian import GaussianPolicy
from rlmaml.policies.smaller import change_in_words, numbers_in
from rlmaml.results.paired import Floats, cells_of, mean_over_tasks, paired_difference
from rlmaml.sampling.outcomes import task_returns
from rlmaml.sampling.rollout import rollout
from rlmaml.storage.checkpoint import Checkpoint, checkpoint_bytes
from rlmaml.terminal.words import counted, markdown_table
from rlmaml.training.run import MakeEnv, evaluate_run

INT8 = "int8"
COLUMNS = (
    *("policy", "numbers", "kB", "ONNX kB", "µs/action", "ms/step", "MB/step"),
    *("zero-shot", "adapted", "loss, zero-shot", "loss, adapted"),
)


class JudgedOn(NamedTuple):
    """On what policies are judged: their most likely actions, after steps on episodes of their own."""

    num_tasks: int
    num_episodes: int
    steps: int
    seed: int


class SmallRow(NamedTuple):
    """A policy in the table."""

    name: str
    numbers: int
    """Of theta: what adapts, and what its file holds."""
    kilobytes: float
    """Of the file with theta and all settings."""
    onnx_kilobytes: float
    """Of the exported file, without metadata."""
    microseconds: float
    """Of one action of that file on one core, median."""
    step_milliseconds: float
    """Of one step of adaptation on one core: processor time, median."""
    step_megabytes: float
    """Most that the tensors of that step take at once."""
    returns: Floats
    """(task, stage), before adaptation and after every step."""


class SmallFile(NamedTuple):
    """An exported file."""

    bytes: int
    seconds: float
    """Of one action on one core, median."""


def small_rows(checkpoint: Checkpoint, make_env: MakeEnv, judged: JudgedOn) -> list[SmallRow]:
    """The rows of a policy as it is, and with weights of 8 bits, which are rounded after it has adapted.

    Args:
        checkpoint: of a run whose policy is of the kind gaussian.
        make_env: makes the environment of its training.
        judged: on what it is judged.

    Raises:
        UserError: the packages for ONNX are not installed, or see :func:`rlmaml.training.run.evaluate_run`.
    """
    settings = checkpoint.settings.changed(device="cpu", rollout_device="cpu", threads=1, rollout_threads=1)
    checkpoint = checkpoint._replace(settings=settings)
    policy = as_policy(checkpoint)
    assert isinstance(policy.network, GaussianPolicy)
    num_tasks, num_episodes, steps, seed = judged
    exact = evaluate_run(
        checkpoint, make_env, num_tasks=num_tasks, num_episodes=num_episodes, steps=steps, seed=seed, actions="mean"
    )
    returns = exact.returns.double().numpy(), returns_in_eight_bits(policy, exact, make_env, judged)
    alone = make_env(num_episodes)
    alone.set_tasks({name: values[:1] for name, values in exact.tasks.items()})
    step = step_cost(policy, policy.record(alone, seed))
    name = change_in_words(policy.network)
    return [
        SmallRow(
            own,
            numbers_in(policy.weights),
            len(checkpoint_bytes(policy.checkpoint)) / 1000,
            file.bytes / 1000,
            1e6 * file.seconds,
            1e3 * step.seconds,
            step.peak_bytes / 1e6,
            reached,
        )
        for own, file, reached in zip((name, f"{name}, {INT8}"), exported(policy), returns, strict=True)
    ]


def returns_in_eight_bits(policy: AdaptablePolicy, exact: Evaluation, make_env: MakeEnv, judged: JudgedOn) -> Floats:
    """Of every task and stage of an evaluation by most likely actions: from the same initial states, in 8 bits."""
    num_tasks, num_episodes, steps, seed = judged
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


def exported(policy: AdaptablePolicy) -> list[SmallFile]:
    """A policy as ONNX that gives actions, without metadata, and the same with weights of 8 bits."""
    actor = Actor(policy, normalised_actuation(policy.sizes.action))
    with tempfile.TemporaryDirectory() as folder, torch_threads(1):
        exact, small = (Path(folder) / f"{kind}.onnx" for kind in ("exact", INT8))
        write_onnx(export_program(actor), exact, actor, {})
        write_int8(exact, small)
        return [SmallFile(file.stat().st_size, latency(load_onnx(file), actor)) for file in (exact, small)]


def table_cells(rows: Sequence[SmallRow]) -> list[list[str]]:
    """Cells under :data:`COLUMNS`; losses are in return before and after adaptation, of the first row, task by task."""
    first, cells = rows[0], []
    for row in rows:
        ends = [0, -1]
        returns = cells_of(mean_over_tasks(row.returns[:, ends]))
        losses = [""] * 2 if row is first else cells_of(paired_difference(row.returns[:, ends], first.returns[:, ends]))
        sizes = f"{row.numbers}", f"{row.kilobytes:.1f}", f"{row.onnx_kilobytes:.1f}"
        costs = f"{row.microseconds:.1f}", f"{row.step_milliseconds:.2f}", f"{row.step_megabytes:.2f}"
        cells.append([row.name, *sizes, *costs, *returns, *losses])
    return cells


def note(judged: JudgedOn) -> str:
    """What the numbers of the table are."""
    return (
        "numbers: of theta, which adapt. kB: its file, with all settings. ONNX: the exported file, without metadata; "
        "µs/action: its time on one core, median. ms and MB/step: one step of adaptation on "
        f"{counted(judged.num_episodes, 'episode')} on one core, processor time, median, and the most that its tensors "
        "take at once; "
        f"{INT8} adapts in full and is rounded afterwards. Returns: most likely actions on "
        f"{counted(judged.num_tasks, 'held-out task')}, {counted(judged.num_episodes, 'episode')} each, zero-shot and "
        f"after {counted(judged.steps, 'step')}; loss: the first row's less this one's, before and after adaptation, "
        "task by task. ± is half the 95 % interval over tasks."
    )


def markdown(rows: Sequence[SmallRow], judged: JudgedOn) -> str:
    """The table and its note."""
    return "\n".join([*markdown_table(COLUMNS, table_cells(rows)), "", note(judged)])


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
        numbers = [value for row in rows for value in row[1:-1]]
        if (
            not rows
            or not all(map(is_number, [*judged, *numbers]))
            or not all(isinstance(row.name, str) for row in rows)
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


def check_comparable(checkpoints: Sequence[Checkpoint]) -> None:
    """Refuse policies that cannot stand in one table.

    Raises:
        UserError: they are of different families or variants, or one is of another kind than gaussian.
    """
    families = {(one.settings.run.env_id, one.settings.run.variant) for one in checkpoints}
    if len(families) > 1:
        raise UserError(f"The runs are of different families or variants: {sorted(families)}.")
    for one in checkpoints:
        if one.settings.policy != "gaussian":
            raise UserError(f"A run's policy is of the kind {one.settings.policy}; the table is of the kind gaussian.")
