import pytest
import torch

from rlmaml.core.parameters import for_every_task
from rlmaml.core.types import Batch, Meta
from rlmaml.rules.memory_rule import MemoryRule
from rlmaml.sampling.trials import as_trials
from tests.rlmaml.makers import adapted_batches, assert_same, gru_policy, random_theta, select_tasks

POLICY = gru_policy()
THETA = random_theta(POLICY)
RULE = MemoryRule(2)


def lived() -> list[Batch]:
    return adapted_batches(POLICY, RULE, THETA, num_tasks=3)


def test_theta_without_a_task_axis_serves_every_task_and_nothing_is_remembered_first() -> None:
    start = RULE.begin(for_every_task(Meta(THETA, {}), 3))
    assert all(torch.equal(tensor, THETA[name]) for name, tensor in start.params.items())
    assert start.memory is None
    assert RULE.remembers
    assert RULE.rates(THETA) == {}
    assert RULE.during(7) is RULE


def test_after_each_stage_it_remembers_what_unrolling_the_whole_trial_leaves() -> None:
    stages = lived()
    per_task = for_every_task(Meta(THETA, {}), 3)
    adaptation = RULE.begin(per_task)
    for k, batch in enumerate(stages):
        adaptation = RULE.step(POLICY, per_task, adaptation, batch, k)
        _, expected = POLICY.unroll(THETA, as_trials(stages[: k + 1]))
        assert adaptation.memory is not None
        assert expected is not None
        for ours, whole in zip(adaptation.memory, expected, strict=True):
            assert_same(ours, whole)
        assert all(torch.equal(tensor, THETA[name]) for name, tensor in adaptation.params.items())


def test_permuting_tasks_permutes_what_is_remembered() -> None:
    stages, order = lived(), [2, 0, 1]
    per_task = for_every_task(Meta(THETA, {}), 3)
    ours = theirs = RULE.begin(per_task)
    for k, batch in enumerate(stages):
        theirs = RULE.step(POLICY, per_task, theirs, batch, k)
        ours = RULE.step(POLICY, per_task, ours, select_tasks(batch, order), k)
    assert ours.memory is not None
    assert theirs.memory is not None
    for one, other in zip(ours.memory, theirs.memory, strict=True):
        assert_same(one, other[order])
        assert not torch.allclose(one, other)


def test_a_step_has_no_jacobian() -> None:
    start = RULE.begin(for_every_task(Meta(THETA, {}), 3))
    with pytest.raises(NotImplementedError, match="no Jacobian"):
        RULE.jacobian(POLICY, Meta(THETA, {}), start, start, 0, bends_on=None)
