import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rlmaml_envs import make_tasks_env
from rlmaml_envs.locomotion import LocomotionFamily
from rlmaml_envs.registry import FAMILIES, Entry, load_family
from rlmaml_envs.throughput import envpool_name, envpool_rate, replay_seconds


def test_what_is_not_simulated_by_mujoco_has_no_physics_to_replay() -> None:
    env = make_tasks_env("Navigation2D-v0", 2, 5)
    assert not env.has_physics
    with pytest.raises(ValueError, match="not simulated by MuJoCo"):
        replay_seconds(env, np.zeros((2, 5, 2)), np.ones((2, 5), np.bool_))


def test_envpools_bodies_are_found_by_ours() -> None:
    assert envpool_name("HalfCheetahChanged-v0", "damaged") == "HalfCheetah-v5"
    assert envpool_name("AntGoal-v0", "rothfuss2019") == "Ant-v5"
    with pytest.raises(ValueError, match="no body like that of Navigation2D-v0"):
        envpool_name("Navigation2D-v0", "finn2017")
    with pytest.raises(ValueError, match="no body like that of RoverGoal-v0"):
        envpool_name("RoverGoal-v0", "worn")


def test_a_robot_of_gymnasium_is_found_in_a_family_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    walker = load_family("Walker2dVel-v0").variants
    monkeypatch.setitem(FAMILIES, "Mine-v0", Entry(LocomotionFamily("Mine", {"mine": walker["gymnasium"]})))
    assert envpool_name("Mine-v0", "mine") == "Walker2d-v5"


def test_physics_are_timed_where_there_are_some() -> None:
    env = make_tasks_env("RoverGoal-v0", 2, 5)
    assert env.has_physics
    env.reset(seed=0)
    before = env.worlds.observe()
    assert replay_seconds(env, np.ones((2, 5, 2)), np.ones((2, 5), np.bool_)) > 0
    assert (env.worlds.observe() != before).any()


def test_a_replay_goes_through_the_states_of_the_steps_also_where_motors_are_swapped() -> None:
    env = make_tasks_env("HalfCheetahChanged-v0", 2, 5, variant="swapped")
    env.set_tasks(env.sample_tasks(2, seeds=[1, 2]))
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (2, 5, 6))
    for time in range(5):
        env.step(actions[:, time])
    stepped = env.worlds.observe()
    env.reset(seed=0)
    replay_seconds(env, actions, np.ones((2, 5), np.bool_))
    np.testing.assert_array_equal(env.worlds.observe(), stepped)


@pytest.mark.parametrize(
    ("env_id", "variant", "alike"),
    [
        ("HalfCheetahVel-v0", "finn2017", "rothfuss2019"),
        ("AntDir-v0", "finn2017", "gymnasium"),
        ("Walker2dParams-v0", "rothfuss2019", "velocity"),
    ],
)
def test_control_steps_of_another_length_are_not_compared(env_id: str, variant: str, alike: str) -> None:
    with pytest.raises(ValueError, match=f"their rates do not compare. Those of these variants do: {alike}."):
        envpool_name(env_id, variant)


def test_envpool_is_stepped_with_legal_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Any] = []
    space = SimpleNamespace(low=np.full(6, -0.4), high=np.full(6, 0.4))
    pool = SimpleNamespace(reset=lambda: None, step=steps.append, close=lambda: None, action_space=space)
    fake: Any = ModuleType("envpool")
    fake.make_gymnasium = lambda name, num_envs, num_threads: pool
    monkeypatch.setitem(sys.modules, "envpool", fake)
    assert envpool_rate("HalfCheetah-v5", num_copies=3, steps=4, threads=1, std=0.1) > 0
    assert len(steps) == 4
    assert all(action.shape == (3, 6) for action in steps)
    assert 0.03 < np.std(steps) < 0.05
    assert envpool_rate("HalfCheetah-v5", num_copies=3, steps=4, threads=1, std=9.0) > 0
    assert np.abs(steps).max() == 0.4
