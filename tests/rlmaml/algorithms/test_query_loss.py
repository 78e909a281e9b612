import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from rlmaml.algorithms.adam import adam
from rlmaml.algorithms.meta_algorithm import Learner
from rlmaml.algorithms.query_loss import QueryLoss, QueryReport, shortened
from rlmaml.algorithms.registry import make_meta_algorithm
from rlmaml.base.errors import NonFiniteError
from rlmaml.core.losses import squared_error
from rlmaml.core.parameters import as_meta, flatten, for_every_task, meta_vector, named, unflatten
from rlmaml.core.task_sums import ALONE, TaskSums
from rlmaml.core.types import Examples, Meta, Params
from rlmaml.policies.gaussian import GaussianPolicy
from rlmaml.policies.sizes import Sizes
from rlmaml.rules.adaptation_rule import trained_rule
from rlmaml.rules.gradient_rule import task_losses
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.settings.whole import Settings
from tests.rlmaml.algorithms.task_threads import one_thread_per_task
from tests.rlmaml.families.supervised import METHODS, random_examples, supervised
from tests.rlmaml.makers import assert_same, central_differences, random_theta, streams_of

NUM_TASKS = 3
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, options) for name, options in METHODS.items()},
    "learned sizes": ("maml-trpo", {"inner_steps": 2, "learn_step_sizes": True}),
    "a loss after every step": ("maml-trpo", {"inner_steps": 2, "stage_weights": (1.0, 2.0, 3.0)}),
    "linear": ("maml-trpo", {"hidden": ()}),
    "held near theta": ("maml-trpo", {"inner_steps": 3, "inner_l2": 0.3, "inner_kl": 0.7}),
}
NATURAL: dict[str, Any] = {"outer_optimiser": "trust_region", "cg_iterations": 4}
CASES |= {
    "natural gradient": ("maml-trpo", {**NATURAL, "inner_steps": 2, "learn_step_sizes": True}),
    "natural gradient, stages": ("maml-trpo", {**NATURAL, "inner_steps": 2, "stage_weights": (1.0, 2.0, 3.0)}),
    "natural gradient, first order": ("fomaml", {**NATURAL, "preconditioner": "none"}),
}
BY_ADAM = [name for name, (_, options) in CASES.items() if options.get("outer_optimiser") != "trust_region"]
SECOND_ORDER = [name for name in BY_ADAM if CASES[name][0] != "fomaml"]


class Posed:
    """Everything that an update is given, in double precision."""

    def __init__(self, name: str) -> None:
        method, options = CASES[name]
        self.settings: Settings = supervised(method, **options)
        self.policy = GaussianPolicy(self.settings.network, Sizes(3, 2))
        self.rule: InnerRule = trained_rule(self.settings, self.policy, squared_error)
        theta = random_theta(self.policy)
        self.meta = Meta(theta, {n: rate.double() for n, rate in self.rule.rates(theta).items()})
        support = [random_examples(NUM_TASKS, seed=1)] * self.rule.steps
        self.stages = [*support, random_examples(NUM_TASKS, 7, seed=2)]
        self.algorithm = make_meta_algorithm(self.settings)
        self.state = {n: t.double() for n, t in self.algorithm.init(self.meta).items()}

    def learner(self, sums: TaskSums = ALONE) -> Learner:
        return Learner(self.policy, self.rule, sums, streams_of(range(NUM_TASKS)))

    def update(self, stages: Sequence[Examples] | None = None, sums: TaskSums = ALONE) -> tuple[Meta, Params, Any]:
        return self.algorithm.update(self.learner(sums), self.meta, self.state, stages or self.stages)

    def objective(self, vector: Tensor) -> Tensor:
        """The meta-objective by its definition: adapt on the support sets, and weigh the query losses."""
        meta = for_every_task(as_meta(vector, self.meta), NUM_TASKS)
        adaptation, query = self.rule.begin(meta), self.stages[-1]
        losses = [task_losses(self.policy, adaptation.params, query, squared_error)]
        for k in range(self.rule.steps):
            adaptation = self.rule.step(self.policy, meta, adaptation, self.stages[k], k)
            losses.append(task_losses(self.policy, adaptation.params, query, squared_error))
        weights = self.settings.outer.weights(self.rule.steps)
        return torch.stack([weight * loss.mean() for weight, loss in zip(weights, losses, strict=True)]).sum()


def changed(examples: Examples, **fields: Any) -> Examples:
    return examples._replace(**fields)


@pytest.mark.parametrize("name", SECOND_ORDER)
def test_the_step_is_adams_along_the_gradient_of_finite_differences(name: str) -> None:
    posed = Posed(name)
    assert isinstance(posed.algorithm, QueryLoss)
    numeric = central_differences(posed.objective, meta_vector(posed.meta))
    assert float(numeric.norm()) > 1e-2
    new, state, report = posed.update()
    assert isinstance(report, QueryReport)
    assert report.loss == pytest.approx(float(posed.objective(meta_vector(posed.meta))), rel=1e-9)
    assert report.gradient_norm == pytest.approx(float(numeric.norm()), rel=1e-6)
    gradient = unflatten(numeric, named(posed.meta))
    for entry, tensor in gradient.items():
        assert_same(state[f"exp_avg/{entry}"], 0.1 * tensor, rtol=1e-5, atol=1e-9)
    exact = {entry: 10 * state[f"exp_avg/{entry}"] for entry in gradient}
    expected, _ = adam(named(posed.meta), exact, posed.state, posed.settings.outer.adam_step_size)
    assert_same(meta_vector(new), flatten(expected.values()), rtol=1e-9)


@pytest.mark.parametrize("iteration", [0, 2, 4])
def test_a_meta_iterations_stage_weights_and_step_size_are_those_of_the_schedule_set_by_hand(iteration: int) -> None:
    posed, by_hand = Posed("learned sizes"), Posed("learned sizes")
    outer = dataclasses.replace(posed.settings.outer, anneal_stage_weights=4, cosine_iterations=4)
    learner = posed.learner()
    late = learner._replace(streams=dataclasses.replace(learner.streams, iteration=iteration))
    new, state, report = QueryLoss(outer).update(late, posed.meta, posed.state, posed.stages)
    weights, length = {0: ((0.0, 1.0, 1.0), 1.0), 2: ((0.0, 1.0, 3.0), 0.55), 4: ((), 0.1)}[iteration]
    rate = length * outer.adam_step_size
    by_hand.algorithm = QueryLoss(
        dataclasses.replace(by_hand.settings.outer, stage_weights=weights, adam_step_size=rate)
    )
    expected, moments, other = by_hand.update()
    assert_same(meta_vector(new) - meta_vector(posed.meta), meta_vector(expected) - meta_vector(posed.meta))
    assert report.numbers() == pytest.approx(other.numbers(), rel=1e-10)
    for name, moment in moments.items():
        assert_same(state[name], moment)


def test_first_order_differs_from_the_derivative() -> None:
    first, second = Posed("fomaml").update()[2], Posed("maml-trpo").update()[2]
    assert first.loss == pytest.approx(second.loss, rel=1e-12)
    assert first.gradient_norm != pytest.approx(second.gradient_norm, rel=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_all_tasks_at_once_are_a_loop_over_tasks(name: str) -> None:
    posed = Posed(name)
    new, _, report = posed.update()

    def of_task(task: int, sums: TaskSums) -> tuple[Meta, Params, Any]:
        stages = [Examples(*(field[task : task + 1] for field in data)) for data in posed.stages]
        return posed.update(stages, sums)

    for alone, _, other in one_thread_per_task(NUM_TASKS, of_task):
        assert_same(meta_vector(alone), meta_vector(new))
        assert other.numbers() == pytest.approx(report.numbers(), rel=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_padding_changes_nothing(name: str) -> None:
    posed = Posed(name)
    stages = [
        changed(
            data,
            observations=torch.where(data.valid.unsqueeze(-1), data.observations, 9.0),
            targets=torch.where(data.valid.unsqueeze(-1), data.targets, -7.0),
        )
        for data in posed.stages
    ]
    assert not torch.equal(stages[0].targets, posed.stages[0].targets)
    new, _, report = posed.update()
    padded, _, other = posed.update(stages)
    assert torch.equal(meta_vector(padded), meta_vector(new))
    assert report == other


@pytest.mark.parametrize("name", ["maml-trpo", "natural gradient"])
def test_a_task_without_an_example_leaves_the_update_whole(name: str) -> None:
    posed = Posed(name)
    rest = [Examples(*(field[[0, 2]] for field in data)) for data in posed.stages]
    expected, _, _ = posed.update(rest)
    for stage in range(len(posed.stages)):
        stages = list(posed.stages)
        valid = stages[stage].valid.clone()
        valid[1] = False
        stages[stage] = changed(stages[stage], valid=valid)
        left, _, report = posed.update(stages)
        assert report.tasks_left_out == 1
        assert_same(meta_vector(left), meta_vector(expected))
    nobody = [changed(data, valid=torch.zeros_like(data.valid)) for data in posed.stages]
    meta, state, report = posed.update(nobody)
    assert meta is posed.meta
    assert state is posed.state
    assert report.tasks_left_out == NUM_TASKS


def test_a_loss_that_is_no_number_is_refused() -> None:
    posed = Posed("maml-trpo")
    *support, query = posed.stages
    with pytest.raises(NonFiniteError, match="The query loss or its gradient's norm"):
        posed.update([*support, changed(query, targets=1e200 * query.targets)])


def test_a_gradient_of_finite_entries_whose_norm_is_none_is_refused() -> None:
    posed = Posed("linear")
    *support, query = posed.stages
    with pytest.raises(NonFiniteError, match="The query loss or its gradient's norm"):
        posed.update([*support, changed(query, observations=1e90 * query.observations)])


@pytest.mark.parametrize("name", ["meta-sgd", "natural gradient"])
def test_nothing_that_is_given_is_written_to(name: str) -> None:
    posed = Posed(name)
    before = [tensor.clone() for tensor in (*named(posed.meta).values(), *posed.state.values())]
    posed.update()
    after = [*named(posed.meta).values(), *posed.state.values()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert not any(tensor.requires_grad for tensor in after)


def test_a_long_gradient_is_shortened_before_adam_and_a_short_one_left_as_it_is() -> None:
    gradient = torch.tensor([3.0, -4.0])
    assert shortened(gradient, 0.5).tolist() == pytest.approx([0.3, -0.4])
    assert shortened(gradient, 5.0) is gradient
    assert shortened(gradient, 0.0) is gradient
    posed = Posed("maml-trpo")
    _, free, report = posed.update()
    outer = dataclasses.replace(posed.settings.outer, max_gradient_norm=report.gradient_norm / 4)
    posed.algorithm = QueryLoss(outer)
    _, short, other = posed.update()
    assert other.gradient_norm == report.gradient_norm
    for name, moment in free.items():
        if name.startswith("exp_avg/"):
            assert_same(short[name], moment / 4)
