import copy
import dataclasses

import numpy as np
import pytest

from rlmaml.base.errors import UserError
from rlmaml.deploy.adaptable import AdaptablePolicy
from rlmaml.deploy.carried_state import how_to_carry
from rlmaml.deploy.driver import Driver
from rlmaml.deploy.fit import lived_through, trial_ends
from rlmaml.sampling.recorded import RecordedEpisodes, joined
from tests.rlmaml.deploy.trained import HORIZON, LEARNED, LIVES, REMEMBERS, moved, navigation, student, trained_policy

SEEN = np.array([[0.7, -0.4]], np.float32)


def driven_episode(driver: Driver, seed: int, reward: float = 0.0) -> RecordedEpisodes:
    """What a driver of one robot sees, does and earns in an episode that has begun.

    Args:
        driver: who acts.
        seed: of where the episode begins.
        reward: that ended the last one.
    """
    env = navigation(1)
    observation, _ = env.reset(seed=[seed])
    rows, earned = [], np.array([reward])
    for step in range(HORIZON):
        action = driver.act(observation, earned)
        following, earned, *_ = env.step(action.astype(np.float64))
        rows.append((observation[0], action[0], earned[0], False, step == HORIZON - 1))
        observation = following
    told, acted, paid, terminated, truncated = map(np.array, zip(*rows, strict=True))
    return RecordedEpisodes(told.astype(np.float32), acted, paid.astype(np.float32), terminated, truncated)


@pytest.mark.filterwarnings("ignore:Nothing is remembered")
@pytest.mark.parametrize("drawn", [False, True], ids=["most likely", "drawn"])
@pytest.mark.parametrize("fresh", [trained_policy(LIVES), student(trial_episodes=3)], ids=["rl2", "rma"])
def test_a_driver_that_goes_on_begins_as_the_policy_that_adapted_to_the_episodes_before(
    fresh: AdaptablePolicy, *, drawn: bool
) -> None:
    """Also where a student's trial of three episodes is over."""
    noise = np.random.default_rng(3)
    policy = moved(fresh)
    driver = Driver(policy, noise=noise if drawn else None)
    lived = [driven_episode(driver, 0)]
    for _ in range(4):
        driver.begin(go_on=True)
        driver.begin(go_on=True)  # nothing was lived through since
        adapted = Driver(policy.adapt(joined(lived)), noise=copy.deepcopy(noise) if drawn else None)
        last = float(lived[-1].rewards[-1])
        lived.append(driven_episode(driver, len(lived), last))
        np.testing.assert_allclose(driven_episode(adapted, len(lived) - 1).actions, lived[-1].actions, atol=1e-6)
    driver.begin()
    begun = driven_episode(driver, 0).actions
    assert drawn or np.array_equal(begun, lived[0].actions)


@pytest.mark.parametrize("policy", [trained_policy(LEARNED), trained_policy(REMEMBERS), student()])
def test_a_policy_that_keeps_nothing_of_an_episode_cannot_go_on_from_it(policy: AdaptablePolicy) -> None:
    driver = Driver(policy)
    before = driver.act(SEEN)
    with pytest.raises(UserError, match=r"cannot go on from an episode.*begin\(\) without go_on"):
        driver.begin(go_on=True)
    driver.begin()
    np.testing.assert_array_equal(driver.act(SEEN), before)


def test_a_students_trial_begins_with_what_it_remembers_whatever_steps_its_parameters_took_before() -> None:
    policy = dataclasses.replace(moved(student(trial_episodes=4)), steps_taken=3)  # within a trust region, say
    assert "after 4 episodes" in how_to_carry(policy)["next_episode_on_the_same_robot"]
    first = driven_episode(Driver(policy), 0)
    once = policy.adapt(first)
    assert once.memory is not None
    assert (once.steps_taken, lived_through(once)) == (4, 1)
    assert "after 3 episodes" in how_to_carry(once)["next_episode_on_the_same_robot"]
    thrice = once.adapt(first).adapt(first)
    assert not trial_ends(thrice, 2)
    assert trial_ends(thrice, 1)
