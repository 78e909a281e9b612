import pytest

from rlmaml.benchmark import PARTS, beside_physics, summarise
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


def test_rates_are_set_beside_physics_alone_by_hand() -> None:
    # 2 x 3 copies, 10 steps, 1 + 1 rollouts: 120 steps at most; 90 of them in 0.5 s are 180 per second
    config = {"num_tasks": 2, "num_episodes": 3, "horizon": 10, "inner_steps": 1}
    figures = {
        "config": config,
        "env_steps": 90,
        "parts": {"environment": 0.5},
        "seconds_per_iteration": {"median": 0.9},
    }
    beside = beside_physics(figures, physics_rate=200.0, pool_rate=60.0)
    assert beside["environment_over_physics"] == 0.9
    assert beside["iteration_over_physics"] == pytest.approx(0.9 / (120 / 200))
    assert beside["environment_over_envpool"] == 3.0
    assert "envpool_steps_per_second" not in beside_physics(figures, physics_rate=200.0)
