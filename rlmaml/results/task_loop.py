"""How much faster a supervised meta-iteration is in one pass over all tasks than in a loop over tasks."""

import statistics
import time
from typing import Any

import torch

from rlmaml.algorithms.adam import MOMENTS, adam
from rlmaml.base.errors import UserError
from rlmaml.base.random_streams import RandomStreams
from rlmaml.base.threads import torch_threads
from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.core.parameters import as_meta, flatten, named
from rlmaml.core.types import Examples
from rlmaml.rules.gradient_rule import GradientRule
from rlmaml.sampling.examples import SupervisedFamily, first_task
from rlmaml.settings.whole import Settings
from rlmaml.terminal.bars import ProgressBar
from rlmaml.training.begin import begin, make_method
from rlmaml.training.supervised import check_tasks_fit
from rlmaml.training.train import Learned, MetaLearner, meta_iteration

WARM_UP = 2
FIRST = f"{MOMENTS[0]}/"


def looped_iteration(
    family: SupervisedFamily, method: MetaLearner, learned: Learned, settings: Settings, iteration: int
) -> Learned:
    """A meta-iteration of MAML as it is commonly written: task after task, with gradients that add up, then Adam.

    It draws the same tasks and examples as :func:`rlmaml.training.train.meta_iteration` and gives the same to rounding.

    Raises:
        UserError: step sizes are learned, or not all weights adapt.
    """
    policy, rule, algorithm, _ = method
    run, meta, state = settings.run, learned.meta, learned.state
    if not isinstance(rule, GradientRule) or rule.learned or rule.entries is not None or rule.reset:
        raise UserError("The loop over tasks is that of MAML with given step sizes, in which all weights adapt.")
    streams = RandomStreams(run.seed, iteration=iteration)
    tasks = family.sample_tasks(run.num_tasks, streams.task_seeds(run.num_tasks))
    support, query = family.sets(tasks, streams.example_seeds(range(run.num_tasks)))
    theta = {name: tensor.detach().requires_grad_() for name, tensor in meta.params.items()}
    gradient = {name: torch.zeros_like(tensor) for name, tensor in theta.items()}
    for task in range(run.num_tasks):
        mine, asked = (Examples(*(field[task : task + 1] for field in part)) for part in (support, query))
        params = {name: tensor.unsqueeze(0) for name, tensor in theta.items()}
        for k in range(rule.steps):
            loss = family.loss(policy.unroll(params, mine)[0], mine)
            steps = torch.autograd.grad(loss, list(params.values()), create_graph=True, materialize_grads=True)
            size = rule.step_sizes[min(k, len(rule.step_sizes) - 1)]
            params = {name: p - size * g for (name, p), g in zip(params.items(), steps, strict=True)}
        loss = family.loss(policy.unroll(params, asked)[0], asked)
        own = torch.autograd.grad(loss, list(theta.values()), materialize_grads=True)
        for name, part in zip(theta, own, strict=True):
            gradient[name] += part / run.num_tasks
    rate = algorithm.settings.adam_step_size * algorithm.settings.length(iteration)  # type: ignore[attr-defined]
    after, state = adam(named(meta), {f"params/{name}": part for name, part in gradient.items()}, state, rate)
    return learned._replace(meta=as_meta(flatten(after.values()), meta), state=state)


def difference_of_gradients(one: Learned, other: Learned) -> float:
    """The largest difference between Adam's means of the gradients, as a share of the largest entry.

    Parameters would not do: Adam makes a whole step of the rounding of a gradient that is 0, as that of a bias is whose
    layer is normalised.
    """
    own, others = (
        torch.cat([learned.state[name].flatten() for name in sorted(one.state) if FIRST in name])
        for learned in (one, other)
    )
    return float((own - others).abs().max() / own.abs().max())


@ordinary_torch()
def beside_loop(family: SupervisedFamily, settings: Settings, repeats: int) -> dict[str, Any]:
    """Time meta-iterations of both kinds in turn, each from the same meta-parameters, after two that do not count.

    Returns:
        ``seconds`` per meta-iteration in one pass and in a loop, medians; ``ratio``, the median of their ratios; and
        ``difference``, see :func:`difference_of_gradients`.

    Raises:
        UserError: see :func:`looped_iteration`; or so many tasks do not fit into memory.
    """
    check_tasks_fit(settings, first_task(family), settings.run.num_tasks, "A meta-iteration on")
    method = make_method(settings, family)
    learned = begin(settings, method)
    one_pass, loop, difference = [], [], 0.0
    for iteration in ProgressBar(range(WARM_UP + repeats), desc="benchmark", unit="iteration"):
        began = time.perf_counter()
        after, _ = meta_iteration(family, method, learned, settings, iteration)
        between = time.perf_counter()
        with torch_threads(settings.run.threads):
            other = looped_iteration(family, method, learned, settings, iteration)
        ended = time.perf_counter()
        if iteration >= WARM_UP:
            one_pass.append(between - began)
            loop.append(ended - between)
        difference = max(difference, difference_of_gradients(after, other))
        learned = after
    return {
        "seconds": {"one pass": statistics.median(one_pass), "loop": statistics.median(loop)},
        "ratio": statistics.median(slow / fast for slow, fast in zip(loop, one_pass, strict=True)),
        "difference": difference,
    }
