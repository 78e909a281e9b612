import dataclasses
from typing import NamedTuple

import pytest
import torch

from rlmaml.algorithms.meta_algorithm import REPLAY_TOLERANCE, ReplayError, check_replay, replay, replay_gaps
from rlmaml.core.losses import dice, policy_gradient
from rlmaml.core.parameters import flatten, repeated
from rlmaml.core.types import Meta
from rlmaml.rules.gradient_rule import GradientRule
from tests.rlmaml.makers import adapted_batches, gaussian_policy, learner, random_theta

POLICY = gaussian_policy()
RULE = GradientRule(2, (0.5, 0.3), policy_gradient(dice))
NUM_TASKS = 3


class BareReport(NamedTuple):
    replay_gap: float
    tasks_left_out: int = 0

    def numbers(self) -> dict[str, float]:
        return {}


def test_a_replay_is_the_inner_rules_steps_in_a_row_with_or_without_a_graph() -> None:
    theta = random_theta(POLICY)
    batches = adapted_batches(POLICY, RULE, theta, NUM_TASKS)
    points = repeated(Meta(theta, {}), NUM_TASKS)
    ours = learner(POLICY, RULE)
    with_graph, without = (replay(ours, points, batches[:-1], create_graph=graph) for graph in (True, False))
    adaptation = RULE.begin(points)
    expected = [adaptation.params]
    for k in (0, 1):
        adaptation = RULE.step(POLICY, points, adaptation, batches[k], k)
        expected.append(adaptation.params)
    for stage, one, other in zip(expected, with_graph.adaptations, without.adaptations, strict=True):
        for name, tensor in stage.items():
            assert torch.equal(one.params[name], tensor)
            assert torch.equal(other.params[name], tensor)
    second, first = (
        torch.autograd.grad(flatten(last.values()).sum(), list(points.params.values()), materialize_grads=True)
        for last in (with_graph.adaptations[-1].params, without.adaptations[-1].params)
    )
    assert all(torch.equal(gradient, torch.ones_like(gradient)) for gradient in first)
    assert not all(torch.allclose(gradient, torch.ones_like(gradient)) for gradient in second)


@pytest.mark.parametrize("first_order", [False, True])
def test_what_the_replayed_policies_say_and_its_derivative_are_those_of_acting_once_more(first_order: bool) -> None:
    rule = dataclasses.replace(RULE, first_order=first_order)
    theta = random_theta(POLICY)
    batches = adapted_batches(POLICY, rule, theta, NUM_TASKS)
    points = repeated(Meta(theta, {}), NUM_TASKS)
    replayed = replay(learner(POLICY, rule), points, batches, create_graph=True)
    assert len(replayed.outputs) == len(replayed.adaptations) == len(batches)
    for stage, said, batch in zip(replayed.adaptations, replayed.outputs, batches, strict=True):
        again, _ = POLICY.unroll(stage.params, batch)
        means = [outputs.distribution.mean for outputs in (said, again)]
        assert torch.equal(*means)
        leaves = list(points.params.values())
        ours, theirs = (
            torch.autograd.grad(mean.square().sum(), leaves, retain_graph=True, materialize_grads=True)
            for mean in means
        )
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
        assert any(one.any() for one in ours)


def test_replayed_policies_have_no_gap_and_a_planted_one_is_found_in_its_task() -> None:
    theta = random_theta(POLICY)
    batches = adapted_batches(POLICY, RULE, theta, NUM_TASKS)
    ours = learner(POLICY, RULE)
    outputs = replay(ours, repeated(Meta(theta, {}), NUM_TASKS), batches, create_graph=False).outputs
    assert not replay_gaps(outputs, batches).any()
    for k in range(3):
        log_probs = batches[k].log_probs.clone()
        log_probs[1, 0, 1] -= 0.25
        planted = [*batches[:k], batches[k]._replace(log_probs=log_probs), *batches[k + 1 :]]
        torch.testing.assert_close(replay_gaps(outputs, planted), torch.tensor([0.0, 0.25, 0.0]).double())


def test_a_gap_up_to_the_tolerance_is_rounding() -> None:
    for gap in (0.0, 1e-6, REPLAY_TOLERANCE):
        check_replay(BareReport(gap))


@pytest.mark.parametrize("gap", [1.01 * REPLAY_TOLERANCE, 3.0, float("inf"), float("nan")])
def test_a_larger_gap_is_refused_with_its_size_and_the_cure(gap: float) -> None:
    with pytest.raises(ReplayError, match=rf"differ by up to {gap:.3g} nats.*--device cpu"):
        check_replay(BareReport(gap))
