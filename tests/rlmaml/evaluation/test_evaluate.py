import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from envs import make_tasks_env
from rlmaml.base.random_streams import RandomStreams
from rlmaml.evaluation.evaluate import Evaluation, evaluate
from rlmaml.policies.policy import GaussianMLP
from rlmaml.settings.config import TrainConfig
from rlmaml.training.train import meta_iteration
from tests.rlmaml.makers import vector

POLICY = GaussianMLP(observation_size=2, action_size=2, hidden=(8,))
CONFIG = TrainConfig(num_tasks=4, num_episodes=5, horizon=10, hidden=(8,), threads=1)


def navigation_evaluation(
    config: TrainConfig = CONFIG, num_tasks: int = 4, steps: int = 2, seed: int = 0, **settings: Any
) -> Evaluation:
    env = make_tasks_env("Navigation2D-v0", num_tasks * 5, config.horizon, variant="finn2017")
    theta = POLICY.init(0)
    before = vector(theta).clone()
    evaluation = evaluate(env, POLICY, theta, config, num_tasks=num_tasks, steps=steps, seed=seed, **settings)
    assert torch.equal(vector(theta), before)
    return evaluation


def test_the_summary_by_hand() -> None:
    # Four tasks with returns 1, 2, 3, 6: mean 3, deviation √((4 + 1 + 0 + 9)/3) = √(14/3).
    # The interval is mean ± 3.182446 · √(14/3) / √4, with the 97.5 % quantile of t with three degrees of freedom.
    returns = torch.tensor([[1.0, -1.0], [2.0, -2.0], [3.0, -3.0], [6.0, -6.0]])
    summary = Evaluation({}, returns, {}, [], []).summary()
    assert summary["mean"] == [3.0, -3.0]
    assert summary["std"] == pytest.approx([math.sqrt(14 / 3)] * 2)
    half = 3.182446 * math.sqrt(14 / 3) / 2
    assert summary["ci95"][0] == pytest.approx([3 - half, 3 + half], rel=1e-6)
    assert summary["ci95"][1] == pytest.approx([-3 - half, -3 + half], rel=1e-6)


def test_the_interval_is_that_of_a_t_test() -> None:
    returns = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    summary = Evaluation({}, returns, {}, [], []).summary()
    for stage in range(3):
        interval = scipy.stats.ttest_1samp(returns[:, stage].numpy(), 0.0).confidence_interval(0.95)
        assert summary["ci95"][stage] == pytest.approx([interval.low, interval.high])


def test_a_single_task_has_no_interval() -> None:
    summary = Evaluation({}, torch.tensor([[2.0, 3.0]]), {}, [], []).summary()
    assert summary == {"mean": [2.0, 3.0], "std": [None, None], "ci95": [[None, None], [None, None]]}


def test_equal_returns_have_an_interval_of_width_zero() -> None:
    summary = Evaluation({}, torch.tensor([[2.0], [2.0]]), {}, [], []).summary()
    assert summary == {"mean": [2.0], "std": [0.0], "ci95": [[2.0, 2.0]]}


def test_returns_are_means_over_episodes_after_every_step() -> None:
    evaluation = navigation_evaluation(steps=2)
    assert evaluation.returns.shape == (4, 3)
    for stage, sampled in enumerate(evaluation.rollouts):
        torch.testing.assert_close(evaluation.returns[:, stage], sampled.returns.mean(1))
    assert evaluation.returns.std() > 0.1


def test_no_steps_leave_theta_as_it_is() -> None:
    assert navigation_evaluation(steps=0).returns.shape == (4, 1)


def test_the_first_stage_does_not_depend_on_how_many_follow() -> None:
    few, many = navigation_evaluation(steps=1), navigation_evaluation(steps=3)
    assert torch.equal(few.returns, many.returns[:, :2])


def test_steps_beyond_the_trained_ones_use_the_last_step_size() -> None:
    short = navigation_evaluation(dataclasses.replace(CONFIG, inner_step_sizes=(0.5, 0.2), inner_steps=2), steps=3)
    long = navigation_evaluation(dataclasses.replace(CONFIG, inner_step_sizes=(0.5, 0.2, 0.2)), steps=3)
    other = navigation_evaluation(dataclasses.replace(CONFIG, inner_step_sizes=(0.5, 0.2, 0.5)), steps=3)
    assert torch.equal(short.returns, long.returns)
    assert not torch.equal(short.returns, other.returns)


def test_adaptation_may_be_within_a_trust_region_whatever_the_trained_inner_steps() -> None:
    inner, within = navigation_evaluation(), navigation_evaluation(trust_region=0.05)
    other = navigation_evaluation(
        dataclasses.replace(CONFIG, inner_step_sizes=(0.7,), inner_steps=3), trust_region=0.05
    )
    assert torch.equal(within.returns[:, 0], inner.returns[:, 0])
    assert not (within.returns[:, 1:] == inner.returns[:, 1:]).any()
    assert torch.equal(within.returns, other.returns)


def test_without_its_rollouts_an_evaluation_is_the_same() -> None:
    kept, lean = navigation_evaluation(), navigation_evaluation(keep_rollouts=False)
    assert (len(kept.rollouts), len(lean.rollouts)) == (3, 0)
    assert kept.as_json({}) == lean.as_json({})


def test_held_out_tasks_are_not_those_of_training_with_the_same_seed() -> None:
    env = make_tasks_env("Navigation2D-v0", 20, CONFIG.horizon, variant="finn2017")
    held_out = navigation_evaluation(seed=CONFIG.seed).tasks["goal"]
    for iteration in range(3):
        _, report = meta_iteration(env, POLICY, POLICY.init(0), CONFIG, iteration)
        distances = np.linalg.norm(report.tasks["goal"][:, None] - held_out[None], axis=-1)
        assert distances.min() > 1e-4


def test_another_seed_evaluates_on_other_tasks_and_the_same_seed_on_the_same() -> None:
    one, same, other = (navigation_evaluation(seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.returns, same.returns)
    assert not (one.tasks["goal"] == other.tasks["goal"]).any()


def test_tasks_are_those_of_the_evaluations_own_streams() -> None:
    env = make_tasks_env("Navigation2D-v0", 20, CONFIG.horizon, variant="finn2017")
    training = env.sample_tasks(4, RandomStreams(0).task_seeds(4))["goal"]
    assert not (training == navigation_evaluation(seed=0).tasks["goal"]).any()


def test_an_evaluation_is_plain_data() -> None:
    evaluation = navigation_evaluation(num_tasks=1)
    data = json.loads(json.dumps(evaluation.as_json({"commit": "abc"}), allow_nan=False))
    assert np.shape(data["per_task"]) == (1, 3)
    assert data["returns"] == evaluation.summary()
    assert data["config"] == {"commit": "abc"}
    assert data["tasks"]["goal"] == evaluation.tasks["goal"].tolist()


def test_the_terms_of_the_reward_add_up_to_the_return() -> None:
    evaluation = navigation_evaluation(steps=1)
    terms = evaluation.terms
    assert list(terms) == ["distance_cost"]
    assert terms["distance_cost"] == pytest.approx(evaluation.returns.mean(0).tolist(), rel=1e-5)


def test_tasks_beyond_the_training_range_are_outside_of_its_space() -> None:
    env = make_tasks_env("Navigation2D-v0", 20, 5)
    evaluation = evaluate(env, POLICY, POLICY.init(0), TrainConfig(), num_tasks=10, steps=0, seed=1, beyond=True)
    assert (np.abs(evaluation.tasks["goal"]).max(axis=1) > 0.5).all()
