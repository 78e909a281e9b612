"""What a meta-update's natural gradient gains, and what it costs, by how its linear system is made and solved."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from rlmaml.algorithms.maml_trpo import MamlTrpo
from rlmaml.algorithms.meta_algorithm import Learner
from rlmaml.base.errors import UserError
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.base.regions import listening, region
from rlmaml.base.threads import torch_threads
from rlmaml.core.parameters import for_every_task
from rlmaml.core.types import Batch, Meta
from rlmaml.sampling.collect import episodes_of
from rlmaml.settings.memory_needed import check_draws_fit
from rlmaml.settings.whole import Settings
from rlmaml.storage.checkpoint import Checkpoint
from rlmaml.training.begin import make_method
from rlmaml.training.run import MakeEnv
from rlmaml.training.train import MetaLearner

QUICK = ("rollout", "advantages", "adapt", "gradient", "line_search")
"""Parts of a meta-iteration beside the curvature."""


class Solver(NamedTuple):
    """One way to make and solve the system."""

    jacobian_fraction: float
    curvature_fraction: float
    preconditioner: str
    cg_iterations: int
    damping: float


SOLVERS = (
    Solver(0.0, 0.1, "none", 10, 1e-3),
    Solver(0.1, 0.1, "none", 10, 1e-5),
    Solver(0.1, 0.1, "none", 20, 1e-3),
    Solver(0.25, 0.1, "none", 10, 1e-2),
    Solver(1.0, 0.1, "none", 10, 1e-2),
    Solver(0.1, 0.1, "kronecker", 3, 0.1),
    Solver(0.1, 0.1, "kronecker", 5, 0.1),
    Solver(0.25, 0.1, "kronecker", 3, 0.1),
    Solver(0.25, 0.1, "kronecker", 3, 0.01),
    Solver(0.25, 0.1, "kronecker", 5, 0.01),
    Solver(0.5, 0.1, "kronecker", 3, 0.01),
    Solver(0.5, 0.1, "kronecker", 5, 0.01),
    Solver(0.5, 0.1, "kronecker", 10, 0.01),
    Solver(0.5, 0.25, "kronecker", 5, 0.01),
    Solver(1.0, 0.1, "kronecker", 3, 0.01),
    Solver(1.0, 0.1, "kronecker", 5, 0.01),
    Solver(1.0, 0.1, "kronecker", 5, 0.001),
    Solver(1.0, 1.0, "kronecker", 10, 0.01),
)
"""Those that are tried."""


class Outcome(NamedTuple):
    """Means over the draws of what one solver reached."""

    solver: Solver
    gain: float
    """Of the surrogate return, within the trust region, on the episodes of the update."""
    held_out_gain: float
    """On other episodes of the same policies and tasks."""
    seconds: float
    """Of the curvature and its solution."""
    iteration_seconds: float
    """Of a whole meta-iteration with it."""


def compare_solvers(
    checkpoint: Checkpoint, make_env: MakeEnv, *, draws: int, solvers: Sequence[Solver] = SOLVERS
) -> Iterator[Outcome]:
    """What each solver gains from a checkpoint, all on the same episodes.

    Args:
        checkpoint: of a run with a trust region; its settings are those it is updated with, but for the solver.
        make_env: makes the environment.
        draws: independent draws of tasks and episodes.
        solvers: what is tried.

    Raises:
        UserError: the run's meta-update has no trust region, or so many draws do not fit into memory.
    """
    settings = checkpoint.settings
    if not settings.has("jacobian_fraction"):
        raise UserError(
            f"The run's --algorithm is {settings.algorithm}, whose meta-update has no trust region to solve for."
        )
    check_draws_fit(settings, draws)
    env = make_env(settings.run.num_tasks * settings.run.num_episodes)
    method = make_method(settings, env)
    method = method._replace(rule=method.rule.during(checkpoint.iteration))
    sampled = [two_samples(env, method, checkpoint.meta, settings, draw) for draw in range(draws)]
    for solver in solvers:
        own = settings.changed(**solver._asdict())
        algorithm = make_method(own, env).algorithm
        assert isinstance(algorithm, MamlTrpo)
        gains, held_out, seconds, whole = [], [], [], []
        for draw, (stages, others, sampling) in enumerate(sampled):
            streams = RandomStreams(draw, Phase.EVALUATION, checkpoint.iteration)
            learner = Learner(method.policy, method.rule, method.sums, streams)
            with torch_threads(settings.run.threads), listening() as parts:
                new, _, report = algorithm.update(learner, checkpoint.meta, {}, stages)
                spent = dict(parts)
                held_out.append(algorithm.surrogate_gain(learner, checkpoint.meta, new, others))
            gains.append(report.loss_before - report.loss_after)
            seconds.append(spent["curvature"])
            whole.append(sum((sampling | spent).get(part, 0.0) for part in (*QUICK, "curvature")))
        yield Outcome(
            solver,
            statistics.mean(gains),
            statistics.mean(held_out),
            statistics.median(seconds),
            statistics.median(whole),
        )


def two_samples(
    env: Any, method: MetaLearner, meta: Meta, settings: Settings, draw: int
) -> tuple[list[Batch], list[Batch], dict[str, float]]:
    """The data of every stage twice: the second time under the policies of the first. And the seconds of the first."""
    streams, again = (RandomStreams(draw, Phase.EVALUATION, iteration) for iteration in (0, 1))
    num_tasks = settings.run.num_tasks
    env.set_tasks(env.sample_tasks(num_tasks, streams.task_seeds(num_tasks)))
    with listening() as seconds:
        first = sample_stages(env, method, meta, settings, streams)
    return first, sample_stages(env, method, meta, settings, again), dict(seconds)


def sample_stages(env: Any, method: MetaLearner, meta: Meta, settings: Settings, streams: RandomStreams) -> list[Batch]:
    """The data of every stage on the environment's current tasks."""
    run, tasks = settings.run, range(settings.run.num_tasks)
    collect = episodes_of(env, method.policy, settings.advantages, streams, tasks, run.rollout_device)
    per_task = for_every_task(meta, len(tasks))
    stages: list[Batch] = []
    with torch_threads(run.threads):
        adaptation = method.rule.begin(per_task)
        for k in range(method.rule.steps + 1):
            stages.append(collect(adaptation, k).data)
            if k < method.rule.steps:
                with region("adapt"):
                    adaptation = method.rule.step(method.policy, per_task, adaptation, stages[k], k)
    return stages


def solver_table(outcomes: Sequence[Outcome]) -> str:
    """Markdown: gains in thousandths of the surrogate return, and gain per second of a whole meta-iteration."""
    lines = [
        "| Jacobian on | states of | preconditioner | products | damping | gain | on other episodes | curvature, s | "
        "per second of the iteration |",
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    number: Callable[[float], str] = lambda value: f"{1000 * value:.1f}"
    best = max(outcome.held_out_gain / outcome.iteration_seconds for outcome in outcomes)
    for one in outcomes:
        rate = one.held_out_gain / one.iteration_seconds
        shown = f"**{number(rate)}**" if rate == best else number(rate)
        jacobian, states, preconditioner, products, damping = one.solver
        lines.append(
            f"| {jacobian:g} | {states:g} | {preconditioner} | {products} | {damping:g} | {number(one.gain)} | "
            f"{number(one.held_out_gain)} | {one.seconds:.2f} | {shown} |"
        )
    return "\n".join(lines)
