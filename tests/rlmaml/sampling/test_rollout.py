import numpy as np
import pytest
import torch

from envs import make_tasks_env
from rlmaml.base.errors import NonFiniteError
from rlmaml.base.random_streams import RandomStreams
from rlmaml.base.stopwatch import Stopwatch
from rlmaml.core.advantages import with_advantages
from rlmaml.core.types import Params, Rollout
from rlmaml.policies.policy import CategoricalMLP, GaussianMLP, Policy
from rlmaml.sampling.rollout import TaskEnvironment, rollout
from tests.rlmaml.makers import assert_same, random_task_params, random_theta
from tests.rlmaml.scripted import ScriptedEnvironment

ENDS = {1: (2, "terminated"), 2: (3, "truncated"), 4: (4, "terminated")}
POLICY = GaussianMLP(observation_size=3, action_size=2, hidden=(4,))


def single(params: Params) -> Params:
    return {name: tensor.float() for name, tensor in params.items()}


def sample(
    env: TaskEnvironment,
    params: Params | None = None,
    policy: Policy = POLICY,
    horizon: int = 4,
    seed: int = 0,
    step: int = 0,
    num_tasks: int = 2,
) -> Rollout:
    params = single(random_theta(policy)) if params is None else params
    streams, clock = RandomStreams(seed), Stopwatch()
    return rollout(env, policy, params, num_tasks=num_tasks, horizon=horizon, streams=streams, step=step, clock=clock)


def test_a_scripted_rollout_lines_up() -> None:
    # two tasks of three episodes; the horizon of 4 cuts copies 0, 3 and 5
    env = ScriptedEnvironment(6, ENDS)
    env.goals = torch.tensor([0.25, 0.25, 0.25, 0.5, 0.5, 0.5]).numpy()
    result = sample(env)
    lengths = torch.tensor([[4, 2, 3], [4, 4, 4]])
    assert torch.equal(result.lengths, lengths.float())
    time = torch.arange(4)
    assert torch.equal(result.valid, time < lengths.unsqueeze(-1))
    copy = torch.arange(6).view(2, 3)
    for task in range(2):
        for episode in range(3):
            observations, actions = result.observations[task, episode], result.actions[task, episode]
            final = result.final_observations[task, episode]
            length = int(lengths[task, episode])
            for t in range(length):  # before step t, t steps were taken, and the last action was the one of step t − 1
                last = float(actions[t - 1, 0]) if t else 0.0
                assert observations[t].tolist() == [int(copy[task, episode]), t, last]
                expected = 100 * (int(copy[task, episode]) + 1) + (t + 1) + 0.25 * (task + 1)
                assert float(result.rewards[task, episode, t]) == expected
            assert final.tolist() == [int(copy[task, episode]), length, float(actions[length - 1, 0])]
            assert not result.rewards[task, episode, length:].any()
    for t in range(4):
        assert torch.equal(result.actions[:, :, t].flatten(0, 1), torch.from_numpy(env.actions[t]))


def test_terminated_truncated_and_cut_by_the_horizon_are_told_apart() -> None:
    # copy 4 terminates in the very last step; copy 2 is truncated by the environment; 0, 3 and 5 by the horizon
    result = sample(ScriptedEnvironment(6, ENDS))
    assert result.terminated.tolist() == [[False, True, False], [False, True, False]]
    assert result.truncated.tolist() == [[True, False, True], [True, False, True]]


def test_returns_are_sums_of_rewards() -> None:
    # copy 1 ends after two steps: 201 + 202
    assert float(sample(ScriptedEnvironment(6, ENDS)).returns[0, 1]) == 403.0


def test_returns_are_split_into_the_environments_terms() -> None:
    # copy 1 ends after two steps: 201 + 202 and twice its goal
    env = ScriptedEnvironment(6, ENDS)
    env.goals = np.array([0.5, 0.25, 0.125, 0.0, 0.0, 0.0])
    result = sample(env)
    assert result.term_returns[0, 1].tolist() == [403.0, 0.5]
    assert_same(result.term_returns.sum(-1), result.returns, rtol=1e-6)


def test_the_step_in_which_a_simulation_fails_is_not_valid() -> None:
    # copy 3 fails in its third step, copy 0 in its first one
    env = ScriptedEnvironment(6, {3: (3, "unstable"), 0: (1, "unstable")})
    result = sample(env)
    assert result.unstable.tolist() == [[True, False, False], [True, False, False]]
    assert result.terminated.tolist() == [[True, False, False], [True, False, False]]
    assert result.lengths[:, 0].tolist() == [0.0, 2.0]
    assert not (result.valid & (result.rewards == 0)).any()
    assert float(result.returns[1, 0]) == 401.0 + 402.0
    # what is seen last is the state before the failure: copy 3 after two steps
    assert result.final_observations[1, 0, :2].tolist() == [3.0, 2.0]
    batch = with_advantages(result, discount=0.9, gae_lambda=0.9, bootstrap=True)
    assert batch.advantages.isfinite().all()
    assert not batch.advantages[~batch.valid].any()


def test_a_rollout_ends_when_every_episode_has() -> None:
    env = ScriptedEnvironment(2, {0: (2, "terminated"), 1: (3, "truncated")})
    result = sample(env, horizon=50)
    assert len(env.actions) == result.valid.shape[-1] == 3
    assert result.truncated.tolist() == [[False], [True]]


@pytest.mark.parametrize("has_task_axis", [False, True])
def test_log_probs_are_those_of_a_batched_forward_pass(has_task_axis: bool) -> None:
    params = single(random_task_params(POLICY, 2) if has_task_axis else random_theta(POLICY))
    result = sample(ScriptedEnvironment(6, ENDS), params)
    expected = POLICY(params, result.observations).log_prob(result.actions)
    torch.testing.assert_close(result.log_probs, expected, rtol=1e-4, atol=1e-4)
    assert result.log_probs.std() > 0.1


def test_actions_are_sampled_from_the_policy_at_the_observations() -> None:
    # one observation feature per copy and step; the action's mean is linear in it
    params = single(random_theta(POLICY))
    params["log_std"] = torch.full((2,), -20.0)
    result = sample(ScriptedEnvironment(6, ENDS), params)
    torch.testing.assert_close(result.actions, POLICY(params, result.observations).mean, rtol=1e-4, atol=1e-4)


def test_each_task_acts_with_its_own_parameters() -> None:
    params = single(random_task_params(POLICY, 2))
    together = sample(ScriptedEnvironment(6), params)
    swapped = sample(ScriptedEnvironment(6), {name: tensor[[0, 0]] for name, tensor in params.items()})
    assert_same(together.actions[0], swapped.actions[0], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(together.actions[1], swapped.actions[1], rtol=0.1)


def test_discrete_actions_reach_the_environment_as_integers() -> None:
    policy = CategoricalMLP(observation_size=3, num_actions=3, hidden=(4,))
    env = ScriptedEnvironment(6, ENDS)
    result = sample(env, policy=policy, horizon=8)
    assert result.actions.shape == (2, 3, 8)
    assert result.actions.dtype == torch.int64
    assert env.actions[0].shape == (6,)
    assert set(result.actions.flatten().tolist()) == {0, 1, 2}


def test_the_same_streams_give_the_same_rollout_and_others_do_not() -> None:
    first = sample(ScriptedEnvironment(6, ENDS))
    again, seed, step = (
        sample(ScriptedEnvironment(6, ENDS)),
        sample(ScriptedEnvironment(6, ENDS), seed=1),
        sample(ScriptedEnvironment(6, ENDS), step=1),
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for other in (seed, step):
        assert (first.actions != other.actions).all()


def test_a_task_does_not_depend_on_how_many_there_are() -> None:
    few = sample(ScriptedEnvironment(6), num_tasks=2)
    many = sample(ScriptedEnvironment(12), num_tasks=4)
    assert_same(many.actions[:2], few.actions, rtol=1e-5, atol=1e-5)


def test_every_copy_is_reset_with_a_seed_of_its_own() -> None:
    env = ScriptedEnvironment(6)
    for step in range(2):
        sample(env, step=step)
    seeds = [seed for reset in env.seeds for seed in reset]
    assert len(set(seeds)) == len(seeds) == 12
    assert env.seeds[0] == RandomStreams(0).initial_state_seeds(0, 2, 3)


@pytest.mark.parametrize("what", ["observation", "reward"])
@pytest.mark.parametrize("step", [0, 1, 4])
def test_a_nan_is_refused_by_name(what: str, step: int) -> None:
    if what == "reward" and step == 0:
        step = 2  # there is no reward before the first step
    with pytest.raises(NonFiniteError, match=f"The {what} in a rollout became NaN or infinite"):
        sample(ScriptedEnvironment(6, poison=(what, step)))


def test_a_rollout_records_no_gradient_and_takes_its_time() -> None:
    params = {name: tensor.requires_grad_() for name, tensor in single(random_theta(POLICY)).items()}
    clock = Stopwatch()
    result = rollout(
        ScriptedEnvironment(6), POLICY, params, num_tasks=2, horizon=4, streams=RandomStreams(0), step=0, clock=clock
    )
    assert not any(field.requires_grad for field in result)
    assert 0 < clock.seconds["environment"] < clock.seconds["rollout"]


def test_navigation_rewards_are_minus_the_distance_to_the_goal_after_the_move() -> None:
    env = make_tasks_env("Navigation2D-v0", 6, 5, variant="finn2017")
    tasks = env.sample_tasks(2, [3, 4])
    env.set_tasks(tasks)
    policy = GaussianMLP(observation_size=2, action_size=2, hidden=(4,))
    result = sample(env, policy=policy, horizon=5)
    after = torch.cat([result.observations[:, :, 1:], result.final_observations.unsqueeze(2)], 2)
    goals = torch.from_numpy(tasks["goal"]).float().view(2, 1, 1, 2)
    assert_same(result.rewards, -(after - goals).norm(dim=-1), rtol=1e-4, atol=1e-5)
    moved = (after - result.observations) / 0.1
    assert_same(moved, result.actions.clamp(-1, 1), rtol=1e-4, atol=1e-5)


def test_a_policy_that_diverged_is_named_before_the_environment_sees_its_actions() -> None:
    env = make_tasks_env("Navigation2D-v0", 2, 3)
    policy = GaussianMLP(observation_size=2, action_size=2, hidden=(4,))
    theta = policy.init(0) | {"layer0.bias": torch.full((4,), torch.nan)}
    with pytest.raises(NonFiniteError, match="The action in a rollout became NaN or infinite"):
        rollout(env, policy, theta, num_tasks=1, horizon=3, streams=RandomStreams(0), step=0, clock=Stopwatch())
