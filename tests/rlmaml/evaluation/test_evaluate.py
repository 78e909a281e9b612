import json
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from rlmaml.base.errors import UserError
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.core.parameters import detached, for_every_task, with_task_axis
from rlmaml.core.types import Adaptation, Meta, Params
from rlmaml.evaluation.evaluate import Evaluation, adapted_in_stages, at_the_worst, evaluate
from rlmaml.rules.adaptation_rule import adaptation_rule
from rlmaml.rules.gradient_rule import GradientRule
from rlmaml.sampling.collect import episodes_of, to_batch
from rlmaml.settings.whole import Settings, configure
from rlmaml.training.begin import make_method
from rlmaml.training.train import Learned, meta_iteration
from rlmaml_envs import make_tasks_env
from tests.rlmaml.makers import gaussian_policy, gru_policy, random_theta, single, vector
from tests.rlmaml.scripted import ScriptedEnvironment

POLICY = gaussian_policy(observation_size=2, hidden=(8,))
SETTINGS = configure(num_tasks=4, num_episodes=5, horizon=10, hidden=(8,), threads=1)


def navigation_evaluation(
    settings: Settings = SETTINGS,
    num_tasks: int = 4,
    steps: int = 2,
    seed: int = 0,
    trust_region: float | None = None,
    **options: Any,
) -> Evaluation:
    env = make_tasks_env("Navigation2D-v0", num_tasks * 5, settings.run.horizon, variant="finn2017")
    rule = adaptation_rule(settings, POLICY, trust_region)
    params = POLICY.init(0)
    meta = Meta(params, rule.rates(params))
    before = vector(meta).clone()
    evaluation = evaluate(env, POLICY, rule, meta, settings, num_tasks=num_tasks, steps=steps, seed=seed, **options)
    assert torch.equal(vector(meta), before)
    return evaluation


@pytest.fixture(scope="module")
def plain() -> Evaluation:
    """Four tasks and two steps."""
    return navigation_evaluation()


def of_returns(returns: torch.Tensor) -> Evaluation:
    stages = returns.shape[1]
    return Evaluation({}, returns, {}, [0] * stages, [0.0] * stages, returns, [])


def test_the_summary_by_hand() -> None:
    # Four tasks with returns 1, 2, 3, 6: mean 3, deviation √((4 + 1 + 0 + 9)/3) = √(14/3).
    # The interval is mean ± 3.182446 · √(14/3) / √4, with the 97.5 % quantile of t with three degrees of freedom.
    returns = torch.tensor([[1.0, -1.0], [2.0, -2.0], [3.0, -3.0], [6.0, -6.0]])
    summary = of_returns(returns).summary()
    assert summary["mean"] == summary["mean_with_failed"] == [3.0, -3.0]
    assert summary["std"] == pytest.approx([math.sqrt(14 / 3)] * 2)
    half = 3.182446 * math.sqrt(14 / 3) / 2
    assert summary["ci95"][0] == pytest.approx([3 - half, 3 + half], rel=1e-6)
    assert summary["ci95"][1] == pytest.approx([-3 - half, -3 + half], rel=1e-6)


def test_the_interval_is_that_of_a_t_test() -> None:
    returns = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    summary = of_returns(returns).summary()
    for stage in range(3):
        interval = scipy.stats.ttest_1samp(returns[:, stage].numpy(), 0.0).confidence_interval(0.95)
        assert summary["ci95"][stage] == pytest.approx([interval.low, interval.high])


def test_a_single_task_has_no_interval() -> None:
    summary = of_returns(torch.tensor([[2.0, 3.0]])).summary()
    assert summary["mean"] == [2.0, 3.0]
    assert summary["std"] == [None, None]
    assert summary["ci95"] == [[None, None], [None, None]]


def test_equal_returns_have_an_interval_of_width_zero() -> None:
    summary = of_returns(torch.tensor([[2.0]] * 3)).summary()
    assert summary["mean"] == [2.0]
    assert summary["std"] == [0.0]
    assert summary["ci95"] == [[2.0, 2.0]]


def test_tasks_of_which_nothing_is_known_are_left_out_of_a_stage_s_numbers() -> None:
    nan = float("nan")
    evaluation = of_returns(torch.tensor([[1.0, nan, nan], [3.0, 5.0, nan], [2.0, 9.0, nan]], dtype=torch.float64))
    summary = evaluation.summary()
    assert summary["mean"] == [2.0, 7.0, None]
    assert summary["std"] == [pytest.approx(1.0), pytest.approx(math.sqrt(8)), None]
    interval = scipy.stats.ttest_1samp([1.0, 3.0, 2.0], 0.0).confidence_interval(0.95)
    assert summary["ci95"] == [pytest.approx([interval.low, interval.high]), [None, None], [None, None]]
    plain_data = json.loads(json.dumps(evaluation.as_json({}), allow_nan=False))
    assert plain_data["per_task"] == [[1.0, None, None], [3.0, 5.0, None], [2.0, 9.0, None]]


def test_failed_episodes_count_as_the_worst_that_was_seen() -> None:
    nan = float("nan")
    assert at_the_worst(torch.tensor([[3.0, nan], [-7.0, 5.0]])).tolist() == [[3.0, -7.0], [-7.0, 5.0]]
    assert at_the_worst(torch.tensor([[3.0, 1.0]])).tolist() == [[3.0, 1.0]]
    assert at_the_worst(torch.tensor([nan, nan])).isnan().all()


def scripted_evaluation(ends: dict[int, tuple[int, str]], steps: int = 1) -> Evaluation:
    """Three tasks of two episodes; copy c earns 100 (c + 1) + t in its step t, and its goal of 0."""
    env, policy = ScriptedEnvironment(6, ends), gaussian_policy()
    env.horizon = 3
    env.set_tasks = lambda tasks: None  # type: ignore[method-assign]
    settings = SETTINGS.changed(inner_step_sizes=(1e-3,))
    meta = Meta(single(random_theta(policy)), {})
    rule = adaptation_rule(settings, policy)
    return evaluate(env, policy, rule, meta, settings, num_tasks=3, steps=steps, seed=0)


def test_episodes_that_failed_by_hand() -> None:
    # Sound episodes of three steps return 300 (c + 1) + 6: 306, 606, 906, 1206, 1506, 1806. Copy 1 and, of the third
    # task, copies 4 and 5 fail. So the tasks' means are 306, 1056 and nothing; the worst return is 306.
    evaluation = scripted_evaluation({1: (2, "unstable"), 4: (1, "unstable"), 5: (3, "unstable")})
    for stage in range(2):
        column = evaluation.returns[:, stage]
        assert column[:2].tolist() == [306.0, 1056.0]
        assert math.isnan(column[2])
        assert evaluation.returns_with_failed[:, stage].tolist() == [306.0, 1056.0, 306.0]
    assert evaluation.unstable_episodes == [3, 3]
    assert evaluation.share_unstable == [0.5, 0.5]
    assert evaluation.terms == {"step_reward": [pytest.approx((306 + 906 + 1206) / 3)] * 2, "goal_reward": [0.0] * 2}
    summary = evaluation.summary()
    assert summary["mean"] == [681.0, 681.0]
    assert summary["mean_with_failed"] == [556.0, 556.0]
    assert summary["share_unstable"] == [0.5, 0.5]
    assert summary["std"] == pytest.approx([375 * math.sqrt(2)] * 2)
    plain_data = json.loads(json.dumps(evaluation.as_json({}), allow_nan=False))
    assert plain_data["per_task"] == [[306.0, 306.0], [1056.0, 1056.0], [None, None]]
    assert plain_data["unstable_episodes"] == [3, 3]
    assert plain_data["returns"] == summary


def test_the_worst_return_is_that_of_any_stage_and_task(monkeypatch: pytest.MonkeyPatch) -> None:
    # copy 0 fails before adaptation only; what it returns afterwards is the worst that is seen
    env, policy = ScriptedEnvironment(4, {0: (2, "unstable")}), gaussian_policy()
    env.horizon = 3
    env.set_tasks = lambda tasks: None  # type: ignore[method-assign]
    reset = env.reset

    def sound_from_the_second_on(**options: Any) -> Any:
        if env.seeds:
            env.ends = {}
        return reset(**options)

    monkeypatch.setattr(env, "reset", sound_from_the_second_on)
    settings = SETTINGS.changed(inner_step_sizes=(1e-3,))
    meta, rule = Meta(single(random_theta(policy)), {}), adaptation_rule(settings, policy)
    evaluation = evaluate(env, policy, rule, meta, settings, num_tasks=2, steps=1, seed=0)
    assert evaluation.share_unstable == [0.25, 0.0]
    assert evaluation.returns.tolist() == [[606.0, 456.0], [1056.0, 1056.0]]
    assert evaluation.returns_with_failed.tolist() == [[456.0, 456.0], [1056.0, 1056.0]]


def test_where_every_simulation_failed_nothing_is_known_and_nothing_breaks() -> None:
    evaluation = scripted_evaluation(dict.fromkeys(range(6), (2, "unstable")))
    assert evaluation.returns.isnan().all()
    summary = evaluation.summary()
    assert summary["mean"] == summary["mean_with_failed"] == summary["std"] == [None, None]
    assert summary["share_unstable"] == [1.0, 1.0]
    assert json.loads(json.dumps(evaluation.as_json({}), allow_nan=False))["terms"]["step_reward"] == [None, None]


def test_returns_are_means_over_episodes_after_every_step(plain: Evaluation) -> None:
    assert plain.returns.shape == (4, 3)
    for stage, sampled in enumerate(plain.rollouts):
        torch.testing.assert_close(plain.returns[:, stage], sampled.returns.mean(1))
    assert plain.returns.std() > 0.1
    assert torch.equal(plain.returns_with_failed, plain.returns)
    assert plain.share_unstable == [0.0] * 3


def test_no_steps_leave_theta_as_it_is() -> None:
    assert navigation_evaluation(steps=0).returns.shape == (4, 1)


def test_the_first_stage_does_not_depend_on_how_many_follow(plain: Evaluation) -> None:
    assert torch.equal(navigation_evaluation(steps=1).returns, plain.returns[:, :2])


def test_steps_beyond_the_trained_ones_use_the_last_step_size() -> None:
    short, long, other = (
        navigation_evaluation(SETTINGS.changed(inner_step_sizes=sizes, inner_steps=2), steps=3)
        for sizes in ((0.5, 0.2), (0.5, 0.2, 0.2), (0.5, 0.2, 0.5))
    )
    assert torch.equal(short.returns, long.returns)
    assert not torch.equal(short.returns, other.returns)


def test_adaptation_may_be_within_a_trust_region_whatever_the_trained_inner_steps(plain: Evaluation) -> None:
    within = navigation_evaluation(trust_region=0.05, steps=1)
    other = navigation_evaluation(SETTINGS.changed(inner_step_sizes=(0.7,), inner_steps=3), trust_region=0.05, steps=1)
    assert torch.equal(within.returns[:, 0], plain.returns[:, 0])
    assert not (within.returns[:, 1] == plain.returns[:, 1]).any()
    assert torch.equal(within.returns, other.returns)


def test_without_its_rollouts_an_evaluation_is_the_same(plain: Evaluation) -> None:
    lean = navigation_evaluation(keep_rollouts=False)
    assert (len(plain.rollouts), len(lean.rollouts)) == (3, 0)
    assert plain.as_json({}) == lean.as_json({})


def test_held_out_tasks_are_not_those_of_training_with_the_same_seed(plain: Evaluation) -> None:
    env = make_tasks_env("Navigation2D-v0", 20, 3, variant="finn2017")
    method = make_method(SETTINGS, env)
    held_out, learned = plain.tasks["goal"], Learned(Meta(POLICY.init(0), {}), {})
    for iteration in range(2):
        _, report = meta_iteration(env, method, learned, SETTINGS, iteration)
        distances = np.linalg.norm(report.tasks["goal"][:, None] - held_out[None], axis=-1)
        assert distances.min() > 1e-4
    training = env.sample_tasks(4, RandomStreams(0).task_seeds(4))["goal"]
    assert not (training == held_out).any()


def test_another_seed_evaluates_on_other_tasks_and_the_same_seed_on_the_same(plain: Evaluation) -> None:
    same, other = (navigation_evaluation(seed=seed) for seed in (0, 1))
    assert torch.equal(plain.returns, same.returns)
    assert not (plain.tasks["goal"] == other.tasks["goal"]).any()


def test_an_evaluation_is_plain_data(plain: Evaluation) -> None:
    data = json.loads(json.dumps(plain.as_json({"commit": "abc"}), allow_nan=False))
    assert np.shape(data["per_task"]) == (4, 3)
    assert data["returns"] == plain.summary()
    assert data["config"] == {"commit": "abc"}
    assert data["tasks"]["goal"] == plain.tasks["goal"].tolist()


def test_the_terms_of_the_reward_add_up_to_the_return(plain: Evaluation) -> None:
    assert list(plain.terms) == ["distance_cost"]
    assert plain.terms["distance_cost"] == pytest.approx(plain.returns.mean(0).tolist(), rel=1e-5)


def test_tasks_beyond_the_training_range_are_outside_of_its_space() -> None:
    evaluation = navigation_evaluation(num_tasks=10, steps=0, seed=1, beyond=True)
    assert (np.abs(evaluation.tasks["goal"]).max(axis=1) > 0.5).all()


@pytest.mark.parametrize("loss", ["log_likelihood", "likelihood_ratio", "dice"])
@pytest.mark.parametrize("policy", [gaussian_policy(), gru_policy()], ids=["gaussian", "gru"])
def test_each_stage_is_sampled_with_the_parameters_adapted_on_those_before(policy: Any, loss: Any) -> None:
    settings = SETTINGS.changed(inner_loss=loss, inner_step_sizes=(0.3, 0.2), inner_steps=2)
    rule, theta = adaptation_rule(settings, policy), single(random_theta(policy))
    env = ScriptedEnvironment(12, {1: (3, "terminated"), 2: (4, "truncated")}, earns=0.5)
    env.horizon = 6
    streams = RandomStreams(7, Phase.EVALUATION)
    collect = episodes_of(env, policy, settings.advantages, streams, range(3), "cpu")
    stages = list(adapted_in_stages(policy, rule, Meta(theta, {}), collect, streams, num_tasks=3, steps=2))
    assert len(stages) == 3
    per_task = Meta(detached(with_task_axis(theta, 3)), {})
    adaptation = rule.begin(per_task)
    for k, (adapted, sampled) in enumerate(stages):
        assert torch.equal(vector(adapted.params), vector(adaptation.params))
        log_probs = policy.unroll(adaptation.params, sampled)[0].distribution.log_prob(sampled.actions)
        valid = sampled.valid
        torch.testing.assert_close(sampled.log_probs[valid], log_probs[valid], rtol=1e-4, atol=1e-4)
        before = vector(adaptation.params)
        adaptation = rule.step(policy, per_task, adaptation, to_batch(sampled, settings.advantages), k)
        assert (vector(adaptation.params) - before).norm() > 1e-2


def test_learned_step_sizes_are_used_where_there_are_any() -> None:
    env = make_tasks_env("Navigation2D-v0", 20, 10, variant="finn2017")
    learned = SETTINGS.changed(inner_step_sizes=(5.0,), inner_steps=2, learn_step_sizes=True)
    given = SETTINGS.changed(inner_step_sizes=(0.3, 0.2), inner_steps=2, learn_step_sizes=True)
    params = POLICY.init(0)
    rates = adaptation_rule(given, POLICY).rates(params)
    returns = [
        evaluate(
            env, POLICY, adaptation_rule(settings, POLICY), Meta(params, known), settings, num_tasks=4, steps=2, seed=0
        ).returns
        for settings, known in ((learned, rates), (given, {}), (learned, {}))
    ]
    torch.testing.assert_close(returns[0], returns[1])
    assert not torch.allclose(returns[1][:, 1:], returns[2][:, 1:], rtol=1e-2)


@pytest.mark.parametrize("make_policy", [gaussian_policy, gru_policy], ids=["gaussian", "gru"])
def test_mean_actions_are_judged_on_episodes_of_their_own_and_adaptation_is_that_of_sampled_ones(
    monkeypatch: pytest.MonkeyPatch, make_policy: Any
) -> None:
    policy = make_policy(2, 2)
    env = make_tasks_env("Navigation2D-v0", 20, SETTINGS.run.horizon, variant="finn2017")
    settings = SETTINGS.changed(inner_step_sizes=(0.3,))
    rule, meta = adaptation_rule(settings, policy), Meta(single(random_theta(policy)), {})
    meta = Meta({name: tensor.float() for name, tensor in meta.params.items()}, {})
    adapted: list[list[Params]] = []
    step = GradientRule.step

    def watched(self: GradientRule, *given: Any, **options: Any) -> Adaptation:
        after = step(self, *given, **options)
        adapted[-1].append(after.params)
        return after

    monkeypatch.setattr(GradientRule, "step", watched)
    done = {}
    for actions in ("sampled", "mean"):
        adapted.append([])
        done[actions] = evaluate(env, policy, rule, meta, settings, num_tasks=4, steps=2, seed=3, actions=actions)
    for ours, theirs in zip(*adapted, strict=True):
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    sampled, judged = done["sampled"].rollouts, done["mean"].rollouts
    assert len(judged) == len(sampled) == 3
    for k, episodes in enumerate(judged):
        params = for_every_task(meta, 4).params if k == 0 else adapted[0][k - 1]
        said = policy.unroll(params, episodes)[0].distribution
        torch.testing.assert_close(said.most_likely, episodes.actions, rtol=1e-5, atol=1e-6)
        assert torch.equal(episodes.observations[:, :, 0], sampled[k].observations[:, :, 0])
        assert not torch.equal(episodes.actions, sampled[k].actions)
    torch.testing.assert_close(done["mean"].returns[:, 1], judged[1].returns.mean(1))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"actions": "Mean"}, "--actions is 'Mean'; it must be one of sampled, mean"),
        ({"steps": -1}, "--steps is -1; it must be a whole number of at least 0"),
        ({"steps": 1.0}, "--steps is 1.0"),
        ({"seed": -1}, "--seed is -1"),
        ({"seed": True}, "--seed is True"),
    ],
)
def test_an_evaluation_of_nothing_or_of_something_else_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        navigation_evaluation(**options)
