import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.base.threads import torch_threads
from rlmaml.core.policy import Policy
from rlmaml.core.types import Meta, Outputs, Params, Rollout
from rlmaml.deploy.adaptable import AdaptablePolicy, as_policy, in_copies, load
from rlmaml.deploy.driver import Driver
from rlmaml.deploy.export import Actor, export_program, load_onnx, write_int8, write_onnx, write_program
from rlmaml.deploy.fit import begins_anew, check_remembers, off_policy_reason
from rlmaml.deploy.robot import normalised_actuation
from rlmaml.evaluation.evaluate import adapted_in_stages
from rlmaml.evaluation.figures import write_figure
from rlmaml.evaluation.video import write_video
from rlmaml.policies.gaussian import GaussianPolicy
from rlmaml.policies.kinds import make_policy
from rlmaml.policies.sizes import Sizes
from rlmaml.rules.adaptation_rule import adaptation_rule
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.sampling.collect import episodes_of, to_batch
from rlmaml.sampling.recorded import RecordedEpisodes, as_rollout, read_episodes, write_episodes
from rlmaml.settings.whole import Settings, configure
from rlmaml.storage.checkpoint import Checkpoint, save_checkpoint
from rlmaml.storage.range_file import read_context_range
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.training.run import train
from rlmaml.training.supervised import train_supervised
from tests.rlmaml.delegation import lent
from tests.rlmaml.deploy.trained import (
    HORIZON,
    LEARNED,
    LIVES,
    PLAIN,
    REMEMBERS,
    ROBUST,
    checkpoint,
    moved,
    navigation,
    student,
    trained_policy,
)
from tests.rlmaml.makers import vector


@pytest.fixture(scope="module")
def policy() -> AdaptablePolicy:
    return trained_policy()


@pytest.fixture(scope="module")
def episodes(policy: AdaptablePolicy) -> RecordedEpisodes:
    return policy.record(navigation(), 0)


def in_the_loop(policy: AdaptablePolicy, rule: InnerRule, seed: int, steps: int) -> list[Rollout]:
    """The episodes before, between and after the steps of an evaluation on the robot's task."""
    streams = RandomStreams(seed, Phase.EVALUATION)
    collect = episodes_of(navigation(), policy.network, policy.settings.advantages, streams, range(1), "cpu")
    stages = adapted_in_stages(policy.network, rule, policy.meta, collect, streams, num_tasks=1, steps=steps)
    return [stage.seen for stage in stages]


@pytest.mark.parametrize(
    "settings",
    [PLAIN, LEARNED, PLAIN.changed(inner_loss="dice"), REMEMBERS],
    ids=["plain", "learned sizes", "dice", "gru"],
)
def test_two_steps_from_recorded_episodes_equal_adaptation_in_the_loop(settings: Settings) -> None:
    env, policy = navigation(), trained_policy(settings)
    for sampled in in_the_loop(policy, adaptation_rule(settings, policy.network), 5, 2):
        episodes = policy.record(env, 5)
        np.testing.assert_allclose(episodes.rewards, sampled.rewards[sampled.valid].numpy(), rtol=1e-5)
        policy = policy.adapt(episodes)
    assert policy.steps_taken == 3


def test_trust_region_steps_from_recorded_episodes_equal_those_in_the_loop(policy: AdaptablePolicy) -> None:
    env = navigation()
    for sampled in in_the_loop(policy, adaptation_rule(LEARNED, policy.network, 0.05), 5, 2):
        episodes = policy.record(env, 5)
        np.testing.assert_allclose(episodes.rewards, sampled.rewards[sampled.valid].numpy(), rtol=0.01)
        other = policy.adapt(episodes)
        policy = policy.adapt(episodes, trust_region=0.05)
        assert not torch.equal(vector(policy.weights), vector(other.weights))


def test_a_trust_region_without_a_better_policy_is_said_and_an_illegal_one_refused(
    policy: AdaptablePolicy, episodes: RecordedEpisodes
) -> None:
    with pytest.warns(UserWarning, match="No better policy was found within the trust region"):
        same = policy.adapt(episodes, trust_region=1e-40)
    assert torch.equal(vector(same.weights), vector(policy.weights))
    for illegal in (0.0, -0.1, float("nan"), float("inf")):
        with pytest.raises(UserError, match="a KL in nats above 0"):
            policy.adapt(episodes, trust_region=illegal)


def test_adaptation_without_recorded_log_probabilities_takes_the_policy_for_the_sampling_one(
    policy: AdaptablePolicy, episodes: RecordedEpisodes
) -> None:
    known, assumed = policy.adapt(episodes), policy.adapt(episodes._replace(log_probs=None))
    torch.testing.assert_close(vector(known.weights), vector(assumed.weights))


def test_adaptation_leaves_the_policy_as_it_was_and_its_step_sizes_too(
    policy: AdaptablePolicy, episodes: RecordedEpisodes
) -> None:
    before = vector(policy.meta).clone()
    adapted = policy.adapt(episodes)
    assert torch.equal(vector(policy.meta), before)
    assert policy.meta.rates
    assert all(torch.equal(tensor, policy.meta.rates[name]) for name, tensor in adapted.meta.rates.items())
    assert not any(torch.equal(tensor, policy.weights[name]) for name, tensor in adapted.weights.items())
    assert not any(tensor.requires_grad for tensor in (*adapted.weights.values(), *adapted.meta.rates.values()))


def test_how_far_a_step_went_is_the_kl_on_what_was_seen(policy: AdaptablePolicy, episodes: RecordedEpisodes) -> None:
    adapted = policy.adapt(episodes, trust_region=0.02)
    sampled = as_rollout(episodes)
    before, after = (one.network.unroll(one.weights, sampled)[0].distribution for one in (policy, adapted))
    assert policy.divergence(adapted, episodes) == pytest.approx(float(before.kl(after).mean()), rel=1e-4)
    assert 0 < policy.divergence(adapted, episodes) <= 0.0201
    assert policy.divergence(policy, episodes) == 0.0


def test_half_a_step_goes_half_the_way(policy: AdaptablePolicy, episodes: RecordedEpisodes) -> None:
    whole, half = (vector(policy.adapt(episodes, step_scale=scale).weights) for scale in (1.0, 0.5))
    torch.testing.assert_close(half, (vector(policy.weights) + whole) / 2)


def test_a_saved_policy_acts_as_before_and_goes_on_adapting(
    tmp_path: Path, policy: AdaptablePolicy, episodes: RecordedEpisodes
) -> None:
    adapted = policy.adapt(episodes)
    adapted.save(tmp_path / "adapted.safetensors")
    loaded = load(tmp_path / "adapted.safetensors")
    assert (loaded.steps_taken, loaded.iteration, loaded.settings) == (1, 3, LEARNED)
    observation = np.array([0.1, 0.2])
    np.testing.assert_array_equal(loaded.act(observation), adapted.act(observation))
    more = adapted.record(navigation(), 0)
    assert torch.equal(vector(loaded.adapt(more).weights), vector(adapted.adapt(more).weights))


def test_a_policy_is_loaded_from_its_run_whatever_devices_it_was_trained_on(tmp_path: Path) -> None:
    on_cuda = checkpoint(LEARNED.changed(device="cuda:1", rollout_device="cuda"))
    save_checkpoint(RunDirectory(tmp_path).checkpoint, on_cuda)
    loaded = load(tmp_path)
    assert loaded.settings == LEARNED
    assert torch.equal(vector(loaded.meta), vector(on_cuda.meta))
    assert loaded.on("cuda", "cpu").settings == LEARNED.changed(device="cuda")


def test_actions_are_the_clipped_mean(policy: AdaptablePolicy) -> None:
    large = Meta({name: 10_000 * tensor for name, tensor in policy.weights.items()}, policy.meta.rates)
    assert np.abs(dataclasses.replace(policy, meta=large).act([1.0, 1.0])).max() == 1.0
    mean = policy.act(np.zeros((500, 3, 2)))
    assert mean.shape == (500, 3, 2)
    assert policy.act([0.0, 0.0]).shape == (2,)


def test_exploration_draws_unclipped_actions_around_the_mean_that_adapt_takes_for_the_policys_own(
    policy: AdaptablePolicy,
) -> None:
    generator = np.random.default_rng(0)
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
    torch.testing.assert_close(vector(known.weights), vector(assumed.weights))


@pytest.mark.parametrize("observation", [np.zeros(3), np.zeros(()), np.array([0.0, np.nan])])
def test_an_observation_that_does_not_fit_is_refused(policy: AdaptablePolicy, observation: np.ndarray) -> None:
    with pytest.raises(UserError, match="finite observations of 2 numbers"):
        policy.act(observation)
    with pytest.raises(UserError, match="finite observations of 2 numbers"):
        Driver(policy).act(observation)


def test_episodes_of_another_robot_are_refused(policy: AdaptablePolicy, episodes: RecordedEpisodes) -> None:
    with pytest.raises(UserError, match="observations have 3 numbers; this policy was trained with 2"):
        policy.adapt(episodes._replace(observations=np.zeros((54, 3)), final_observations=None))
    with pytest.raises(UserError, match="actions have 1 numbers; this policy was trained with 2"):
        policy.adapt(episodes._replace(actions=np.zeros((54, 1))))
    bootstrap = dataclasses.replace(policy, settings=LEARNED.changed(time_limit="bootstrap"))
    with pytest.raises(UserError, match="needs final_observations"):
        bootstrap.adapt(episodes._replace(final_observations=None))


def test_episodes_of_another_policy_warn_and_the_own_ones_do_not(
    policy: AdaptablePolicy, episodes: RecordedEpisodes
) -> None:
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


@pytest.fixture(scope="module")
def remembering() -> AdaptablePolicy:
    return trained_policy(REMEMBERS)


@pytest.fixture(scope="module")
def remembered(remembering: AdaptablePolicy) -> RecordedEpisodes:
    return remembering.record(navigation(), 0)


def test_with_a_memory_replayed_log_probabilities_are_those_that_were_recorded(
    remembering: AdaptablePolicy, remembered: RecordedEpisodes
) -> None:
    sampled = as_rollout(remembered)
    distribution = remembering.network.unroll(remembering.weights, sampled)[0].distribution
    replayed, valid = distribution.log_prob(sampled.actions), sampled.valid
    torch.testing.assert_close(replayed[valid], sampled.log_probs[valid], rtol=1e-4, atol=1e-5)
    assert sampled.log_probs[valid].std() > 0.1
    assert off_policy_reason(remembering, remembered) is None


def test_a_policy_with_a_memory_adapts_from_what_was_recorded(
    remembering: AdaptablePolicy, remembered: RecordedEpisodes
) -> None:
    for adapted in (remembering.adapt(remembered), remembering.adapt(remembered, trust_region=0.02)):
        for name, tensor in adapted.weights.items():
            assert not torch.equal(tensor, remembering.weights[name]), name
        assert 0 < remembering.divergence(adapted, remembered) < 1


def test_what_lives_through_episodes_takes_those_that_prefer_none_and_inner_steps_do_not(
    policy: AdaptablePolicy, remembering: AdaptablePolicy, remembered: RecordedEpisodes
) -> None:
    alike = remembered._replace(rewards=np.zeros_like(remembered.rewards))
    lives = trained_policy(LIVES)
    assert lives.adapt(lives.record(navigation(), 0)._replace(rewards=alike.rewards)).memory is not None
    for steps in (policy, remembering):
        with pytest.raises(UserError, match="every reward is 0, so adaptation would do nothing"):
            steps.adapt(alike)


def test_a_policy_with_a_memory_acts_through_an_actor_alone(
    policy: AdaptablePolicy, remembering: AdaptablePolicy
) -> None:
    assert remembering.remembers
    assert not policy.remembers
    with pytest.raises(UserError, match="Driver"):
        remembering.act([0.1, 0.2])
    with pytest.raises(UserError, match="Driver"):
        remembering.explore([0.1, 0.2], np.random.default_rng(0))


def test_a_memory_of_several_parts_is_one_too(policy: AdaptablePolicy) -> None:
    @lent(Policy, of="one")
    class TwoParts:
        one = policy.network

        def __getattr__(self, name: str) -> Any:
            return getattr(self.one, name)

        def start(self, params: Params, shape: tuple[int, ...]) -> Any:
            return torch.zeros(*shape, 3), torch.zeros(*shape, 3)

    network: Any = TwoParts()
    assert dataclasses.replace(policy, network=network).remembers


@pytest.mark.parametrize("settings", [LEARNED, REMEMBERS], ids=["gaussian", "gru"])
def test_an_actor_lives_through_an_episode_as_the_policy_unrolled(settings: Settings) -> None:
    policy, generator = moved(trained_policy(settings)), np.random.default_rng(0)
    observations = generator.standard_normal((1, 3, 7, 2)).astype(np.float32)
    rewards = generator.standard_normal((1, 3, 7)).astype(np.float32)
    actor = Driver(policy, copies=3)
    for _ in range(2):  # the second episode begins without memory of the first one
        acted = [actor.act(observations[0, :, 0])]
        acted += [actor.act(observations[0, :, t], rewards[0, :, t - 1]) for t in range(1, 7)]
        actions = torch.from_numpy(np.stack(acted, 1)).unsqueeze(0)
        assert actions.abs().max() <= 1.0
        lived = as_lived(observations, actions, rewards)
        outputs: Outputs = policy.network.unroll(policy.weights, lived)[0]
        torch.testing.assert_close(outputs.distribution.most_likely, actions, rtol=1e-5, atol=1e-6)
        actor.begin()
    assert actions.std() > 0.1
    if not policy.remembers:
        np.testing.assert_allclose(actions[0].numpy(), policy.act(observations[0]), rtol=1e-5, atol=1e-6)
    else:
        fresh = np.stack([Driver(policy, copies=3).act(observations[0, :, t]) for t in range(7)], 1)
        assert np.abs(fresh[:, 1:] - actions[0].numpy()[:, 1:]).max() > 0.01


def as_lived(observations: np.ndarray, actions: torch.Tensor, rewards: np.ndarray) -> Any:
    """Episodes as a policy reads them."""
    valid = torch.ones(rewards.shape, dtype=torch.bool)
    nothing = torch.zeros(rewards.shape)
    sampled = as_rollout(
        RecordedEpisodes(
            observations.reshape(-1, 2),
            actions.numpy().reshape(-1, 2),
            rewards.reshape(-1),
            *[np.zeros(rewards.size, np.bool_), np.tile([False] * (rewards.shape[2] - 1) + [True], rewards.shape[1])],
        )
    )
    return sampled._replace(valid=valid, log_probs=nothing)


def test_an_actor_that_chooses_acts_by_indices() -> None:
    settings = configure(policy="categorical", hidden=(4,))
    sizes = Sizes(2, 3, discrete=True)
    params = make_policy("categorical", settings.network, sizes).init(0)
    policy = as_policy(Checkpoint(Meta(params, {}), 0, settings, sizes))
    actor = Driver(policy, copies=4)
    seen = np.random.default_rng(0).standard_normal((4, 2))
    for _ in range(2):
        assert actor.act(seen, np.ones(4)).tolist() == policy.act(seen).tolist()


def test_a_further_step_of_a_rule_that_holds_it_where_adaptation_began_is_refused_but_for_a_trust_region() -> None:
    policy = trained_policy(PLAIN.changed(inner_steps=2, inner_l2=0.5))
    env = navigation()
    adapted = policy.adapt(policy.record(env, seed=0))
    again = adapted.record(env, seed=1)
    with pytest.raises(UserError, match="no longer knows where that was"):
        adapted.adapt(again)
    assert adapted.adapt(again, trust_region=0.05).steps_taken == 2


@pytest.fixture(scope="module")
def living() -> AdaptablePolicy:
    """A policy whose method adapts by memory alone."""
    return moved(trained_policy(LIVES))


def test_a_policy_that_adapts_by_memory_lives_through_the_episodes_one_after_another(living: AdaptablePolicy) -> None:
    episodes = living.record(navigation(), 0)
    adapted = living.adapt(episodes)
    assert all(torch.equal(tensor, living.weights[name]) for name, tensor in adapted.weights.items())
    assert (adapted.steps_taken, living.memory) == (6, None)
    sampled, memory = as_rollout(episodes), None
    for episode in range(6):
        alone = Rollout(*(field[:, episode : episode + 1] for field in sampled))
        _, memory = living.network.unroll(living.weights, alone, memory)
    assert adapted.memory is not None
    assert memory is not None
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(adapted.memory, memory, strict=True))
    again = living.adapt(episodes.first(2)).adapt(episodes.first(2))
    assert again.steps_taken == 4
    assert again.memory is not None
    assert not torch.equal(again.memory.carry, adapted.memory.carry)


def test_whose_actions_it_lives_through_does_not_matter(living: AdaptablePolicy) -> None:
    episodes = living.record(navigation(), 0)
    strange = episodes._replace(actions=np.clip(9 * episodes.actions, -1, 1), log_probs=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert living.adapt(strange).memory is not None


def test_what_it_remembers_is_saved_and_goes_into_every_copy_it_drives(living: AdaptablePolicy, tmp_path: Path) -> None:
    adapted = living.adapt(living.record(navigation(), 0))
    adapted.save(tmp_path / "adapted.safetensors")
    loaded = load(tmp_path / "adapted.safetensors")
    assert adapted.memory is not None
    assert loaded.memory is not None
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(loaded.memory, adapted.memory, strict=True))
    seen = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)
    driver, fresh = Driver(loaded, copies=3), Driver(living, copies=3)
    first = driver.act(seen)
    assert np.abs(first - fresh.act(seen)).max() > 1e-3
    driver.act(seen, np.ones(3))
    driver.begin()
    np.testing.assert_array_equal(driver.act(seen), first)


def test_it_explores_from_what_it_remembers(living: AdaptablePolicy) -> None:
    adapted = living.adapt(living.record(navigation(), 0))
    again = adapted.record(navigation(), 1)
    sampled, memory = as_rollout(again), adapted.memory
    assert memory is not None
    distribution = living.network.unroll(living.weights, sampled, in_copies(memory, 6))[0].distribution
    replayed, valid = distribution.log_prob(sampled.actions), sampled.valid
    torch.testing.assert_close(replayed[valid], sampled.log_probs[valid], rtol=1e-4, atol=1e-5)


def test_what_it_remembers_changes_how_it_acts_on_recorded_episodes(living: AdaptablePolicy) -> None:
    episodes = living.record(navigation(), 0)
    assert living.divergence(living, episodes) == 0
    assert living.divergence(living.adapt(episodes), episodes) > 1e-6


def test_a_policy_that_adapts_by_memory_takes_trust_region_steps_before_it_remembers(living: AdaptablePolicy) -> None:
    episodes = living.record(navigation(), 0)
    assert not torch.equal(
        living.adapt(episodes, trust_region=0.02).weights["layer0.weight"], living.weights["layer0.weight"]
    )
    with pytest.raises(UserError, match="knows nothing of its memory"):
        living.adapt(episodes).adapt(episodes, trust_region=0.02)


def test_a_student_that_begins_anew_after_every_episode_says_that_nothing_is_remembered() -> None:
    episodes = trained_policy(LIVES).record(navigation(), 0)
    with pytest.warns(UserWarning, match="begins anew after every 1 episode, within which it adapts"):
        assert student().adapt(episodes).memory is None


def test_whether_episodes_leave_anything_to_remember_is_known_before_they_are_lived_through(
    policy: AdaptablePolicy,
) -> None:
    lasting, short, long = trained_policy(LIVES), student(), student(trial_episodes=3)
    assert [begins_anew(one) for one in (policy, lasting, short, long)] == [False, False, True, False]
    episodes = trained_policy(LIVES).record(navigation(), 0)
    for one in (policy, lasting, long.adapt(episodes.first(1)), long.adapt(episodes.first(5))):
        check_remembers(one, 6)
    with pytest.raises(UserError, match=r"begins anew after each: .* steps within a trust region"):
        check_remembers(short, 5)
    with pytest.raises(UserError, match="begins anew after every 3 episodes, and would remember nothing of these 6"):
        check_remembers(long, 6)
    assert long.adapt(episodes.first(4)).memory is not None
    with pytest.warns(UserWarning, match="begins anew after every 3 episodes"):
        assert long.adapt(episodes).memory is None


def test_a_policy_is_refused_where_observations_have_another_size() -> None:
    sizes = Sizes(3, 2)
    network = GaussianPolicy(LEARNED.network, sizes)
    foreign = AdaptablePolicy(network, sizes, Meta(network.init(0), {}), LEARNED.changed(learn_step_sizes=False), 0)
    message = "does not fit Navigation2D-v0, finn2017: it has observations of 3 numbers and actions of 2 numbers, and"
    with pytest.raises(UserError, match=message):
        foreign.record(navigation(), 0)


def test_policies_begin_the_same_stage_in_the_same_states_with_the_same_noise(policy: AdaptablePolicy) -> None:
    adapted = policy.adapt(policy.record(navigation(), 1))
    one, other = (current.record(navigation(), 3, stage=0) for current in (policy, adapted))
    noise = [
        episodes.actions[:1] - current.act(episodes.observations[:1])
        for current, episodes in ((policy, one), (adapted, other))
    ]
    spread = [torch.exp(current.weights["log_std"]).numpy() for current in (policy, adapted)]
    np.testing.assert_allclose(noise[0] / spread[0], noise[1] / spread[1], rtol=1e-3)
    greedy = policy.record(navigation(), 3, actions="mean")
    np.testing.assert_allclose(greedy.actions, policy.act(greedy.observations), atol=1e-6)


def test_no_visit_of_any_seed_has_an_episode_of_another_one(policy: AdaptablePolicy) -> None:
    env = navigation()
    told = [policy.record(env, seed, visit=visit).actions for seed in range(3) for visit in range(3)]
    firsts = {tuple(action) for actions in told for action in actions[::HORIZON].tolist()}
    assert len(firsts) == 3 * 3 * env.num_envs


@pytest.mark.parametrize(
    "door",
    [
        *(AdaptablePolicy.save, load, read_episodes, write_episodes, train, train_supervised, read_context_range),
        *(write_onnx, write_program, write_int8, load_onnx, write_video, write_figure),
    ],
)
def test_who_uses_a_policy_names_files_by_paths_or_by_text(door: Callable[..., Any]) -> None:
    named = [hint for name, hint in get_type_hints(door).items() if name in ("path", "run_dir", "source", "target")]
    assert named
    assert all(hint == Path | str for hint in named)


def test_what_is_saved_and_recorded_under_a_text_is_read_by_it(tmp_path: Path, policy: AdaptablePolicy) -> None:
    file, recording = f"{tmp_path}/a.safetensors", f"{tmp_path}/e.npz"
    policy.save(file)
    assert torch.equal(vector(load(file).weights), vector(policy.weights))
    write_episodes(recording, policy.record(navigation(), 0))
    assert len(read_episodes(recording).ends) == 6


def test_a_step_on_one_task_is_computed_on_one_thread_so_that_no_machine_has_another_policy(
    policy: AdaptablePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []

    def counted(*given: Any) -> Any:
        counts.append(torch.get_num_threads())
        return to_batch(*given)

    monkeypatch.setattr("rlmaml.deploy.adaptable.to_batch", counted)
    with torch_threads(2):
        policy.adapt(policy.record(navigation(), 1))
        assert torch.get_num_threads() == 2
    assert counts == [1]


def test_what_is_known_of_an_adaptation_is_stored_and_further_steps_count_on(
    tmp_path: Path, policy: AdaptablePolicy
) -> None:
    adapted = policy.adapt(policy.record(navigation(), 1))
    assert adapted.adaptation == {"episodes": 6}
    known = dataclasses.replace(
        adapted, adaptation={"episodes": 6, "task": "goal", "returns": {"before": {"mean": -1.5}}}
    )
    known.save(tmp_path / "a.safetensors")
    again = load(tmp_path / "a.safetensors")
    assert again.adaptation == known.adaptation
    assert again.adapt(again.record(navigation(), 2)).adaptation == {"episodes": 12}


def test_a_robust_policy_acts_is_exported_and_fine_tuned_as_any_other(tmp_path: Path) -> None:
    policy = moved(trained_policy(ROBUST))
    assert not policy.remembers
    seen = np.array([[0.1, -0.2], [0.3, 0.0]], np.float32)
    acted = policy.act(seen)
    np.testing.assert_array_equal(Driver(policy, 2).act(seen, np.zeros(2, np.float32)), acted)
    actor = Actor(policy, normalised_actuation(2))
    write_onnx(export_program(actor), tmp_path / "robust.onnx", actor, {})
    np.testing.assert_allclose(load_onnx(tmp_path / "robust.onnx")(seen), acted, atol=1e-5)
    tuned = policy.adapt(policy.record(navigation(), 0))
    assert (tuned.steps_taken, tuned.memory) == (1, None)
    assert not np.array_equal(tuned.act(seen), acted)
    plain, squared = (
        moved(trained_policy(ROBUST.changed(inner_reward_power=power, inner_advantage_scale=2.0)))
        for power in (1.0, 2.0)
    )
    np.testing.assert_array_equal(squared.act(seen), acted)
    as_they_are, as_squares = (one.adapt(one.record(navigation(), 0)).act(seen) for one in (plain, squared))
    assert not np.array_equal(as_they_are, as_squares)
    with pytest.raises(UserError, match="cannot go on from an episode"):
        Driver(policy).begin(go_on=True)
