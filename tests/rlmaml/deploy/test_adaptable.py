import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from envs import TaskVectorEnv, make_tasks_env
from rlmaml.base.errors import UserError
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.base.stopwatch import Stopwatch
from rlmaml.deploy.adaptable import AdaptablePolicy, load, off_policy_reason
from rlmaml.sampling.episodes import stage_by_stage
from rlmaml.sampling.recorded import RecordedEpisodes
from rlmaml.settings.config import TrainConfig
from rlmaml.storage.checkpoint import CHECKPOINT, Checkpoint, save_checkpoint
from rlmaml.training.initial import initial_theta, make_policy
from tests.rlmaml.makers import vector

CONFIG = TrainConfig(
    num_tasks=1, num_episodes=6, horizon=9, hidden=(8,), threads=1, inner_steps=2, inner_step_sizes=(0.5, 0.3)
)
LEARNED = dataclasses.replace(CONFIG, learn_step_sizes=True, inner_loss="likelihood_ratio")


def navigation() -> TaskVectorEnv:
    env = make_tasks_env("Navigation2D-v0", 6, CONFIG.horizon, variant="finn2017")
    env.set_tasks({"goal": np.array([[0.3, -0.2]])})
    return env


def saved_policy(run_dir: Path, config: TrainConfig = LEARNED) -> AdaptablePolicy:
    theta = initial_theta(config, make_policy(config, navigation()))
    run_dir.mkdir(parents=True, exist_ok=True)
    save_checkpoint(run_dir / CHECKPOINT, Checkpoint(theta, 3, config))
    return load(run_dir)


@pytest.mark.parametrize("config", [CONFIG, LEARNED])
def test_two_steps_from_recorded_episodes_equal_adaptation_in_the_loop(tmp_path: Path, config: TrainConfig) -> None:
    env, policy = navigation(), saved_policy(tmp_path, config)
    streams = RandomStreams(5, Phase.EVALUATION)
    stages = stage_by_stage(env, policy.network, policy.params, config, streams, Stopwatch(), num_tasks=1, steps=2)
    for sampled, _ in list(stages):
        episodes = policy.record(env, 5)
        np.testing.assert_array_equal(episodes.rewards, sampled.rewards[sampled.valid].numpy())
        policy = policy.adapt(episodes)
    assert policy.steps_taken == 3


def test_trust_region_steps_from_recorded_episodes_equal_those_in_the_loop(tmp_path: Path) -> None:
    env, policy = navigation(), saved_policy(tmp_path)
    streams = RandomStreams(5, Phase.EVALUATION)
    stages = stage_by_stage(
        env, policy.network, policy.params, LEARNED, streams, Stopwatch(), num_tasks=1, steps=2, trust_region=0.05
    )
    for sampled, _ in list(stages):
        episodes = policy.record(env, 5)
        np.testing.assert_allclose(episodes.rewards, sampled.rewards[sampled.valid].numpy(), rtol=0.01)
        other = policy.adapt(episodes)
        policy = policy.adapt(episodes, trust_region=0.05)
        assert not torch.equal(vector(policy.params), vector(other.params))


def test_a_trust_region_without_a_better_policy_is_said_and_an_illegal_one_refused(tmp_path: Path) -> None:
    policy = saved_policy(tmp_path)
    episodes = policy.record(navigation(), 0)
    with pytest.warns(UserWarning, match="No better policy was found within the trust region"):
        same = policy.adapt(episodes, trust_region=1e-40)
    assert torch.equal(vector(same.params), vector(policy.params))
    for illegal in (0.0, -0.1, float("nan"), float("inf")):
        with pytest.raises(UserError, match="a KL in nats above 0"):
            policy.adapt(episodes, trust_region=illegal)


def test_adaptation_without_recorded_log_probabilities_takes_the_policy_for_the_sampling_one(tmp_path: Path) -> None:
    policy = saved_policy(tmp_path)
    episodes = policy.record(navigation(), 0)
    known, assumed = policy.adapt(episodes), policy.adapt(episodes._replace(log_probs=None))
    torch.testing.assert_close(vector(known.params), vector(assumed.params))


def test_adaptation_leaves_the_policy_as_it_was_and_its_step_sizes_too(tmp_path: Path) -> None:
    policy = saved_policy(tmp_path)
    before = vector(policy.params).clone()
    adapted = policy.adapt(policy.record(navigation(), 0))
    assert torch.equal(vector(policy.params), before)
    for name, tensor in adapted.params.items():
        assert torch.equal(tensor, policy.params[name]) == name.startswith("log_step_size."), name


def test_how_far_a_step_went_is_the_kl_on_what_was_seen(tmp_path: Path) -> None:
    policy = saved_policy(tmp_path)
    episodes = policy.record(navigation(), 0)
    adapted = policy.adapt(episodes, trust_region=0.02)
    seen = torch.from_numpy(episodes.observations)
    before, after = (one.network(one.weights, seen) for one in (policy, adapted))
    assert policy.divergence(adapted, episodes.observations) == pytest.approx(float(before.kl(after).mean()), rel=1e-4)
    assert 0 < policy.divergence(adapted, episodes.observations) <= 0.0201
    assert policy.divergence(policy, episodes.observations) == 0.0


def test_half_a_step_goes_half_the_way(tmp_path: Path) -> None:
    policy = saved_policy(tmp_path)
    episodes = policy.record(navigation(), 0)
    whole, half = (vector(policy.adapt(episodes, step_scale=scale).weights) for scale in (1.0, 0.5))
    torch.testing.assert_close(half, (vector(policy.weights) + whole) / 2)


def test_a_saved_policy_acts_as_before_and_goes_on_adapting(tmp_path: Path) -> None:
    env, policy = navigation(), saved_policy(tmp_path)
    adapted = policy.adapt(policy.record(env, 0))
    adapted.save(tmp_path / "adapted.safetensors")
    loaded = load(tmp_path / "adapted.safetensors")
    assert (loaded.steps_taken, loaded.iteration, loaded.config) == (1, 3, LEARNED)
    observation = np.array([0.1, 0.2])
    np.testing.assert_array_equal(loaded.act(observation), adapted.act(observation))
    episodes = adapted.record(env, 0)
    assert torch.equal(vector(loaded.adapt(episodes).params), vector(adapted.adapt(episodes).params))


def test_actions_are_the_clipped_mean(tmp_path: Path) -> None:
    policy = saved_policy(tmp_path)
    large = {name: 10_000 * tensor for name, tensor in policy.params.items()}
    assert np.abs(dataclasses.replace(policy, params=large).act([1.0, 1.0])).max() == 1.0
    seen = np.zeros((500, 3, 2))
    mean = policy.act(seen)
    assert mean.shape == (500, 3, 2)
    assert policy.act([0.0, 0.0]).shape == (2,)


def test_exploration_draws_unclipped_actions_around_the_mean_that_adapt_takes_for_the_policys_own(
    tmp_path: Path,
) -> None:
    policy, generator = saved_policy(tmp_path), np.random.default_rng(0)
    seen = generator.standard_normal((400, 2)).astype(np.float32)
    actions, log_probs = policy.explore(seen, generator)
    assert (actions.shape, log_probs.shape) == ((400, 2), (400,))
    assert np.abs(actions).max() > 1.0
    np.testing.assert_allclose((actions - policy.act(seen)).mean(0), 0.0, atol=0.2)
    assert [part.shape for part in policy.explore(seen[0], generator)] == [(2,), ()]
    ends = np.arange(1, 401) % 20 == 0
    own = RecordedEpisodes(seen, actions, generator.standard_normal(400), np.zeros_like(ends), ends)
    for episodes in (own, own._replace(log_probs=log_probs)):
        assert off_policy_reason(policy, episodes) is None
    clipped = off_policy_reason(policy, own._replace(actions=actions.clip(-1.0, 1.0)))
    assert clipped is not None
    assert "were clipped to [-1, 1]" in clipped
    known, assumed = policy.adapt(own._replace(log_probs=log_probs)), policy.adapt(own)
    torch.testing.assert_close(vector(known.params), vector(assumed.params))


@pytest.mark.parametrize("observation", [np.zeros(3), np.zeros(()), np.array([0.0, np.nan])])
def test_an_observation_that_does_not_fit_is_refused(tmp_path: Path, observation: np.ndarray) -> None:
    with pytest.raises(UserError, match="finite observations of 2 numbers"):
        saved_policy(tmp_path).act(observation)


def test_episodes_of_another_robot_are_refused(tmp_path: Path) -> None:
    policy = saved_policy(tmp_path)
    episodes = policy.record(navigation(), 0)
    with pytest.raises(UserError, match="observations have 3 numbers; this policy was trained with 2"):
        policy.adapt(episodes._replace(observations=np.zeros((54, 3)), final_observations=None))
    with pytest.raises(UserError, match="actions have 1 numbers; this policy was trained with 2"):
        policy.adapt(episodes._replace(actions=np.zeros((54, 1))))
    bootstrap = dataclasses.replace(policy, config=dataclasses.replace(LEARNED, time_limit="bootstrap"))
    with pytest.raises(UserError, match="needs final_observations"):
        bootstrap.adapt(episodes._replace(final_observations=None))


def test_episodes_of_another_policy_warn_and_the_own_ones_do_not(tmp_path: Path) -> None:
    policy = saved_policy(tmp_path)
    episodes = policy.record(navigation(), 0)
    unknown = episodes._replace(log_probs=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy.adapt(episodes)
        policy.adapt(unknown)
    assert episodes.log_probs is not None
    for foreign, reason in (
        (episodes._replace(log_probs=episodes.log_probs + 2), "importance ratio is far from 1"),
        (unknown._replace(actions=0.1 * episodes.actions), "vary less"),
        (unknown._replace(actions=3 * episodes.actions), "vary more"),
    ):
        with pytest.warns(UserWarning, match=reason):
            policy.adapt(foreign)
