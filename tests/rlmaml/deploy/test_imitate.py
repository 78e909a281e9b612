from dataclasses import replace

import numpy as np
import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.core.losses import squared_error
from rlmaml.core.parameters import for_every_task
from rlmaml.deploy.adaptable import AdaptablePolicy
from rlmaml.deploy.imitate import imitate, imitation_error
from rlmaml.families.imitation import Demonstrations, Imitation, steps_of
from rlmaml.rules.adaptation_rule import trained_rule
from rlmaml.sampling.recorded import RecordedEpisodes
from rlmaml.storage.family_record import family_record
from tests.rlmaml.deploy.trained import LEARNED, trained_policy
from tests.rlmaml.sampling.test_recorded import recording


def imitator() -> AdaptablePolicy:
    axes = torch.ones(1, 2, 3)
    family = Imitation("it", Demonstrations(axes.unsqueeze(-1).expand(1, 2, 3, 2), axes.unsqueeze(-1), axes > 0), 1, 1)
    return replace(trained_policy(LEARNED), family=family_record(family))


def shown() -> RecordedEpisodes:
    episodes = recording()
    return episodes._replace(observations=episodes.observations[:, :2], rewards=np.zeros(5), final_observations=None)


def test_adapting_takes_the_trained_inner_steps_down_the_squared_error_to_the_actions_as_clipped() -> None:
    policy, episodes = imitator(), shown()
    adapted = imitate(policy, episodes)
    rule, per_task = trained_rule(policy.settings, policy.network, squared_error), for_every_task(policy.meta, 1)
    data = steps_of(episodes._replace(actions=episodes.actions.clip(-1, 1)))
    by_hand = rule.begin(per_task)
    for k in range(2):
        by_hand = rule.step(policy.network, per_task, by_hand, data, k)
    for name, value in adapted.weights.items():
        assert torch.equal(value, by_hand.params[name][0].detach())
    assert imitation_error(adapted, episodes) < imitation_error(policy, episodes)
    assert (adapted.steps_taken, adapted.adaptation) == (2, {"episodes": 2})
    error = np.square(policy.act(episodes.observations) - episodes.actions.clip(-1, 1)).mean()
    assert imitation_error(policy, episodes) == pytest.approx(float(error), rel=1e-5)


def test_steps_one_at_a_time_are_the_steps_at_once() -> None:
    once, both = imitate(imitate(imitator(), shown(), steps=1), shown(), steps=1), imitate(imitator(), shown())
    for name, value in both.weights.items():
        torch.testing.assert_close(once.weights[name], value)


def test_demonstrations_of_another_robot_are_refused_in_one_sentence() -> None:
    with pytest.raises(
        UserError, match=r"f.npz: demonstrations of another robot, with 4 obs.* and 2 actions; this policy's"
    ):
        imitate(imitator(), recording(), source="f.npz")


def test_rewards_and_demonstrations_are_not_mistaken_for_each_other() -> None:
    with pytest.raises(UserError, match="was not trained on demonstrations"):
        imitate(trained_policy(LEARNED), shown())
    with pytest.raises(UserError, match="was trained on demonstrations, and adapts from these"):
        imitator().adapt(recording())
