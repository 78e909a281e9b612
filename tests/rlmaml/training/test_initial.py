import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from envs import make_tasks_env
from rlmaml.base.errors import UserError
from rlmaml.core.parameters import learned_step_sizes, policy_parameters
from rlmaml.settings.config import TrainConfig
from rlmaml.storage.checkpoint import CHECKPOINT, Checkpoint, save_checkpoint
from rlmaml.training.initial import initial_theta, make_policy, random_theta

CONFIG = TrainConfig(hidden=(8, 4), initial_std=0.5, inner_steps=2, inner_step_sizes=(0.3, 0.1), learn_step_sizes=True)


def test_the_policy_fits_the_environment_and_the_configuration() -> None:
    policy = make_policy(CONFIG, make_tasks_env("Navigation2D-v0", 1))
    theta = policy_parameters(initial_theta(CONFIG, policy))
    shapes = [tuple(tensor.shape) for name, tensor in theta.items() if name.endswith("weight")]
    assert shapes == [(8, 2), (4, 8), (2, 4)]
    assert torch.allclose(theta["log_std"], torch.full((2,), math.log(0.5)))


def test_the_policy_divides_by_the_scales_of_the_configuration_which_fit_its_observations() -> None:
    env = make_tasks_env("Navigation2D-v0", 1)
    scaled = dataclasses.replace(CONFIG, observation_scales=(2.0, 3.0))
    assert make_policy(scaled, env).observation_scales == (2.0, 3.0)
    with pytest.raises(UserError, match="has 1 numbers, but observations of Navigation2D-v0, finn2017, have 2"):
        make_policy(dataclasses.replace(CONFIG, observation_scales=(2.0,)), env)


def test_the_task_that_an_oracle_sees_needs_no_scales() -> None:
    env = make_tasks_env("Navigation2D-v0", 1, observe_task=True)
    oracle = dataclasses.replace(CONFIG, observation_scales=(2.0, 3.0), observe_task=True)
    assert make_policy(oracle, env).observation_size == 4


def test_learned_step_sizes_start_from_the_given_ones() -> None:
    theta = initial_theta(CONFIG, make_policy(CONFIG, make_tasks_env("Navigation2D-v0", 1)))
    for step, size in enumerate((0.3, 0.1, 0.1)):
        sizes = learned_step_sizes(theta, step)
        assert set(sizes) == set(policy_parameters(theta))
        assert all(torch.allclose(value, torch.tensor(size)) for value in sizes.values())


def test_theta_follows_from_the_seed_alone() -> None:
    policy = make_policy(CONFIG, make_tasks_env("Navigation2D-v0", 1))
    one, same = initial_theta(CONFIG, policy), initial_theta(dataclasses.replace(CONFIG, num_tasks=3), policy)
    other = initial_theta(dataclasses.replace(CONFIG, seed=1), policy)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["layer0.weight"], other["layer0.weight"])


def test_a_run_that_starts_from_another_takes_its_network_alone(tmp_path: Path) -> None:
    policy = make_policy(CONFIG, make_tasks_env("Navigation2D-v0", 1))
    trained = {name: tensor + 1.0 for name, tensor in initial_theta(CONFIG, policy).items()}
    save_checkpoint(tmp_path / CHECKPOINT, Checkpoint(trained, 3, CONFIG))
    further = dataclasses.replace(CONFIG, seed=5, start_from=str(tmp_path))
    theta = initial_theta(further, policy)
    fresh = random_theta(further, policy)
    assert list(theta) == list(fresh)
    for name in theta:
        assert torch.equal(theta[name], trained[name] if name.startswith("layer") else fresh[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": (8, 5)}, "--hidden is (8, 5), but (8, 4) in"),
        ({"activation": "relu"}, "--activation is relu, but tanh in"),
        ({"observation_scales": (1.0, 2.0)}, "--observation-scales is (1.0, 2.0), but () in"),
        ({"start_from": "nowhere"}, "There is no checkpoint at nowhere"),
    ],
)
def test_a_run_cannot_start_from_another_kind_of_policy(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    policy = make_policy(CONFIG, make_tasks_env("Navigation2D-v0", 1))
    save_checkpoint(tmp_path / CHECKPOINT, Checkpoint(initial_theta(CONFIG, policy), 3, CONFIG))
    further = dataclasses.replace(CONFIG, **{"start_from": str(tmp_path)} | changes)
    with pytest.raises(UserError, match=re.escape(message)):
        initial_theta(further, make_policy(further, make_tasks_env("Navigation2D-v0", 1)))
