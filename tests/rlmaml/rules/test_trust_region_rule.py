import dataclasses
from typing import Literal

import pytest
import torch

from rlmaml.base.errors import NonFiniteError
from rlmaml.base.threads import torch_threads
from rlmaml.core.distributions import detach
from rlmaml.core.policy import Policy
from rlmaml.core.surrogate import divergences, surrogate_losses
from rlmaml.core.types import Adaptation, Batch, Meta, Params
from rlmaml.rules.trust_region_rule import TrustRegionRule
from rlmaml.settings.trust_region import TrustRegionSettings
from tests.rlmaml.makers import (
    assert_same,
    batch_as,
    dense_hessian,
    gaussian_policy,
    random_batch,
    random_task_params,
    select_tasks,
    summed,
    vector,
)

NUM_TASKS = 3
GAUSSIAN = gaussian_policy()
SETTINGS = TrustRegionSettings(max_kl=0.02, damping=1e-5, cg_iterations=10)


def step(params: Params, batch: Batch, settings: TrustRegionSettings = SETTINGS, policy: Policy = GAUSSIAN) -> Params:
    rule, meta = TrustRegionRule(settings), Meta(params, {})
    return rule.step(policy, meta, rule.begin(meta), batch, 0).params


def problem() -> tuple[Params, Batch]:
    params = random_task_params(GAUSSIAN, NUM_TASKS)
    return params, random_batch(GAUSSIAN, params, NUM_TASKS)


def test_a_step_of_several_tasks_is_that_of_each_alone() -> None:
    params, batch = problem()
    stepped = step(params, batch)
    for task in range(NUM_TASKS):
        alone = {name: tensor[task : task + 1] for name, tensor in params.items()}
        own = step(alone, select_tasks(batch, [task]))
        assert all(torch.equal(stepped[name][task], tensor[0]) for name, tensor in own.items())
        assert (vector(own) - vector(alone)).norm() > 1e-2


def test_a_step_does_not_depend_on_the_number_of_threads() -> None:
    policy = gaussian_policy(hidden=(64, 64))
    double = random_task_params(policy, 1)
    batch = batch_as(random_batch(policy, double, 1, num_episodes=400), torch.float32)
    params = {name: tensor.float() for name, tensor in double.items()}
    settings = dataclasses.replace(SETTINGS, cg_iterations=3)
    steps = []
    for threads in (1, 2):
        with torch_threads(threads):
            steps.append(vector(step(params, batch, settings, policy)))
    assert torch.equal(*steps)
    assert not torch.equal(steps[0], vector(params))


@pytest.mark.parametrize("preconditioner", ["none", "kronecker"])
def test_a_step_is_the_natural_gradient_in_the_metric_of_all_episodes(
    preconditioner: Literal["none", "kronecker"],
) -> None:
    params, batch = problem()
    settings = dataclasses.replace(SETTINGS, damping=0.03, cg_iterations=40, preconditioner=preconditioner)
    stepped = step(params, batch, settings)
    for task in range(NUM_TASKS):
        points = {name: tensor[task : task + 1].clone().requires_grad_() for name, tensor in params.items()}
        its = select_tasks(batch, [task])
        said = GAUSSIAN.unroll(points, its)[0].distribution
        kl, loss = divergences(detach(said), said, its).sum(), surrogate_losses(said, detach(said), its).sum()
        gradient = summed(torch.autograd.grad(loss, list(points.values()), retain_graph=True))
        metric = dense_hessian(kl, list(points.values())) + 0.03 * torch.eye(len(gradient), dtype=torch.float64)
        natural = torch.linalg.solve(metric, -gradient)
        moved = vector({name: (stepped[name] - tensor)[task] for name, tensor in params.items()})
        assert_same(moved / moved.norm(), natural / natural.norm(), rtol=0, atol=1e-5)


def test_a_step_raises_every_tasks_surrogate_return_within_its_kl() -> None:
    params, batch = problem()
    stepped = step(params, batch)
    before, after = (GAUSSIAN.unroll(each, batch)[0].distribution for each in (params, stepped))
    ratio = (after.log_prob(batch.actions) - before.log_prob(batch.actions)).exp()
    for task, valid in enumerate(batch.valid):
        kl = before.kl(after)[task][valid].mean()
        assert 0 < float(kl) <= 0.02
        gain = ((ratio - 1) * batch.advantages)[task][valid].mean()
        assert float(gain) > 1e-4


def test_steps_in_a_row_go_on_from_where_the_last_one_ended() -> None:
    params, batch = problem()
    rule, meta = TrustRegionRule(SETTINGS), Meta(params, {})
    first = rule.step(GAUSSIAN, meta, rule.begin(meta), batch, 0)
    again = random_batch(GAUSSIAN, first.params, NUM_TASKS, seed=1)
    second = rule.step(GAUSSIAN, meta, first, again, 1)
    assert torch.equal(vector(second.params), vector(step(first.params, again)))
    assert not torch.equal(vector(second.params), vector(first.params))


def test_a_task_without_a_valid_step_and_one_without_a_better_policy_stay_as_they_are() -> None:
    params, batch = problem()
    advantages, valid = batch.advantages.clone(), batch.valid.clone()
    valid[0], advantages[1] = False, 0.0
    stepped = step(params, batch._replace(advantages=advantages, valid=valid))
    for name, tensor in params.items():
        assert torch.equal(stepped[name][:2], tensor[:2])
    assert any(not torch.equal(stepped[name][2], tensor[2]) for name, tensor in params.items())


def test_nothing_is_learned_or_remembered_and_no_gradient_recorded() -> None:
    params, batch = problem()
    rule, meta = TrustRegionRule(SETTINGS), Meta(params, {})
    assert rule.rates(params) == {}
    assert rule.begin(meta) == Adaptation(params, ())
    before = vector(params).clone()
    with torch.no_grad():
        stepped = rule.step(GAUSSIAN, meta, rule.begin(meta), batch, 0)
    assert stepped.state == ()
    assert not any(tensor.requires_grad for tensor in (*params.values(), *stepped.params.values()))
    assert torch.equal(vector(params), before)


def test_a_derivative_through_the_step_is_refused() -> None:
    params, batch = problem()
    rule, meta = TrustRegionRule(SETTINGS), Meta(params, {})
    with pytest.raises(NotImplementedError, match="No derivative"):
        rule.step(GAUSSIAN, meta, rule.begin(meta), batch, 0, create_graph=True)
    with pytest.raises(NotImplementedError, match="No derivative"):
        rule.jacobian(GAUSSIAN, meta, rule.begin(meta), rule.begin(meta), 0, bends_on=None)


def test_advantages_that_are_not_finite_are_refused() -> None:
    params, batch = problem()
    batch.advantages[2, 0, 0] = float("nan")
    with pytest.raises(NonFiniteError):
        step(params, batch)
