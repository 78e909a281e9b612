import pytest

from rlmaml.benchmark import PARTS, beside_others, summarise
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
