import dataclasses
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from envs import make_tasks_env
from envs.vector import TaskVectorEnv
from rlmaml.algorithms.maml_trpo import update
from rlmaml.base.random_streams import RandomStreams
from rlmaml.base.stopwatch import Stopwatch
from rlmaml.core.parameters import with_step_sizes
from rlmaml.core.types import Params
from rlmaml.policies.policy import GaussianMLP
from rlmaml.sampling.episodes import as_lists, stage_by_stage, to_batch
from rlmaml.settings.config import TrainConfig
from rlmaml.training.train import IterationReport, meta_iteration, meta_train
from tests.rlmaml.makers import vector

SMALL = TrainConfig(iterations=3, num_tasks=4, num_episodes=6, horizon=20, hidden=(8,), threads=1)
LARGE = TrainConfig(iterations=1, num_tasks=20, num_episodes=20, horizon=100, threads=1)
"""Large enough that torch shares the operations of the meta-update among its threads."""


def environment(config: TrainConfig) -> TaskVectorEnv:
    return make_tasks_env("Navigation2D-v0", config.num_tasks * config.num_episodes, config.horizon, variant="finn2017")


def make_policy(config: TrainConfig) -> GaussianMLP:
    return GaussianMLP(observation_size=2, action_size=2, hidden=config.hidden)


def initial(config: TrainConfig) -> Params:
    theta = make_policy(config).init(RandomStreams(config.seed).parameter_seed())
    return with_step_sizes(theta, config.step_sizes(config.inner_steps)) if config.learn_step_sizes else theta


def run(config: TrainConfig, theta: Params | None = None, start: int = 0) -> list[tuple[Params, IterationReport]]:
    theta = initial(config) if theta is None else theta
    return list(meta_train(environment(config), make_policy(config), theta, config, start))


def assert_same_run(ours: list[tuple[Params, IterationReport]], theirs: list[tuple[Params, IterationReport]]) -> None:
    """Bit for bit: parameters, tasks, rollouts and reports; only the seconds may differ."""
    assert len(ours) == len(theirs) > 0
    for (theta, report), (other_theta, other) in zip(ours, theirs, strict=True):
        assert list(theta) == list(other_theta)
        assert all(torch.equal(theta[name], other_theta[name]) for name in theta)
        assert report.iteration == other.iteration
        assert report.update == other.update
        assert_same_tasks(report.tasks, other.tasks)
        for sampled, other_sampled in zip(report.rollouts, other.rollouts, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(sampled, other_sampled, strict=True))


def assert_same_tasks(tasks: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    for name in tasks:
        np.testing.assert_array_equal(tasks[name], others[name])


VARIANTS: dict[str, dict[str, Any]] = {
    "maml": {},
    "two steps": {"inner_steps": 2, "stage_weights": (1.0, 1.0, 2.0), "time_limit": "bootstrap"},
    "learned step sizes": {"learn_step_sizes": True, "inner_loss": "dice"},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_the_same_seed_gives_the_same_run(changes: dict[str, Any]) -> None:
    config = dataclasses.replace(SMALL, **changes)
    assert_same_run(run(config), run(config))


def test_different_seeds_give_different_runs() -> None:
    one, other = run(SMALL), run(dataclasses.replace(SMALL, seed=1))
    for (theta, report), (other_theta, other_report) in zip(one, other, strict=True):
        assert not torch.equal(vector(theta), vector(other_theta))
        assert not (report.tasks["goal"] == other_report.tasks["goal"]).any()
        assert (report.rollouts[0].actions != other_report.rollouts[0].actions).any()


def test_every_iteration_has_its_own_tasks_and_actions() -> None:
    reports = [report for _, report in run(SMALL)]
    assert [report.iteration for report in reports] == [0, 1, 2]
    for report, following in pairwise(reports):
        assert not (report.tasks["goal"] == following.tasks["goal"]).any()


def test_theta_changes_in_every_accepted_iteration() -> None:
    thetas = [initial(SMALL), *(theta for theta, _ in run(SMALL))]
    steps = [float((vector(after) - vector(before)).norm()) for before, after in pairwise(thetas)]
    reports = [report.update for _, report in run(SMALL)]
    assert any(report.accepted for report in reports)
    assert steps == pytest.approx([report.step_norm for report in reports], rel=1e-4)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_starting_later_from_the_theta_of_then_is_the_uninterrupted_run(changes: dict[str, Any]) -> None:
    config = dataclasses.replace(SMALL, **changes)
    uninterrupted = run(config)
    for done in (1, 2):
        theta = {name: tensor.clone() for name, tensor in uninterrupted[done - 1][0].items()}
        assert_same_run(run(config, theta, start=done), uninterrupted[done:])


def test_the_global_generators_play_no_part() -> None:
    torch.manual_seed(0)
    first = run(SMALL)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert_same_run(run(SMALL), first)


def test_a_meta_iteration_is_sampling_and_an_update_on_what_was_sampled() -> None:
    env, policy, theta = environment(SMALL), make_policy(SMALL), initial(SMALL)
    new, report = meta_iteration(env, policy, theta, SMALL, 0)
    assert_same_tasks(report.tasks, env.sample_tasks(4, RandomStreams(SMALL.seed).task_seeds(4)))
    assert len(report.rollouts) == SMALL.inner_steps + 1
    assert 0 < report.update.kl <= SMALL.max_kl
    assert not torch.equal(vector(new), vector(theta))
    parts = {"iteration", "rollout", "environment", "advantages", "adapt", "gradient", "curvature", "line_search"}
    assert report.seconds.keys() == parts
    inside = sum(report.seconds[part] for part in parts - {"iteration", "environment"})
    assert inside <= report.seconds["iteration"]


@pytest.mark.parametrize("changes", [{"hidden": (64, 64)}, {"hidden": (128, 96), "inner_loss": "dice"}], ids=str)
def test_the_number_of_threads_changes_no_bit(changes: dict[str, Any]) -> None:
    config = dataclasses.replace(LARGE, **changes)
    assert_same_run(run(dataclasses.replace(config, threads=2)), one := run(config))
    assert_same_run(run(dataclasses.replace(config, rollout_threads=2)), one)
    assert one[0][1].update.accepted


def test_the_number_of_threads_changes_no_bit_at_odd_sizes() -> None:
    config = dataclasses.replace(LARGE, iterations=2, num_tasks=3, num_episodes=7, hidden=(50, 50))
    one = run(config)
    for threads in (2, 3, 7):
        assert_same_run(run(dataclasses.replace(config, threads=threads)), one)


@pytest.mark.slow
@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_the_number_of_threads_changes_no_bit_of_a_longer_run(changes: dict[str, Any]) -> None:
    config = dataclasses.replace(LARGE, iterations=4, hidden=(100, 100), **changes)
    assert_same_run(run(dataclasses.replace(config, threads=2, rollout_threads=2)), run(config))


def test_the_update_draws_no_random_numbers() -> None:
    env, policy, theta = environment(SMALL), make_policy(SMALL), initial(SMALL)
    streams = RandomStreams(SMALL.seed)
    env.set_tasks(env.sample_tasks(4, streams.task_seeds(4)))
    stages = stage_by_stage(env, policy, theta, SMALL, streams, Stopwatch(), num_tasks=4, steps=SMALL.inner_steps)
    rollouts, pre = as_lists(stages)
    post = to_batch(rollouts[-1], SMALL)
    one = update(policy, theta, pre, post, SMALL, Stopwatch())[0]
    other = update(policy, theta, pre, post, dataclasses.replace(SMALL, seed=9), Stopwatch())[0]
    assert torch.equal(vector(one), vector(other))
