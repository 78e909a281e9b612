from typing import Any

import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.core.types import Params
from rlmaml.policies.latent import LatentPolicy
from rlmaml.policies.sizes import Sizes
from rlmaml.settings.policy import LatentSettings
from tests.rlmaml.makers import assert_same, random_batch, random_theta

POLICY = LatentPolicy(
    LatentSettings(hidden=(4,), memory=5, latent=3, value_head=True), Sizes(3, 2, extended=True, task=1)
)


def theta(told: float) -> Params:
    return random_theta(POLICY) | {"told": torch.full((), told, dtype=torch.float64)}


def test_who_is_told_acts_on_the_task_alone_and_who_guesses_on_history_alone() -> None:
    for told in (1.0, 0.0):
        params = theta(told)
        batch = random_batch(POLICY, params, num_tasks=1, num_episodes=1, horizon=5)
        before = POLICY.unroll(params, batch)[0].distribution.mean
        other_task, other_past = batch.observations.clone(), batch.rewards.clone()
        other_task[..., -1] += 1.0
        other_past[:, :, 1] += 1.0
        by_task = POLICY.unroll(params, batch._replace(observations=other_task))[0].distribution.mean
        by_past = POLICY.unroll(params, batch._replace(rewards=other_past))[0].distribution.mean
        assert (by_task != before).any() == (told == 1.0)
        assert (by_past != before).any() == (told == 0.0)


def test_at_the_teachers_own_latent_the_students_action_is_the_teachers() -> None:
    params = theta(0.0)
    batch = random_batch(POLICY, params, num_tasks=2)
    constant = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    agree = params | {
        name: torch.zeros_like(params[name]) for name in params if name.startswith(("teacher", "student"))
    }
    agree |= {"teacher.layer1.bias": constant, "student.layer0.bias": constant}
    told, guessed = POLICY.latents(agree, batch)
    assert_same(told, guessed)
    assert_same(told, torch.tanh(constant).expand_as(told))
    by_teacher, by_student = (
        POLICY.unroll(agree | {"told": torch.full((), share, dtype=torch.float64)}, batch)[0] for share in (1.0, 0.0)
    )
    assert_same(by_teacher.distribution.mean, by_student.distribution.mean)
    assert_same(by_teacher.value, by_student.value)


def test_what_a_search_adds_shifts_every_tasks_own_guess_within_its_bounds_and_0_shifts_nothing() -> None:
    begun = POLICY.init(0)
    params = theta(0.0) | {name: begun[name].double() for name in (*POLICY.context, *POLICY.bounds)}
    batch = random_batch(POLICY, params, num_tasks=2)

    def mean(**changed: torch.Tensor) -> Any:
        named = {f"latent.{name}": value.double() for name, value in changed.items()}
        return POLICY.unroll(params | named, batch)[0].distribution.mean

    def at(latent: torch.Tensor) -> Any:
        """The mean where the student guesses a constant."""
        constant = {"student.layer0.bias": torch.atanh(latent.double()), "student.layer0.weight": zero}
        return POLICY.unroll(params | constant, batch)[0].distribution.mean

    zero = torch.zeros_like(params["student.layer0.weight"])
    plain = POLICY.unroll(params, batch)[0].distribution.mean
    assert_same(plain, mean(lowest=torch.full((3,), -9.0), highest=torch.full((3,), 9.0)))
    assert not torch.equal(mean(shift=torch.tensor([0.2, 0.0, 0.0])), plain)
    low, high = torch.tensor([0.1, -0.5, 0.2]), torch.tensor([0.3, -0.4, 0.9])
    assert_same(mean(shift=torch.full((3,), 9.0), lowest=low, highest=high), at(high))
    assert_same(mean(shift=torch.full((3,), -9.0), lowest=low, highest=high), at(low))
    several = params | {"latent.shift": torch.tensor([[0.5, 0.0, -0.5], [0.0, 0.1, 0.0]]).double()}
    several = {name: t if name == "latent.shift" else t.expand(2, *t.shape) for name, t in several.items()}
    both = POLICY.unroll(several, batch)[0].distribution.mean
    for task in range(2):
        own = params | {"latent.shift": several["latent.shift"][task]}
        assert_same(both[task], POLICY.unroll(own, batch)[0].distribution.mean[task])


def test_observations_without_the_task_are_enough_for_the_student() -> None:
    params = theta(0.0)
    batch = random_batch(POLICY, params, num_tasks=2)
    with_task = POLICY.unroll(params, batch)[0].distribution.mean
    without = POLICY.unroll(params, batch._replace(observations=batch.observations[..., :2]))[0].distribution.mean
    assert_same(with_task, without)
    assert POLICY.observed == 2


def test_the_students_weights_are_its_memory_and_its_layer() -> None:
    params = theta(0.0)
    assert {name.split(".")[0] for name in POLICY.guessing(params)} == {"memory", "student"}
    assert not set(POLICY.teaching(params)) & {*POLICY.guessing(params), *POLICY.context, *POLICY.bounds, "told"}
    learned = {*POLICY.teaching(params), *POLICY.guessing(params)}
    assert learned == set(params) - {"told", "latent.shift", "latent.lowest", "latent.highest"}
    assert not {name for name in POLICY.acting(params) if name.startswith(("teacher", "value", "told", "log_std"))}


def test_without_the_tasks_parameters_in_the_observation_there_is_no_teacher() -> None:
    with pytest.raises(UserError, match="add --observe-task"):
        LatentPolicy(LatentSettings(), Sizes(3, 2))
