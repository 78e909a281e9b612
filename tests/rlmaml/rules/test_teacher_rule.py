import pytest
import torch

from rlmaml.core.parameters import for_every_task
from rlmaml.core.types import Meta
from rlmaml.policies.kinds import make_policy
from rlmaml.policies.sizes import Sizes
from rlmaml.rules.adaptation_rule import trained_rule, training_rule
from rlmaml.rules.memory_rule import MemoryRule
from rlmaml.rules.teacher_rule import TeacherRule
from rlmaml.settings.whole import configure
from tests.rlmaml.makers import random_batch, random_theta

SETTINGS = configure("rma", memory=5, latent=3, hidden=(4,), trial_episodes=2)
POLICY = make_policy("latent", SETTINGS.network, Sizes(3, 2, extended=True, task=1))
THETA = random_theta(POLICY) | {"told": torch.zeros((), dtype=torch.float64)}


def test_in_a_training_the_teacher_acts_first_and_then_the_student_through_a_trial() -> None:
    rule = training_rule(SETTINGS, POLICY)
    assert rule == TeacherRule(2, "told")
    per_task = for_every_task(Meta(THETA, {}), 2)
    adaptation = rule.begin(per_task)
    told, memories = [], []
    for k in range(3):
        told.append(float(adaptation.params["told"]))
        memories.append(adaptation.memory)
        batch = random_batch(POLICY, adaptation.params, num_tasks=2, seed=k, memory=adaptation.memory)
        for name, tensor in adaptation.params.items():
            assert name == "told" or torch.equal(tensor, THETA[name])
        adaptation = rule.step(POLICY, per_task, adaptation, batch, k)
    assert told == [1.0, 0.0, 0.0]
    assert memories[0] is None
    assert memories[1] is None
    assert memories[2] is not None


def test_elsewhere_the_student_acts_alone_and_forgets_after_its_trial() -> None:
    rule = trained_rule(SETTINGS, POLICY)
    assert rule == MemoryRule(1, forgets_after=2)
    per_task = for_every_task(Meta(THETA, {}), 2)
    adaptation, remembered = rule.begin(per_task), []
    for k in range(4):
        assert not adaptation.params["told"].any()
        remembered.append(adaptation.memory is not None)
        batch = random_batch(POLICY, adaptation.params, num_tasks=2, seed=k, memory=adaptation.memory)
        adaptation = rule.step(POLICY, per_task, adaptation, batch, k)
    assert remembered == [False, True, False, True]


def test_a_step_has_no_jacobian() -> None:
    rule, per_task = TeacherRule(1, "told"), for_every_task(Meta(THETA, {}), 2)
    start = rule.begin(per_task)
    with pytest.raises(NotImplementedError, match="no Jacobian"):
        rule.jacobian(POLICY, per_task, start, start, 0, bends_on=None)
