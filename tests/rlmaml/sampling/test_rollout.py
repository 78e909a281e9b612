from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from rlmaml.base.errors import NonFiniteError, UserError
from rlmaml.base.random_streams import RandomStreams
from rlmaml.base.regions import listening
from rlmaml.core.advantages import with_advantages
from rlmaml.core.policy import Policy
from rlmaml.core.types import Params, Rollout, Seen
from rlmaml.sampling.rollout import TaskEnvironment, rollout
from rlmaml_envs import make_tasks_env
from tests.rlmaml.delegation import lent
from tests.rlmaml.makers import (
    assert_same,
    categorical_policy,
    gaussian_policy,
    gru_policy,
    random_task_params,
    random_theta,
    single,
)
from tests.rlmaml.scripted import ScriptedEnvironment

ENDS = {1: (2, "terminated"), 2: (3, "truncated"), 4: (4, "terminated")}
POLICY = gaussian_policy()


def scripted(
    num_envs: int = 6, ends: dict[int, tuple[int, str]] | None = None, horizon: int = 4, **options: Any
) -> ScriptedEnvironment:
    env = ScriptedEnvironment(num_envs, ends, **options)
    env.horizon = horizon
    return env


def sample(
    env: TaskEnvironment,
    params: Params | None = None,
    policy: Policy = POLICY,
    seed: int = 0,
    k: int = 0,
    num_tasks: int = 2,
) -> Rollout:
    params = single(random_theta(policy)) if params is None else params
    return rollout(env, policy, params, tasks=range(num_tasks), streams=RandomStreams(seed), k=k)


def test_a_scripted_rollout_lines_up() -> None:
    # two tasks of three episodes; the horizon of 4 cuts copies 0, 3 and 5
    env = scripted(6, ENDS)
    env.goals = np.array([0.25, 0.25, 0.25, 0.5, 0.5, 0.5])
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
    result = sample(scripted(6, ENDS))
    assert result.terminated.tolist() == [[False, True, False], [False, True, False]]
    assert result.truncated.tolist() == [[True, False, True], [True, False, True]]


def test_returns_are_sums_of_rewards() -> None:
    # copy 1 ends after two steps: 201 + 202
    assert float(sample(scripted(6, ENDS)).returns[0, 1]) == 403.0


def test_returns_are_split_into_the_environments_terms() -> None:
    # copy 1 ends after two steps: 201 + 202 and twice its goal
    env = scripted(6, ENDS)
    env.goals = np.array([0.5, 0.25, 0.125, 0.0, 0.0, 0.0])
    result = sample(env)
    assert result.term_returns[0, 1].tolist() == [403.0, 0.5]
    assert_same(result.term_returns.sum(-1), result.returns, rtol=1e-6)


def test_an_episode_whose_simulation_fails_has_no_valid_step_and_no_return() -> None:
    # copy 3 fails in its third step, copy 0 in its first one
    result = sample(scripted(6, {3: (3, "unstable"), 0: (1, "unstable"), 4: (2, "terminated")}))
    assert result.unstable.tolist() == [[True, False, False], [True, False, False]]
    assert result.terminated.tolist() == [[True, False, False], [True, True, False]]
    assert result.lengths.tolist() == [[0.0, 4.0, 4.0], [0.0, 2.0, 4.0]]
    assert not result.valid[result.unstable].any()
    assert torch.equal(result.returns.isnan(), result.unstable)
    assert float(result.returns[1, 1]) == 501.0 + 502.0
    # what is seen last is the state before the failure: copy 3 after two steps
    assert result.final_observations[1, 0, :2].tolist() == [3.0, 2.0]


@pytest.mark.parametrize("bootstrap", [False, True])
@pytest.mark.parametrize("scale", [None, 3.0])
def test_no_step_of_an_episode_that_failed_has_an_advantage(bootstrap: bool, scale: float | None) -> None:
    # Eight episodes of 50 steps, each of which earns -1; the third one fails after ten. Were it kept, its steps would
    # look better than all others by forty rewards: 5.6 standard deviations.
    result = sample(scripted(8, {2: (11, "unstable")}, horizon=50, earns=-1.0), num_tasks=1)
    assert result.unstable.tolist() == [[False, False, True, *[False] * 5]]
    batch = with_advantages(result, discount=0.99, gae_lambda=1.0, bootstrap=bootstrap, scale=scale)
    assert not batch.valid[0, 2].any()
    assert not batch.advantages[0, 2].any()
    sound = [0, 1, 3, 4, 5, 6, 7]
    without = Rollout(*(field[:, sound] for field in result))
    expected = with_advantages(without, discount=0.99, gae_lambda=1.0, bootstrap=bootstrap, scale=scale)
    assert_same(batch.advantages[:, sound], expected.advantages, rtol=1e-4, atol=1e-4)
    assert result.returns[0, sound].tolist() == [-50.0] * 7


def test_a_task_all_of_whose_episodes_failed_has_advantages_of_zero() -> None:
    result = sample(scripted(6, dict.fromkeys(range(3), (2, "unstable"))))
    assert result.unstable.tolist() == [[True] * 3, [False] * 3]
    for bootstrap in (False, True):
        for scale in (None, 2.0):
            batch = with_advantages(result, discount=0.9, gae_lambda=0.9, bootstrap=bootstrap, scale=scale)
            assert not batch.advantages[0].any()
            assert batch.advantages[1].isfinite().all()
            assert batch.advantages[1].any()


def test_a_rollout_ends_when_every_episode_has_and_is_padded_to_the_horizon() -> None:
    env = scripted(2, {0: (2, "terminated"), 1: (3, "truncated")}, horizon=50)
    result = sample(env)
    assert len(env.actions) == 3
    assert result.valid.shape == (2, 1, 50)
    assert result.lengths.tolist() == [[2.0], [3.0]]
    for padded in (result.observations, result.actions, result.log_probs, result.rewards):
        assert padded.shape[:3] == (2, 1, 50)
        assert not padded[:, :, 3:].any()
    assert result.truncated.tolist() == [[False], [True]]


@pytest.mark.parametrize("has_task_axis", [False, True])
@pytest.mark.parametrize("policy", [POLICY, gru_policy()], ids=["gaussian", "gru"])
def test_log_probs_are_those_of_a_batched_forward_pass(policy: Policy, has_task_axis: bool) -> None:
    params = single(random_task_params(policy, 2) if has_task_axis else random_theta(policy))
    result = sample(scripted(6, ENDS, earns=0.3), params, policy)
    expected = policy.unroll(params, result)[0].distribution.log_prob(result.actions)
    valid = result.valid
    torch.testing.assert_close(result.log_probs[valid], expected[valid], rtol=1e-4, atol=1e-4)
    assert result.log_probs[valid].std() > 0.1


def test_actions_are_sampled_from_the_policy_at_the_observations() -> None:
    # one observation feature per copy and step; the action's mean is linear in it
    params = single(random_theta(POLICY)) | {"log_std": torch.full((2,), -20.0)}
    result = sample(scripted(6, ENDS), params)
    mean = POLICY.unroll(params, result)[0].distribution.mean
    torch.testing.assert_close(result.actions, mean, rtol=1e-4, atol=1e-4)


@lent(Policy, of="policy")
class Attentive:
    """A policy that writes down what it sees, and remembers two things: how often it acted, and the first reward."""

    def __init__(self) -> None:
        self.policy, self.seen, self.carries = POLICY, list[Seen](), list[tuple[Tensor, Any]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)

    def start(self, params: Params, shape: tuple[int, ...]) -> Any:
        return torch.zeros(shape), (torch.full(shape, 2.0),)

    def act(self, params: Params) -> Any:
        step = self.policy.act(params)

        def act(seen: Seen, carry: Any) -> Any:
            self.seen.append(seen)
            self.carries.append(carry)
            count, (kept,) = carry
            return step(seen, ())[0], (count + 1, (kept + 10 * seen.last_reward,))

        return act


def test_a_policy_sees_what_it_did_and_earned_and_where_an_episode_begins() -> None:
    policy: Any = Attentive()
    result = sample(scripted(6, ENDS), policy=policy)
    first, *later = policy.seen
    assert first.first_step.all()
    assert not first.last_action.any()
    assert not first.last_reward.any()
    assert torch.equal(first.observation, result.observations[:, :, 0])
    for t, seen in enumerate(later):
        assert not seen.first_step.any()
        assert torch.equal(seen.observation, result.observations[:, :, t + 1])
        assert torch.equal(seen.last_action, result.actions[:, :, t])
        assert torch.equal(seen.last_reward, result.rewards[:, :, t])


def test_what_is_remembered_may_have_parts_and_stands_still_where_an_episode_is_over() -> None:
    policy: Any = Attentive()
    sample(scripted(6, {1: (2, "terminated"), 5: (3, "truncated")}, horizon=5, earns=0.5), policy=policy)
    counts = torch.stack([count for count, _ in policy.carries])
    earned = torch.stack([kept for _, (kept,) in policy.carries])
    assert counts[:, 0, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert counts[:, 0, 1].tolist() == [0.0, 1.0, 2.0, 2.0, 2.0]
    assert counts[:, 1, 2].tolist() == [0.0, 1.0, 2.0, 3.0, 3.0]
    assert earned[:, 0, 0].tolist() == [2.0, 2.0, 7.0, 12.0, 17.0]
    assert earned[:, 0, 1].tolist() == [2.0, 2.0, 7.0, 7.0, 7.0]


def test_each_task_acts_with_its_own_parameters() -> None:
    params = single(random_task_params(POLICY, 2))
    together = sample(scripted(), params)
    swapped = sample(scripted(), {name: tensor[[0, 0]] for name, tensor in params.items()})
    assert_same(together.actions[0], swapped.actions[0], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(together.actions[1], swapped.actions[1], rtol=0.1)


def test_discrete_actions_reach_the_environment_as_integers() -> None:
    env = scripted(6, ENDS, horizon=8)
    result = sample(env, policy=categorical_policy())
    assert result.actions.shape == (2, 3, 8)
    assert result.actions.dtype == torch.int64
    assert env.actions[0].shape == (6,)
    assert set(result.actions.flatten().tolist()) == {0, 1, 2}


def test_the_same_streams_give_the_same_rollout_and_others_do_not() -> None:
    first, again, seed, stage = (
        sample(scripted(6, ENDS), seed=seed, k=k) for seed, k in ((0, 0), (0, 0), (1, 0), (0, 1))
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for other in (seed, stage):
        assert (first.actions != other.actions).all()


def test_a_task_does_not_depend_on_how_many_there_are_or_beside_which_it_is_sampled() -> None:
    few = sample(scripted(6), num_tasks=2)
    many = sample(scripted(12), num_tasks=4)
    assert_same(many.actions[:2], few.actions, rtol=1e-5, atol=1e-5)
    env = scripted(6)
    env.observe = lambda: many.observations[2:, :, len(env.actions) % 4].flatten(0, 1).double().numpy()  # type: ignore[method-assign]
    part = rollout(env, POLICY, single(random_theta(POLICY)), tasks=range(2, 4), streams=RandomStreams(0), k=0)
    assert_same(part.actions, many.actions[2:], rtol=1e-5, atol=1e-5)


def test_every_copy_is_reset_with_a_seed_of_its_own() -> None:
    env = scripted()
    for k in range(2):
        sample(env, k=k)
    seeds = [seed for reset in env.seeds for seed in reset]
    assert len(set(seeds)) == len(seeds) == 12
    assert env.seeds[0] == RandomStreams(0).initial_state_seeds(0, range(2), 3)


@pytest.mark.parametrize("what", ["observation", "reward"])
@pytest.mark.parametrize("step", [0, 1, 4])
def test_a_nan_is_refused_by_name(what: str, step: int) -> None:
    if what == "reward" and step == 0:
        step = 2  # there is no reward before the first step
    with pytest.raises(NonFiniteError, match=f"The {what} in a rollout became NaN or infinite"):
        sample(scripted(6, poison=(what, step)))


def test_a_rollout_records_no_gradient_and_its_time_is_heard() -> None:
    params = {name: tensor.requires_grad_() for name, tensor in single(random_theta(POLICY)).items()}
    with listening() as seconds:
        result = sample(scripted(), params)
    assert not any(field.requires_grad for field in result)
    assert 0 < seconds["environment"] < seconds["rollout"]


class Journey(NamedTuple):
    tasks: dict[str, np.ndarray]
    result: Rollout


@pytest.fixture(scope="module")
def journey() -> Journey:
    env = make_tasks_env("Navigation2D-v0", 6, 5, variant="finn2017")
    tasks = env.sample_tasks(2, [3, 4])
    env.set_tasks(tasks)
    return Journey(tasks, sample(env, policy=gaussian_policy(observation_size=2)))


def test_navigation_rewards_are_minus_the_distance_to_the_goal_after_the_move(journey: Journey) -> None:
    result = journey.result
    after = torch.cat([result.observations[:, :, 1:], result.final_observations.unsqueeze(2)], 2)
    goals = torch.from_numpy(journey.tasks["goal"]).float().view(2, 1, 1, 2)
    assert_same(result.rewards, -(after - goals).norm(dim=-1), rtol=1e-4, atol=1e-5)
    moved = (after - result.observations) / 0.1
    assert_same(moved, result.actions.clamp(-1, 1), rtol=1e-4, atol=1e-5)


def test_everything_is_in_single_precision_and_flags_are_boolean(journey: Journey) -> None:
    flags = {"terminated", "truncated", "valid", "unstable"}
    for name, field in journey.result._asdict().items():
        assert field.dtype == (torch.bool if name in flags else torch.float32), name


def test_a_policy_that_diverged_is_named_before_the_environment_sees_its_actions() -> None:
    env = scripted()
    theta = POLICY.init(0) | {"layer0.bias": torch.full((4,), torch.nan)}
    with pytest.raises(NonFiniteError, match="The action in a rollout became NaN or infinite"):
        sample(env, theta)
    assert not env.actions


def test_an_environment_that_names_what_is_not_finite_is_quoted() -> None:
    class Naming(ScriptedEnvironment):
        def step(self, actions: Any) -> Any:
            raise FloatingPointError('the reward term "own_reward" of copy 1 is nan')

    with pytest.raises(NonFiniteError, match=r'"own_reward" of copy 1 is nan'):
        sample(Naming(6))


def test_an_environment_that_resets_itself_is_refused_with_the_cure() -> None:
    policy = gaussian_policy(observation_size=2)
    made: Any = gymnasium.make_vec("Navigation2D-v0", num_envs=6)
    with pytest.raises(UserError, match=r"autoreset_mode NEXT_STEP.*make_tasks_env"):
        sample(made, policy=policy)
    resting: Any = gymnasium.make_vec("Navigation2D-v0", num_envs=6, autoreset_mode="rest")
    sample(resting, single(random_theta(policy)), policy=policy)
