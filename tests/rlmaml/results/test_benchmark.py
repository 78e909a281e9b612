from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.base.random_streams import RandomStreams
from rlmaml.core.types import Rollout
from rlmaml.results.benchmark import (
    WARM_UP,
    benchmark,
    benchmark_evaluation,
    beside_physics,
    beside_pool,
    in_turn,
    of_method,
    parts,
    replayed,
    summarise,
)
from rlmaml.settings.whole import as_method, configure
from rlmaml.training.begin import begin, make_method
from rlmaml.training.train import IterationReport, meta_iteration
from rlmaml_envs import make_tasks_env
from rlmaml_envs.throughput import replay_seconds
from tests.rlmaml.training.stand_ins import REPORTED as SETTINGS
from tests.rlmaml.training.stand_ins import report

PARTS = ("rollout", "environment", "advantages", "adapt")


def test_figures_are_medians_over_the_repeats_and_rates_count_valid_steps_only() -> None:
    seen = report()
    rollouts = [rollout._replace(valid=rollout.valid & (rollout.rewards < 0)) for rollout in seen.rollouts]
    rollouts[0].valid[0, 0, 3:] = False
    steps = sum(int(rollout.valid.sum()) for rollout in rollouts)
    reports = [
        seen._replace(rollouts=rollouts, seconds=dict.fromkeys((*PARTS, "iteration"), seconds))
        for seconds in (4.0, 1.0, 2.0)
    ]
    figures = summarise(reports, SETTINGS.changed(threads=1))
    assert figures["seconds_per_iteration"] == {"median": 2.0, "min": 1.0, "max": 4.0}
    assert figures["parts"] == dict.fromkeys(PARTS, 2.0)
    assert steps < 2 * 2 * 3 * 6
    assert figures["env_steps_per_second"] == steps / 2.0
    assert figures["repeats"] == 3
    assert figures["threads"] == 1
    assert figures["settings"]["run"]["num_tasks"] == SETTINGS.run.num_tasks
    assert figures["peak_memory_mb"] > 50


def test_parts_are_those_that_every_iteration_has() -> None:
    seen = report()
    times = [{"iteration": 3.0, "gradient": 2.0, "line_search": 1.0}, {"iteration": 3.0, "gradient": 2.0}]
    assert parts([seen._replace(seconds=seconds) for seconds in times]) == ["gradient"]


def make_env(num_envs: int) -> Any:
    return make_tasks_env("Navigation2D-v0", num_envs, SETTINGS.run.horizon)


@pytest.mark.parametrize("algorithm", ["maml-trpo", "reptile"])
def test_a_benchmark_times_the_parts_of_whatever_method_it_is_given(algorithm: str) -> None:
    settings = as_method(SETTINGS, algorithm, "gaussian").changed(threads=1)
    asked: list[int] = []

    def replay(env: Any, sampled: Rollout) -> float:
        asked.append(sampled.valid.shape[2])
        return 0.25

    figures = benchmark(settings, make_env, repeats=2, replay=replay, pool=lambda: 50.0)
    own = {"gradient", "curvature", "line_search"} if algorithm == "maml-trpo" else {"adapt_again", "outer_step"}
    assert own | set(PARTS) == set(figures["parts"])
    assert figures["repeats"] == 2
    assert figures["settings"]["run"]["iterations"] == WARM_UP + 2
    assert figures["settings"]["algorithm"] == algorithm
    stages = 2 if algorithm == "maml-trpo" else 1
    assert asked == [SETTINGS.run.horizon] * 2 * stages
    assert figures["env_steps"] == stages * 2 * 3 * 6
    beside = figures["simulators"]
    assert beside["physics_steps_per_second"] == pytest.approx(figures["env_steps"] / (stages * 0.25))
    assert beside["envpool_steps_per_second"] == 50.0
    slowest = figures["seconds_per_iteration"]["max"]
    assert 0 < sum(figures["parts"][name] for name in own | set(PARTS) - {"environment"}) <= 2 * slowest


def test_methods_are_timed_in_turn_and_measured_by_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def timed(env: Any, method: Any, learned: Any, settings: Any) -> Any:
        del env, method, learned
        for iteration in range(settings.run.iterations):
            order.append(settings.algorithm)
            factor = 3.0 if settings.algorithm == "reptile" else 2.0
            yield None, SimpleNamespace(seconds={"iteration": factor * 2.0**iteration})

    monkeypatch.setattr("rlmaml.results.benchmark.meta_train", timed)
    methods = {name: as_method(SETTINGS, name, "gaussian").changed(threads=1) for name in ("maml-trpo", "reptile")}
    figures = in_turn(methods, lambda settings: make_env, repeats=3)
    assert order == ["maml-trpo", "reptile"] * (WARM_UP + 3)
    assert figures["methods"]["maml-trpo"] == {"median": 16.0, "min": 8.0, "max": 32.0, "ratio": 1.0}
    assert figures["methods"]["reptile"]["ratio"] == 1.5
    assert figures["settings"]["algorithm"] == "maml-trpo"


def test_methods_are_timed_past_their_schedules_and_with_what_was_asked_for() -> None:
    timed = of_method(configure(), "maml++").flat()
    assert timed["first_order_until"] == timed["anneal_stage_weights"] == 0
    assert of_method(configure(inner_steps=3), "reptile").inner.inner_steps == 3
    refused: list[tuple[dict[str, Any], str]] = [
        ({"inner_loss": "dice"}, "promp"),
        ({"inner_steps": 3}, "pretrained"),
        ({"first_order": True}, "reptile"),
    ]
    for asked, method in refused:
        with pytest.raises(UserError, match=f"{method} cannot be timed with --{next(iter(asked)).replace('_', '-')}"):
            of_method(configure(**asked), method)


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
    settings = SETTINGS.changed(evaluation_steps=2, threads=1)
    moments = iter([0.0, 4.0, 10.0, 12.0, 20.0, 23.0])
    monkeypatch.setattr("rlmaml.results.benchmark.time", SimpleNamespace(perf_counter=lambda: next(moments)))
    # Evaluations of 4, 2 and 3 s, each of three rollouts, which take the physics 0.5 s.
    timed = benchmark_evaluation(settings, make_env, 3, lambda env, sampled: 0.5)
    assert timed == {"evaluation_seconds": 3.0, "evaluation_over_physics": 2.0}


@pytest.mark.parametrize(("env_id", "horizon"), [("HopperParams-v0", 60), ("HalfCheetahVel-v0", 8)])
def test_replayed_physics_goes_through_the_very_states_of_the_rollouts(env_id: str, horizon: int) -> None:
    settings = configure(env_id=env_id, num_tasks=2, num_episodes=3, horizon=horizon, hidden=(8,), threads=1)
    env = make_tasks_env(env_id, 6, horizon)
    method = make_method(settings, env)
    _, seen = meta_iteration(env, method, begin(settings, method), settings, 4)
    ends: list[torch.Tensor] = []

    def replay(world: Any, sampled: Rollout) -> float:
        assert replay_seconds(world, sampled.actions.flatten(0, 1).numpy(), sampled.valid.flatten(0, 1).numpy()) > 0
        ends.append(torch.from_numpy(world.worlds.observe()).float())
        return 1.5

    assert replayed(env, seen.rollouts, RandomStreams(settings.run.seed, iteration=4), replay) == 3.0
    for sampled, end in zip(seen.rollouts, ends, strict=True):
        assert torch.equal(sampled.final_observations.flatten(0, 1), end)
    if env_id == "HopperParams-v0":
        assert not seen.rollouts[0].valid.all()
