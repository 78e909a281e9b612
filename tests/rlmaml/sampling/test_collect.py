from typing import Any

import pytest
import torch

from rlmaml.base.random_streams import RandomStreams
from rlmaml.base.regions import listening
from rlmaml.base.threads import torch_threads
from rlmaml.core.advantages import with_advantages
from rlmaml.core.policy import Act
from rlmaml.core.types import Adaptation, Params, Stage
from rlmaml.policies.sizes import Part
from rlmaml.sampling.collect import Collect, episodes_of, to_batch
from rlmaml.settings.advantages import AdvantageSettings
from tests.rlmaml.makers import gaussian_policy, random_task_params, single
from tests.rlmaml.scripted import ScriptedEnvironment

POLICY = gaussian_policy()
NUM_TASKS = 3


def params(seed: int = 0) -> Params:
    return single(random_task_params(POLICY, NUM_TASKS, seed))


def collector(settings: AdvantageSettings = AdvantageSettings(), tasks: range = range(NUM_TASKS)) -> Collect:  # noqa: B008
    env = ScriptedEnvironment(len(tasks) * 4, {1: (3, "terminated"), 2: (4, "truncated")})
    env.horizon = 6
    env.goals = torch.linspace(0, 2, env.num_envs).numpy()
    return episodes_of(env, POLICY, settings, RandomStreams(7), tasks, "cpu")


def assert_equal(one: Stage, other: Stage) -> None:
    assert one.rollout is not None
    assert other.rollout is not None
    for parts in ((one.data, other.data), (one.rollout, other.rollout)):
        assert all(torch.equal(a, b) for a, b in zip(*parts, strict=True))


def test_a_stage_is_sampled_with_the_parameters_that_are_given() -> None:
    collect = collector()
    for k in range(2):
        given = params(k)
        sampled = collect(Adaptation(given), k).rollout
        assert sampled is not None
        expected = POLICY.unroll(given, sampled)[0].distribution.log_prob(sampled.actions)
        torch.testing.assert_close(sampled.log_probs, expected, rtol=1e-4, atol=1e-4)
        assert (
            sampled.log_probs - POLICY.unroll(params(7), sampled)[0].distribution.log_prob(sampled.actions)
        ).std() > 1


@pytest.mark.parametrize("time_limit", ["fixed_horizon", "bootstrap"])
@pytest.mark.parametrize("scale", [None, 50.0])
def test_the_data_are_the_rollout_with_the_advantages_of_the_settings(time_limit: Any, scale: float | None) -> None:
    settings = AdvantageSettings(0.9, 0.8, time_limit, scale)
    data, sampled = collector(settings)(Adaptation(params()), 0)
    assert sampled is not None
    bootstrap = time_limit == "bootstrap"
    expected = with_advantages(sampled, discount=0.9, gae_lambda=0.8, bootstrap=bootstrap, scale=scale)
    other = with_advantages(sampled, discount=0.9, gae_lambda=0.8, bootstrap=not bootstrap, scale=scale)
    assert all(torch.equal(a, b) for a, b in zip(data, expected, strict=True))
    assert not torch.allclose(data.advantages, other.advantages, rtol=1e-2)
    assert torch.equal(to_batch(sampled, settings).advantages, expected.advantages)


def test_inner_advantages_are_those_of_the_settings() -> None:
    data, sampled = collector(AdvantageSettings(inner_reward_power=2.0, inner_advantage_scale=3.0))(
        Adaptation(params()), 0
    )
    assert sampled is not None
    expected = with_advantages(
        sampled, discount=0.99, gae_lambda=1.0, bootstrap=False, inner_reward_power=2.0, inner_scale=3.0
    )
    assert torch.equal(data.inner_advantages, expected.inner_advantages)
    assert not torch.equal(data.inner_advantages, data.advantages)


def test_the_baseline_reads_the_parts_of_an_environments_observations_that_are_vectors() -> None:
    settings, parts = AdvantageSettings(), (Part("picture", (1, 1, 2)), Part("speed", (1,)))
    env = ScriptedEnvironment(NUM_TASKS * 4)
    env.observation_parts = {part.name: part.shape for part in parts}  # type: ignore[attr-defined]
    data, sampled = episodes_of(env, POLICY, settings, RandomStreams(7), range(NUM_TASKS), "cpu")(
        Adaptation(params()), 0
    )
    assert sampled is not None
    assert torch.equal(data.advantages, to_batch(sampled, settings, parts).advantages)
    without = with_advantages(sampled, discount=0.99, gae_lambda=1.0, bootstrap=False, read=[2])
    assert torch.equal(data.advantages, without.advantages)
    assert not torch.equal(data.advantages, to_batch(sampled, settings).advantages)


def test_every_stage_sees_fresh_episodes_and_the_same_stage_the_same() -> None:
    collect = collector()
    first, again, second = (collect(Adaptation(params()), k) for k in (0, 0, 1))
    assert_equal(first, again)
    assert (first.data.actions != second.data.actions).all()


def test_tasks_are_told_apart_by_their_indices() -> None:
    every, some = collector()(Adaptation(params()), 0).data, collector(tasks=range(1))
    alone = some(Adaptation({name: tensor[:1] for name, tensor in params().items()}), 0).data
    torch.testing.assert_close(alone.actions, every.actions[:1], rtol=1e-4, atol=1e-4)
    others = collector(tasks=range(3, 6))(Adaptation(params()), 0).data
    assert (others.actions != every.actions).all()


def test_parameters_are_left_alone_and_no_gradient_is_recorded() -> None:
    given = {name: tensor.requires_grad_() for name, tensor in params().items()}
    data, sampled = collector()(Adaptation(given), 0)
    assert sampled is not None
    assert not any(field.requires_grad for field in (*data, *sampled))
    assert all(torch.equal(tensor, params()[name]) for name, tensor in given.items())


def test_the_policy_takes_one_thread_beside_the_physics_and_both_parts_are_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[int] = []
    act = POLICY.act

    def counted(given: Params) -> Act:
        threads.append(torch.get_num_threads())
        return act(given)

    monkeypatch.setattr(POLICY, "act", counted)
    with torch_threads(2), listening() as seconds:
        collector()(Adaptation(params()), 0)
        assert torch.get_num_threads() == 2
    assert threads == [1]
    assert {"rollout", "environment", "advantages"} <= set(seconds)
