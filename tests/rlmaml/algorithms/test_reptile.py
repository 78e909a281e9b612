import dataclasses
import math

import pytest
import torch
from torch import Tensor

from rlmaml.base.errors import NonFiniteError
from rlmaml.core.types import Batch
from rlmaml.rules.gradient_rule import GradientRule, task_losses
from tests.rlmaml.algorithms.cases import Problem, make_problem
from tests.rlmaml.makers import assert_same, select_tasks, with_both

RATE = 0.01
BATCHED_AND_SERIAL = pytest.mark.parametrize("tasks", [[0, 1, 2, 3], [2]], ids=["four tasks", "one task"])


def mean_adapted(problem: Problem) -> dict[str, Tensor]:
    """``mean_i φ_i``, one task after another."""
    policy, rule = problem.learner.policy, problem.learner.rule
    meta = problem.meta._replace(params={name: tensor.unsqueeze(0) for name, tensor in problem.meta.params.items()})
    adapted = []
    for task in range(len(problem.stages[0].valid)):
        adaptation = rule.begin(meta)
        for k, batch in enumerate(problem.stages):
            adaptation = rule.step(policy, meta, adaptation, select_tasks(batch, [task]), k)
        adapted.append(adaptation.params)
    return {name: torch.cat([params[name] for params in adapted]).mean(0) for name in meta.params}


@BATCHED_AND_SERIAL
def test_theta_moves_by_its_share_of_the_way_to_the_mean_of_the_adapted_parameters(tasks: list[int]) -> None:
    problem = make_problem("reptile").of_tasks(tasks)
    new, _, report = problem.update()
    mean, theta = mean_adapted(problem), problem.meta.params
    for name, tensor in theta.items():
        assert_same(new.params[name] - tensor, 0.5 * (mean[name] - tensor))
    distance = math.sqrt(sum(float((mean[name] - tensor).square().sum()) for name, tensor in theta.items()))
    numbers = report.numbers()
    assert (numbers["distance"], numbers["step_norm"]) == pytest.approx((distance, distance / 2), rel=1e-10)
    assert distance > 0.1


def test_with_one_inner_step_theta_moves_along_the_plain_gradient_of_all_tasks_together() -> None:
    problem = make_problem("reptile")
    rule = problem.learner.rule
    assert isinstance(rule, GradientRule)
    rule = dataclasses.replace(rule, steps=1)
    problem = problem._replace(learner=problem.learner._replace(rule=rule), stages=problem.stages[:1])
    theta = {name: tensor.clone().requires_grad_() for name, tensor in problem.meta.params.items()}
    shared = {name: tensor.expand(4, *tensor.shape) for name, tensor in theta.items()}
    joint = task_losses(problem.learner.policy, shared, problem.stages[0], rule.loss).mean()
    gradients = torch.autograd.grad(joint, list(theta.values()))
    new = problem.update().meta.params
    for (name, tensor), gradient in zip(problem.meta.params.items(), gradients, strict=True):
        assert_same(new[name] - tensor, -0.5 * 0.5 * gradient)  # the outer step's share times the inner step's size
        assert gradient.norm() > 1e-3


@BATCHED_AND_SERIAL
def test_with_adam_its_first_step_goes_the_rate_in_every_entry_towards_the_adapted_parameters(tasks: list[int]) -> None:
    # the bias-corrected moments of a first gradient g are g and g², so that the step is −rate · g / (|g| + ε)
    problem = make_problem("reptile, adam").of_tasks(tasks)
    problem = problem._replace(state=problem.algorithm.init(problem.meta))
    new, state, report = problem.update()
    mean = mean_adapted(problem)
    for name, tensor in problem.meta.params.items():
        towards = mean[name] - tensor
        assert_same(new.params[name] - tensor, RATE * towards / (towards.abs() + 1e-8))
        assert_same(state[f"exp_avg/{name}"], -0.1 * towards)
        assert_same(state[f"exp_avg_sq/{name}"], 0.001 * towards.square())
    assert float(state["step"]) == 1
    size = sum(tensor.numel() for tensor in new.params.values())
    assert report.numbers()["step_norm"] == pytest.approx(RATE * math.sqrt(size), rel=1e-5)


def test_episodes_of_the_adapted_policies_are_sampled_only_to_be_shown_and_change_nothing() -> None:
    problem = make_problem("reptile")
    assert not problem.algorithm.reads_last_stage
    shown = type(problem.algorithm)(problem.settings.changed(sample_last_stage=True).outer)  # type: ignore[call-arg]
    assert shown.reads_last_stage
    last: Batch = with_both(problem.stages[0], lambda each: 100 * each)
    expected, (ours, _, report) = (
        problem.update(),
        problem._replace(algorithm=shown, stages=[*problem.stages, last]).update(),
    )
    for name, tensor in expected.meta.params.items():
        assert torch.equal(ours.params[name], tensor)
    assert report == expected.report


def test_adapted_parameters_that_overflow_are_refused() -> None:
    problem = make_problem("reptile")
    stages = [with_both(batch, lambda each: 1e308 * each) for batch in problem.stages]
    with pytest.raises(NonFiniteError, match="The adapted parameters became NaN or infinite: the inner step sizes"):
        problem._replace(stages=stages).update()
