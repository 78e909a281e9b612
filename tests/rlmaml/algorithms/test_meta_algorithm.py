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
    for stage, one, other in zip(expected, with_graph, without, strict=True):
        for name, tensor in stage.items():
            assert torch.equal(one[name], tensor)
            assert torch.equal(other[name], tensor)
    second, first = (
        torch.autograd.grad(flatten(stages[-1].values()).sum(), list(points.params.values()), materialize_grads=True)
        for stages in (with_graph, without)
    )
    assert all(torch.equal(gradient, torch.ones_like(gradient)) for gradient in first)
    assert not all(torch.allclose(gradient, torch.ones_like(gradient)) for gradient in second)


def test_replayed_policies_have_no_gap_and_a_planted_one_is_found_in_its_task() -> None:
    theta = random_theta(POLICY)
    batches = adapted_batches(POLICY, RULE, theta, NUM_TASKS)
    ours = learner(POLICY, RULE)
    params = replay(ours, repeated(Meta(theta, {}), NUM_TASKS), batches[:-1], create_graph=False)
    assert not replay_gaps(ours, params, batches).any()
    for k in range(3):
        log_probs = batches[k].log_probs.clone()
        log_probs[1, 0, 1] -= 0.25
        planted = [*batches[:k], batches[k]._replace(log_probs=log_probs), *batches[k + 1 :]]
        torch.testing.assert_close(replay_gaps(ours, params, planted), torch.tensor([0.0, 0.25, 0.0]).double())


def test_a_gap_up_to_the_tolerance_is_rounding() -> None:
    for gap in (0.0, 1e-6, REPLAY_TOLERANCE):
        check_replay(BareReport(gap))


@pytest.mark.parametrize("gap", [1.01 * REPLAY_TOLERANCE, 3.0, float("inf"), float("nan")])
def test_a_larger_gap_is_refused_with_its_size_and_the_cure(gap: float) -> None:
    with pytest.raises(ReplayError, match=rf"differ by up to {gap:.3g} nats.*--device cpu"):
        check_replay(BareReport(gap))
