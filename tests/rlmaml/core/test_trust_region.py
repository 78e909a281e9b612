import dataclasses
from collections.abc import Sequence
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor

from rlmaml.base.errors import NonFiniteError
from rlmaml.core.distributions import Distribution, detach
from rlmaml.core.losses import log_likelihood, policy_gradient
from rlmaml.core.parameters import flatten, unflatten, with_task_axis
from rlmaml.core.surrogate import divergences, surrogate_losses
from rlmaml.core.task_sums import ALONE, TaskMean, mean_over_usable
from rlmaml.core.trust_region import (
    Metric,
    Played,
    TrustRegionStep,
    stage_divergences,
    stage_losses,
    step_weights,
    trust_region_step,
)
from rlmaml.core.types import Meta
from rlmaml.rules.gradient_rule import GradientRule
from rlmaml.settings.trust_region import TrustRegionSettings
from tests.rlmaml.makers import (
    adapted_batches,
    assert_same,
    dense_hessian,
    gaussian_policy,
    random_theta,
    vector,
    with_both,
)

NUM_TASKS = 3
WEIGHTS = (0.25, 0.75)
GAUSSIAN = gaussian_policy()
SETTINGS = TrustRegionSettings(damping=0.03, cg_iterations=30, preconditioner="none")
RULE = GradientRule(1, (0.5,), policy_gradient(log_likelihood))


class Stages:
    """Two stages, before and after a gradient step, that can be played at every point."""

    def __init__(self) -> None:
        self.policy, self.theta = GAUSSIAN, random_theta(GAUSSIAN)
        self.batches = adapted_batches(GAUSSIAN, RULE, self.theta, NUM_TASKS)
        self.start = vector(self.theta)

    def play(self, point: Tensor, *, create_graph: bool = False) -> Played:
        points = Meta(with_task_axis(unflatten(point, self.theta), NUM_TASKS), {})
        begin = RULE.begin(points)
        after = RULE.step(self.policy, points, begin, self.batches[0], 0, create_graph=create_graph)
        params = [begin.params, after.params]
        policies = [
            self.policy.unroll(each, batch)[0].distribution for each, batch in zip(params, self.batches, strict=True)
        ]
        return Played(list(points.params.values()), policies, self.batches, WEIGHTS)

    def at_start(self) -> tuple[Played, list[Distribution], TaskMean]:
        """With a graph; the policies without one; the mean over tasks."""
        played = self.play(self.start, create_graph=True)
        return played, [detach(policy) for policy in played.policies], self.mean()

    def mean(self) -> TaskMean:
        return mean_over_usable(ALONE, [batch.valid for batch in self.batches])

    def without(self, task: int) -> "Stages":
        """The same stages, with no valid step in the second one of a task."""
        valid = self.batches[1].valid.clone()
        valid[task] = False
        self.batches[1] = self.batches[1]._replace(valid=valid)
        return self

    def step(self, settings: TrustRegionSettings = SETTINGS) -> TrustRegionStep:
        played, _, mean = self.at_start()
        return trust_region_step(self.start, played, self.play, lambda: Metric(self.hessian().mv), settings, mean)

    def hessian(self) -> Tensor:
        """Of the mean KL over the tasks that count, at the start."""
        played, old, mean = self.at_start()
        return dense_hessian(mean.share(stage_divergences(played, old)), list(played.points))


def mean_kl(played: Played, old: Sequence[Distribution]) -> Tensor:
    return stage_divergences(played, old).mean()


def test_losses_and_divergences_are_weighted_sums_over_the_stages() -> None:
    stages = Stages()
    _, old, _ = stages.at_start()
    moved = stages.play(stages.start + 0.1)
    parts = [*zip(moved.policies, old, stages.batches, strict=True)]
    losses = [surrogate_losses(new, before, batch) for new, before, batch in parts]
    kls = [divergences(before, new, batch) for new, before, batch in parts]
    assert_same(stage_losses(moved, old), 0.25 * losses[0] + 0.75 * losses[1])
    assert_same(stage_divergences(moved, old), 0.25 * kls[0] + 0.75 * kls[1])
    assert (stage_divergences(moved, old) > 1e-3).all()


def test_before_the_step_the_kl_is_exactly_zero_whether_played_with_or_without_a_graph() -> None:
    stages = Stages()
    _, old, _ = stages.at_start()
    with torch.no_grad():
        again = stages.play(stages.start)
    assert not stage_divergences(again, old).any()
    for new, before in zip(again.policies, old, strict=True):
        assert all(torch.equal(field, other) for field, other in zip(new, before, strict=True))


def test_step_weights_make_the_mean_over_steps_tasks_and_stages() -> None:
    stages = Stages().without(1)
    mean = stages.mean()
    for weight, batch in zip(WEIGHTS, stages.batches, strict=True):
        weights = step_weights(batch, weight, mean)
        assert float(weights.sum()) == pytest.approx(weight)
        assert not weights[~batch.valid].any()
        assert not weights[1].any()
        for task in (0, 2):
            (size,) = set(weights[task][batch.valid[task]].tolist())
            assert size == pytest.approx(weight / 2 / int(batch.valid[task].sum()))


def test_a_step_is_the_natural_gradient() -> None:
    stages = Stages()
    played, old, _ = stages.at_start()
    loss = stage_losses(played, old).mean()
    gradient = flatten(leaf.sum(0) for leaf in torch.autograd.grad(loss, list(played.points), retain_graph=True))
    metric = stages.hessian() + 0.03 * torch.eye(len(gradient)).double()
    done = stages.step()
    natural, step = torch.linalg.solve(metric, -gradient), done.point - stages.start
    assert float(torch.cosine_similarity(step, natural, dim=0)) == pytest.approx(1.0, abs=1e-8)
    assert float(torch.cosine_similarity(step, -gradient, dim=0)) < 0.9
    assert done.accepted
    assert done.gradient_norm == pytest.approx(float(gradient.norm()))
    assert done.step_norm == pytest.approx(float(step.norm()))
    assert done.cg_residual < 1e-4


@pytest.mark.parametrize("max_kl", [0.1, 1e-3])
def test_what_a_step_says_of_itself_is_so(max_kl: float) -> None:
    stages = Stages()
    _, old, _ = stages.at_start()
    done = stages.step(dataclasses.replace(SETTINGS, max_kl=max_kl))
    after = stages.play(done.point)
    assert done.accepted
    assert 0 < done.kl <= max_kl
    assert done.kl == pytest.approx(float(mean_kl(after, old).detach()), rel=1e-9)
    assert done.loss_after == pytest.approx(float(stage_losses(after, old).mean().detach()), rel=1e-9)
    assert done.loss_after < done.loss_before - 1e-3


def test_the_curvature_is_made_once_multiplied_once_per_iteration_and_its_preconditioner_used() -> None:
    stages = Stages()
    played, _, mean = stages.at_start()
    hessian, calls = stages.hessian(), list[str]()
    damped = hessian + SETTINGS.damping * torch.eye(len(hessian), dtype=torch.float64)

    def product(vector: Tensor) -> Tensor:
        calls.append("multiplied")
        return hessian @ vector

    def curvature() -> Metric:
        calls.append("made")
        return Metric(product, lambda vector: torch.linalg.solve(damped, vector))

    settings = dataclasses.replace(SETTINGS, cg_iterations=2)
    done = trust_region_step(stages.start, played, stages.play, curvature, settings, mean)
    assert calls == ["made", *["multiplied"] * 2]
    assert done.cg_residual < 1e-9  # the preconditioner is the exact inverse


def test_without_a_preconditioner_three_times_as_many_iterations_are_taken_where_nobody_says_how_many() -> None:
    stages = Stages()
    hessian = stages.hessian()
    settings = dataclasses.replace(SETTINGS, cg_iterations=None)
    for precondition, expected in [(None, 10), (torch.clone, 3)]:
        played, _, mean = stages.at_start()
        product = Mock(side_effect=lambda vector: hessian @ vector)
        curvature = Mock(return_value=Metric(product, precondition))
        trust_region_step(stages.start, played, stages.play, curvature, settings, mean)
        assert product.call_count == expected


def test_a_task_that_does_not_count_leaves_no_trace() -> None:
    whole, other = Stages().without(1), Stages().without(1)
    left_out = torch.arange(len(other.batches[0].valid)).view(-1, 1, 1) == 1
    other.batches[0] = with_both(other.batches[0], lambda advantages: advantages + 5.0 * left_out)
    assert torch.equal(whole.step().point, other.step().point)
    assert whole.step().accepted


def test_without_an_admissible_step_the_start_is_handed_back_itself() -> None:
    stages = Stages()
    stages.batches = [with_both(batch, torch.zeros_like) for batch in stages.batches]
    done = stages.step()
    assert done.point is stages.start
    assert not done.accepted
    assert (done.step_norm, done.kl, done.gradient_norm, done.cg_residual) == (0.0, 0.0, 0.0, 0.0)


def test_a_line_search_that_fails_with_a_gradient_hands_the_start_back_itself() -> None:
    # one try, under a bound on the KL that is below what rounding leaves of any step
    stages = Stages()
    done = stages.step(dataclasses.replace(SETTINGS, max_kl=1e-40, backtrack_tries=1))
    assert done.point is stages.start
    assert done.gradient_norm > 1e-3
    assert (done.accepted, done.line_search_tries) == (False, 1)
    assert done.loss_after == done.loss_before


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_advantages_that_are_not_finite_are_refused(value: float) -> None:
    stages = Stages()
    first = torch.zeros_like(stages.batches[1].valid)
    first[0, 0, 0] = True
    stages.batches[1] = with_both(stages.batches[1], lambda advantages: advantages.masked_fill(first, value))
    with pytest.raises(NonFiniteError, match="The loss or its gradient's norm became NaN or infinite"):
        stages.step()
