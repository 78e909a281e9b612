import dataclasses
import math

import pytest
import torch

from envs import make_tasks_env
from rlmaml.evaluation.effects import adaptation_effects
from rlmaml.evaluation.evaluate import evaluate
from rlmaml.settings.config import TrainConfig
from rlmaml.training.initial import initial_theta, make_policy
from tests.rlmaml.deploy.test_adaptable import CONFIG, LEARNED


@pytest.mark.parametrize("config", [CONFIG, LEARNED])
def test_effects_are_those_of_the_inner_steps_taken_in_the_evaluation(config: TrainConfig) -> None:
    env = make_tasks_env("Navigation2D-v0", 12, config.horizon)
    policy = make_policy(config, env)
    theta = initial_theta(config, policy)
    evaluation = evaluate(env, policy, theta, config, num_tasks=3, steps=2, seed=1)
    effects = adaptation_effects(policy, theta, config, evaluation)
    assert set(effects.layers) == {name for name in theta if not name.startswith("log_step_size.")}
    assert all(change.shape == (2,) for change in effects.layers.values())
    assert effects.layers["layer1.weight"][0] > 0
    assert effects.kl.shape == (2,)
    assert (effects.kl > 0).all()
    constant = math.log(2 * math.pi * math.e)
    start = float(theta["log_std"].sum()) + constant * len(theta["log_std"]) / 2
    assert float(effects.entropy[0]) == pytest.approx(start, rel=1e-5)
    assert effects.entropy.shape == (3,)


def test_no_step_size_no_effect() -> None:
    config = dataclasses.replace(CONFIG, inner_step_sizes=(1e-12,))
    env = make_tasks_env("Navigation2D-v0", 6, config.horizon)
    policy = make_policy(config, env)
    theta = initial_theta(config, policy)
    evaluation = evaluate(env, policy, theta, config, num_tasks=2, steps=1, seed=1)
    effects = adaptation_effects(policy, theta, config, evaluation)
    torch.testing.assert_close(effects.kl, torch.zeros(1), atol=1e-9, rtol=0)
    weights = [change for name, change in effects.layers.items() if name.endswith("weight")]
    assert all(float(change.max()) < 1e-6 for change in weights)
