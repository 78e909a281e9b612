from typing import Any

import pytest
import torch

from rlmaml.base.random_streams import RandomStreams
from rlmaml.base.stopwatch import Stopwatch
from rlmaml.core.adapt import adapt
from rlmaml.core.advantages import with_advantages
from rlmaml.core.losses import INNER_LOSSES
from rlmaml.core.parameters import with_step_sizes, with_task_axis
from rlmaml.core.types import Batch, Params, Rollout
from rlmaml.policies.policy import GaussianMLP
from rlmaml.sampling.episodes import as_lists, stage_by_stage
from rlmaml.settings.config import TrainConfig
from tests.rlmaml.makers import random_theta, vector
from tests.rlmaml.scripted import ScriptedEnvironment

POLICY = GaussianMLP(observation_size=3, action_size=2, hidden=(4,))
NUM_TASKS = 3


def theta() -> Params:
    return {name: tensor.float() for name, tensor in random_theta(POLICY).items()}


def sample(
    params: Params, config: TrainConfig, inner_steps: int = 2, num_tasks: int = NUM_TASKS
) -> tuple[list[Rollout], list[Batch]]:
    env = ScriptedEnvironment(num_tasks * 4, {1: (3, "terminated"), 2: (4, "truncated")})
    env.goals = torch.linspace(0, 2, env.num_envs).numpy()
    streams, clock = RandomStreams(7), Stopwatch()
    stages = stage_by_stage(env, POLICY, params, config, streams, clock, num_tasks=num_tasks, steps=inner_steps)
    return as_lists(stages)


@pytest.mark.parametrize("loss", INNER_LOSSES)
def test_each_batch_is_sampled_with_the_parameters_adapted_on_those_before(loss: Any) -> None:
    config = TrainConfig(horizon=6, inner_loss=loss, inner_step_sizes=(0.3, 0.2), inner_steps=2, threads=1)
    rollouts, batches = sample(theta(), config)
    assert (len(rollouts), len(batches)) == (3, 2)
    params = with_task_axis(theta(), NUM_TASKS)
    for step, sampled in enumerate(rollouts):
        log_probs = POLICY(params, sampled.observations).log_prob(sampled.actions)
        torch.testing.assert_close(sampled.log_probs, log_probs.detach(), rtol=1e-4, atol=1e-4)
        if step < 2:
            before = vector(params)
            params = adapt(POLICY, params, batches[step], loss=INNER_LOSSES[loss], step_size=(0.3, 0.2)[step])
            assert (vector(params) - before).norm() > 1e-2


@pytest.mark.parametrize("time_limit", ["fixed_horizon", "bootstrap"])
def test_batches_are_the_rollouts_with_the_advantages_of_the_configuration(time_limit: Any) -> None:
    config = TrainConfig(horizon=6, discount=0.9, gae_lambda=0.8, time_limit=time_limit, threads=1)
    rollouts, batches = sample(theta(), config)
    bootstrap = time_limit == "bootstrap"
    for sampled, batch in zip(rollouts[:-1], batches, strict=True):
        expected = with_advantages(sampled, discount=0.9, gae_lambda=0.8, bootstrap=bootstrap)
        other = with_advantages(sampled, discount=0.9, gae_lambda=0.8, bootstrap=not bootstrap)
        assert torch.equal(batch.advantages, expected.advantages)
        assert not torch.allclose(batch.advantages, other.advantages, rtol=1e-2)


def test_every_stage_sees_fresh_episodes() -> None:
    rollouts, _ = sample(theta(), TrainConfig(horizon=6, inner_step_sizes=(1e-9,), threads=1))
    assert (rollouts[0].actions != rollouts[1].actions).all()
    assert (rollouts[1].actions != rollouts[2].actions).all()


def test_learned_step_sizes_are_used_where_there_are_any() -> None:
    config = TrainConfig(horizon=6, inner_step_sizes=(5.0,), inner_steps=2, threads=1)
    learned, _ = sample(with_step_sizes(theta(), (0.3, 0.2)), config)
    given, _ = sample(theta(), TrainConfig(horizon=6, inner_step_sizes=(0.3, 0.2), inner_steps=2, threads=1))
    other, _ = sample(theta(), config)
    for ours, expected in zip(learned, given, strict=True):
        torch.testing.assert_close(ours.actions, expected.actions, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(learned[1].actions, other[1].actions, rtol=1e-2)


def test_without_inner_steps_there_is_one_rollout_with_theta() -> None:
    rollouts, batches = sample(theta(), TrainConfig(horizon=6, threads=1), inner_steps=0)
    assert (len(rollouts), len(batches)) == (1, 0)


def test_theta_is_left_alone() -> None:
    params = theta()
    sample(params, TrainConfig(horizon=6, threads=1))
    assert torch.equal(vector(params), vector(theta()))
    assert not any(tensor.requires_grad for tensor in params.values())


def test_a_task_does_not_depend_on_how_many_there_are() -> None:
    config = TrainConfig(horizon=6, threads=1)
    few, many = (sample(theta(), config, num_tasks=num)[0] for num in (1, 3))
    assert many[2].actions.shape[0] == 3
    torch.testing.assert_close(many[0].actions[:1], few[0].actions, rtol=1e-4, atol=1e-4)
