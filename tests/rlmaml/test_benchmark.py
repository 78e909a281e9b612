from types import SimpleNamespace

import pytest

from envs import make_tasks_env
from rlmaml.benchmark import PARTS, benchmark_evaluation, beside_others, over_physics, summarise
from rlmaml.config import TrainConfig
from tests.rlmaml.test_figures import report


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


def test_rates_are_set_beside_others_in_pairs_by_hand() -> None:
    # 2 x 3 copies, 6 steps, 1 + 1 rollouts: 72 steps. In 0.5, 1 and 2 s these are 144, 72 and 36 per second.
    config = TrainConfig(num_tasks=2, num_episodes=3, horizon=6, inner_steps=1)
    seen = report()
    reports = [seen._replace(seconds={"environment": seconds, "iteration": 2 * seconds}) for seconds in (0.5, 1.0, 2.0)]
    rates = ((160.0, 72.0), (90.0, 36.0), (36.0, 12.0))
    measured = [{"physics": physics, "envpool": pool} for physics, pool in rates]
    beside = beside_others(reports, measured, config)
    assert beside["environment_steps_per_second"] == 72.0
    assert beside["physics_steps_per_second"] == 90.0
    assert beside["environment_over_physics"] == pytest.approx(0.9)
    assert beside["environment_over_envpool"] == 2.0
    assert beside["iteration_over_physics"] == pytest.approx(1 * 160 / 72)
    assert "iteration_over_physics" not in beside_others(reports, [{"envpool": 1.0}] * 3, config)


def test_a_time_over_that_of_the_physics_is_a_median_of_pairs_by_hand() -> None:
    # 600 steps take the physics 6, 3 and 2 s.
    assert over_physics([9.0, 3.6, 2.2], [100.0, 200.0, 300.0], 600) == pytest.approx(1.2)


def test_an_evaluation_is_timed_with_all_its_rollouts(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(num_tasks=2, num_episodes=3, horizon=5, evaluation_steps=2, hidden=(8,), threads=1)
    moments = iter([0.0, 4.0, 10.0, 12.0, 20.0, 23.0])
    monkeypatch.setattr("rlmaml.benchmark.time", SimpleNamespace(perf_counter=lambda: next(moments)))
    make_env = lambda num_envs: make_tasks_env("Navigation2D-v0", num_envs, config.horizon)
    # 2 x 3 copies, 5 steps, 1 + 2 rollouts: 90 steps, which take the physics 2 s at 45 per second.
    timed = benchmark_evaluation(config, make_env, 3, {"physics": lambda: 45.0})
    assert timed == {"evaluation_seconds": 3.0, "evaluation_over_physics": 1.5}
