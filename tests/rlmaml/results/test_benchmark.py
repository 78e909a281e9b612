from types import SimpleNamespace
from typing import Any

import pytest
import torch

from envs import make_tasks_env
from envs.throughput import replay_seconds
from rlmaml.base.random_streams import RandomStreams
from rlmaml.core.types import Rollout
from rlmaml.results.benchmark import PARTS, benchmark_evaluation, beside_physics, beside_pool, replayed, summarise
from rlmaml.settings.config import TrainConfig
from rlmaml.training.initial import initial_theta, make_policy
from rlmaml.training.train import IterationReport, meta_iteration
from tests.rlmaml.evaluation.test_figures import report


def test_figures_are_medians_over_the_repeats_and_rates_count_valid_steps_only() -> None:
    seen = report()
    rollouts = [rollout._replace(valid=rollout.valid & (rollout.rewards < 0)) for rollout in seen.rollouts]
    rollouts[0].valid[0, 0, 3:] = False
    steps = sum(int(rollout.valid.sum()) for rollout in rollouts)
    reports = [
        seen._replace(rollouts=rollouts, seconds=dict.fromkeys((*PARTS, "iteration"), seconds))
        for seconds in (4.0, 1.0, 2.0)
    ]
    figures = summarise(reports, TrainConfig(threads=1))
    assert figures["seconds_per_iteration"] == {"median": 2.0, "min": 1.0, "max": 4.0}
    assert figures["parts"] == dict.fromkeys(PARTS, 2.0)
    assert steps < 2 * 2 * 3 * 6
    assert figures["env_steps_per_second"] == steps / 2.0
    assert figures["repeats"] == 3
    assert figures["peak_memory_mb"] > 50


def timed_reports() -> list[IterationReport]:
    """72 valid steps each, in 0.5, 1 and 2 s inside the environment and twice that in all."""
    seen = report()
    assert sum(int(sampled.valid.sum()) for sampled in seen.rollouts) == 72
    return [seen._replace(seconds={"environment": s, "iteration": 2 * s}) for s in (0.5, 1.0, 2.0)]


def test_the_environment_is_set_beside_its_physics_in_pairs_by_hand() -> None:
    # The physics takes 0.45, 0.96 and 1.6 s: ratios 0.9, 0.96 and 0.8, and rates 160, 75 and 45.
    assert beside_physics(timed_reports(), [0.45, 0.96, 1.6]) == pytest.approx(
        {
            "environment_steps_per_second": 72.0,
            "physics_steps_per_second": 75.0,
            "environment_over_physics": 0.9,
            "iteration_over_physics": 2 / 0.9,
        }
    )


def test_the_environment_is_set_beside_another_simulator_in_pairs_by_hand() -> None:
    # Ours makes 144, 72 and 36 steps a second.
    beside = beside_pool(timed_reports(), [90.0, 36.0, 12.0])
    assert beside == {"envpool_steps_per_second": 36.0, "environment_over_envpool": 2.0}


def test_an_evaluation_is_timed_with_all_its_rollouts_and_not_with_their_replay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = TrainConfig(num_tasks=2, num_episodes=3, horizon=5, evaluation_steps=2, hidden=(8,), threads=1)
    moments = iter([0.0, 4.0, 10.0, 12.0, 20.0, 23.0])
    monkeypatch.setattr("rlmaml.results.benchmark.time", SimpleNamespace(perf_counter=lambda: next(moments)))
    make_env = lambda num_envs: make_tasks_env("Navigation2D-v0", num_envs, config.horizon)
    # Evaluations of 4, 2 and 3 s, each of three rollouts, which take the physics 0.5 s.
    timed = benchmark_evaluation(config, make_env, 3, lambda env, sampled: 0.5)
    assert timed == {"evaluation_seconds": 3.0, "evaluation_over_physics": 2.0}


@pytest.mark.parametrize(("env_id", "horizon"), [("HopperParams-v0", 60), ("HalfCheetahVel-v0", 8)])
def test_replayed_physics_goes_through_the_very_states_of_the_rollouts(env_id: str, horizon: int) -> None:
    config = TrainConfig(env_id=env_id, num_tasks=2, num_episodes=3, horizon=horizon, hidden=(8,), threads=1)
    env = make_tasks_env(env_id, 6, horizon)
    policy = make_policy(config, env)
    _, seen = meta_iteration(env, policy, initial_theta(config, policy), config, 4)
    ends: list[torch.Tensor] = []

    def replay(world: Any, sampled: Rollout) -> float:
        assert replay_seconds(world, sampled.actions.flatten(0, 1).numpy(), sampled.valid.flatten(0, 1).numpy()) > 0
        ends.append(torch.from_numpy(world.worlds.observe()).float())
        return 1.5

    assert replayed(env, seen.rollouts, RandomStreams(config.seed, iteration=4), replay) == 3.0
    for sampled, end in zip(seen.rollouts, ends, strict=True):
        assert torch.equal(sampled.final_observations.flatten(0, 1), end)
    if env_id == "HopperParams-v0":
        assert not seen.rollouts[0].valid.all()
