"""Every algorithm with a few settings, and random non-degenerate problems for them: what the contract is tested on."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlmaml.algorithms.meta_algorithm import Learner, MetaAlgorithm, Report
from rlmaml.algorithms.registry import make_meta_algorithm
from rlmaml.core.parameters import entries
from rlmaml.core.policy import Policy
from rlmaml.core.task_sums import ALONE, TaskSums
from rlmaml.core.types import Batch, Meta, Params
from rlmaml.policies import kinds
from rlmaml.policies.matrices import as_text
from rlmaml.policies.sizes import Sizes
from rlmaml.rules.adaptation_rule import training_rule
from rlmaml.settings.whole import Settings, configure
from tests.rlmaml.makers import (
    adapted_batches,
    batch_as,
    learner,
    random_batch,
    random_theta,
    select_tasks,
    streams_of,
)


class Case(NamedTuple):
    """A method with some settings."""

    algorithm: str
    options: Mapping[str, Any]
    large: Mapping[str, Any] | None = {}
    """What else is set where the number of threads is tested, to save time; None where another case shows the same."""


def trust_region(algorithm: str = "maml-trpo", *, large: bool = True, **options: Any) -> Case:
    """Damped, and with few iterations, so that rounding does not grow on the way through the linear algebra."""
    little = {"damping": 1e-2, "cg_iterations": 4, "curvature_fraction": 0.4}
    return Case(algorithm, {**little, **options}, {"cg_iterations": 1, "backtrack_tries": 2} if large else None)


CASES: dict[str, Case] = {
    "maml-trpo": trust_region(),
    "maml-trpo, three steps": trust_region(large=False, inner_steps=3),
    "maml-trpo, learned sizes": trust_region(large=False, inner_steps=2, learn_step_sizes=True),
    "maml-trpo, likelihood ratio": trust_region(large=False, inner_loss="likelihood_ratio"),
    "maml-trpo, dice": trust_region(large=False, inner_loss="dice", inner_steps=2, damping=0.1),
    "maml-trpo, stage weights": trust_region(large=False, inner_steps=2, stage_weights=(2.0, 1.0, 0.0)),
    "maml-trpo, held near theta": trust_region(large=False, inner_steps=3, inner_l2=0.3, inner_kl=0.7),
    "maml-trpo, pruned and of low rank": trust_region(
        large=False,
        rank=1,
        kept=(as_text("layer1.weight.left", torch.tensor([[True], [False]])),),
        learn_step_sizes=True,
    ),
    "maml-trpo, noise and entropy": trust_region(
        large=False, inner_steps=2, learn_step_sizes=True, parameter_noise=0.05, entropy_bonus=0.1
    ),
    "meta-sgd": trust_region("meta-sgd", inner_steps=2),
    "maml++": trust_region("maml++", large=False, inner_steps=2, first_order_until=0),
    "anil": trust_region("anil", large=False, inner_steps=2),
    "anil, with the deviation": trust_region("anil", large=False, adapt_std=True, learn_step_sizes=True),
    "anil, first order": trust_region("anil", large=False, first_order=True),
    "cavia": trust_region("cavia", inner_steps=2, context=3),
    "cavia, held near theta": trust_region("cavia", large=False, inner_steps=3, context=3, inner_l2=0.3, inner_kl=0.7),
    "cavia, first order": trust_region("cavia", large=False, inner_steps=2, context=3, first_order=True),
    "pretrained": trust_region("pretrained", large=False),
    "oracle": trust_region("oracle", large=False),
    "e-maml": trust_region("e-maml", inner_steps=2, stage_weights=(0.0, 1.0, 2.0), backtrack_tries=30),
    "fomaml": trust_region("fomaml", inner_steps=2),
    "promp": Case("promp", {"inner_steps": 2, "kl_penalty": 0.5, "epochs": 3, "outer_step_size": 0.02}, {"epochs": 2}),
    "promp, adaptive": Case(
        "promp",
        {
            "kl_penalty": 0.5,
            "kl_target": 1e-4,
            "entropy_bonus": 0.1,
            "clip": 0.1,
            "outer_step_size": 0.05,
            "learn_step_sizes": True,
        },
        None,
    ),
    "maml-ppo": Case("maml-ppo", {"stage_weights": (1.0, 2.0), "outer_step_size": 0.02}, None),
    "promp, held near theta": Case(
        "promp", {"inner_steps": 2, "inner_l2": 0.3, "inner_kl": 0.7, "epochs": 1, "outer_step_size": 0.02}, None
    ),
    "reptile": Case("reptile", {"inner_steps": 2, "outer_step_size": 0.5}),
    "reptile, with a context": Case("reptile", {"inner_steps": 2, "context": 2}, None),
    "reptile, noise": Case("reptile", {"inner_steps": 2, "outer_step_size": 0.5, "parameter_noise": 0.05}, None),
    "rl2": Case(
        "rl2",
        {"memory": 5, "minibatches": 2, "epochs": 2, "blocks": 2, "outer_step_size": 0.02, "horizon": 4},
        {"epochs": 1, "horizon": 25},
    ),
    "rl2, three episodes": Case(
        "rl2",
        {
            "memory": 5,
            "trial_episodes": 3,
            "minibatches": 3,
            "blocks": 2,
            "entropy_bonus": 0.1,
            "advantage_scale": 2.0,
            "horizon": 4,
        },
        None,
    ),
    "robust": Case("robust", {"minibatches": 2, "epochs": 2, "blocks": 2, "outer_step_size": 0.02, "horizon": 4}, None),
    "rma": Case(
        "rma",
        {
            "memory": 5,
            "latent": 3,
            "minibatches": 2,
            "epochs": 2,
            "student_epochs": 2,
            "blocks": 2,
            "trial_episodes": 2,
            "horizon": 4,
        },
        {"epochs": 1, "horizon": 25, "student_epochs": 1, "trial_episodes": 1},
    ),
    "reptile, adam": Case("reptile", {"inner_steps": 2, "outer_step": "adam", "outer_step_size": 0.01}),
}
"""Name -> case. A further method inherits the whole contract by an entry here."""


class Updated(NamedTuple):
    """What an update gives."""

    meta: Meta
    state: Params
    report: Report


class Problem(NamedTuple):
    """An algorithm before an update, with what it is to learn from."""

    settings: Settings
    learner: Learner
    algorithm: MetaAlgorithm
    meta: Meta
    state: Params
    stages: Sequence[Any]

    def update(self) -> Updated:
        """The update."""
        return Updated(*self.algorithm.update(self.learner, self.meta, self.state, self.stages))

    def of_tasks(self, tasks: Any, sums: TaskSums = ALONE) -> "Problem":
        """The same problem for some of its tasks, in the given order."""
        stages = [select_tasks(batch, tasks) for batch in self.stages]
        return self._replace(stages=stages, learner=self.learner._replace(sums=sums, streams=streams_of(tasks)))

    def in_single_precision(self) -> "Problem":
        """The same problem in the numbers of trainings."""
        meta = Meta(*({name: tensor.float() for name, tensor in part.items()} for part in self.meta))
        state = {name: tensor.float() for name, tensor in self.state.items()}
        return self._replace(meta=meta, state=state, stages=[batch_as(batch, torch.float32) for batch in self.stages])

    def at(self, meta: Meta, state: Params, num_tasks: int, seed: int) -> "Problem":
        """The same algorithm elsewhere, on stages that these meta-parameters sample."""
        stages = sampled(self.learner, self.algorithm, meta, num_tasks, seed)
        return self._replace(meta=meta, state=state, stages=stages)


def make_policy(settings: Settings) -> Policy:
    """For observations and actions of the makers'."""
    told = settings.run.observe_task
    return kinds.make_policy(settings.policy, settings.network, Sizes(3, 2, extended=told, task=int(told)))


def case_settings(name: str, hidden: tuple[int, ...], inner_step_sizes: tuple[float, ...], **options: Any) -> Settings:
    """The settings of a case, with step sizes where it has them."""
    case = CASES[name]
    settings = configure(case.algorithm, **{"num_tasks": 4, **case.options, **options, "hidden": hidden})
    given = "inner_step_sizes" in {**case.options, **options} or not settings.has("inner_step_sizes")
    return settings if given else settings.changed(inner_step_sizes=inner_step_sizes)


def make_problem(
    name: str, num_tasks: int = 4, dtype: torch.dtype = torch.float64, hidden: tuple[int, ...] = (4,)
) -> Problem:
    """A case with random weights, rates far from their start, a state that is used, and episodes of uneven length."""
    settings = case_settings(name, hidden, inner_step_sizes=(0.5, 0.3))
    policy, algorithm = make_policy(settings), make_meta_algorithm(settings)
    rule = training_rule(settings, policy)
    theta = random_theta(policy)
    meta = Meta(theta, {entry: rate + 0.3 * noise(rate) for entry, rate in rule.rates(theta).items()})
    ours = learner(policy, rule)._replace(streams=streams_of(range(num_tasks)))
    fresh = Problem(settings, ours, algorithm, meta, algorithm.init(meta), [])
    state = fresh.at(meta, fresh.state, num_tasks, seed=0).update().state if fresh.state else {}
    problem = fresh.at(meta, state, num_tasks, seed=20)
    return problem._replace(
        meta=Meta(*({entry: tensor.to(dtype) for entry, tensor in part.items()} for part in meta)),
        state={entry: tensor.to(dtype) if tensor.dim() else tensor for entry, tensor in state.items()},
        stages=[batch_as(batch, dtype) for batch in problem.stages],
    )


def make_large_problem(name: str) -> Problem:
    """A case in single precision, so large that torch shares its operations among several threads."""
    settings = case_settings(name, (64, 64), inner_step_sizes=(0.05,), **(CASES[name].large or {}))
    policy, algorithm = make_policy(settings), make_meta_algorithm(settings)
    rule = training_rule(settings, policy)
    theta = policy.init(0)
    precise = {entry: tensor.double() for entry, tensor in theta.items()}
    stages = [
        batch_as(random_batch(policy, precise, num_tasks=8, num_episodes=16, horizon=25, seed=k), torch.float32)
        for k in range(rule.steps + algorithm.reads_last_stage)
    ]
    meta = Meta(theta, rule.rates(theta))
    ours = learner(policy, rule)._replace(streams=streams_of(range(8)))
    return Problem(settings, ours, algorithm, meta, algorithm.init(meta), stages)


def sampled(ours: Learner, algorithm: MetaAlgorithm, meta: Meta, num_tasks: int, seed: int) -> list[Batch]:
    """One batch per stage that the algorithm reads, in double precision."""
    batches = adapted_batches(ours.policy, ours.rule, meta, num_tasks, seed=seed)
    return batches[: ours.rule.steps + algorithm.reads_last_stage]


def noise(like: Tensor) -> Tensor:
    """Standard normal numbers, always the same."""
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def tensors_of(meta: Meta, state: Params) -> list[Tensor]:
    """Everything that an update gives besides its report."""
    return [*entries(meta), *state.values()]
