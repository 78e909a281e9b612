from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlmaml.base.errors import UserError
from rlmaml.sampling.recorded import (
    FailedEpisodesError,
    RecordedEpisodes,
    as_rollout,
    check_episodes,
    check_rewards,
    from_rollout,
    joined,
    read_episodes,
    write_episodes,
)
from tests.rlmaml.makers import random_rollout, random_valid


def recording(lengths: tuple[int, ...] = (3, 2), seed: int = 0) -> RecordedEpisodes:
    """Episodes of the given lengths; the first is terminated, the others are truncated."""
    generator = np.random.default_rng(seed)
    steps = sum(lengths)
    last = np.zeros(steps, np.bool_)
    last[np.cumsum(lengths) - 1] = True
    first = np.arange(steps) < lengths[0]
    return RecordedEpisodes(
        observations=generator.standard_normal((steps, 4), dtype=np.float32),
        actions=generator.standard_normal((steps, 2), dtype=np.float32),
        rewards=generator.standard_normal(steps, dtype=np.float32),
        terminations=last & first,
        truncations=last & ~first,
        log_probs=generator.standard_normal(steps, dtype=np.float32),
        final_observations=generator.standard_normal((len(lengths), 4), dtype=np.float32),
    )


def assert_equal(one: RecordedEpisodes, other: RecordedEpisodes) -> None:
    for name, array in one._asdict().items():
        np.testing.assert_array_equal(array, getattr(other, name), err_msg=name)


def test_returns_and_ends_by_hand() -> None:
    episodes = recording()._replace(rewards=np.array([1.0, 2.0, 3.0, 10.0, 20.0], np.float32))
    assert episodes.ends.tolist() == [3, 5]
    assert episodes.returns.tolist() == [6.0, 30.0]


def test_a_recording_that_stops_in_an_episode_is_truncated_there() -> None:
    episodes = recording()._replace(truncations=np.zeros(5, np.bool_))
    assert episodes.ends.tolist() == [3, 5]
    assert as_rollout(episodes).truncated.tolist() == [[False, True]]


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    for episodes in (recording(), recording()._replace(log_probs=None, final_observations=None)):
        write_episodes(tmp_path / "episodes.npz", episodes)
        assert_equal(read_episodes(tmp_path / "episodes.npz"), episodes)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 2**31))
def test_a_rollout_and_back_is_the_same_recording(lengths: list[int], seed: int) -> None:
    episodes = recording(tuple(lengths), seed)
    assert_equal(from_rollout(as_rollout(episodes)), episodes)


def test_a_rollout_keeps_its_valid_steps() -> None:
    shape = (1, 4, 5)
    double = random_rollout(shape)._replace(valid=random_valid(shape))
    sampled = type(double)(*[part.float() if part.is_floating_point() else part for part in double])
    again = as_rollout(from_rollout(sampled))
    assert torch.equal(again.valid, sampled.valid)
    torch.testing.assert_close(again.returns, sampled.returns)
    for name in ("observations", "actions", "rewards"):
        mask = sampled.valid
        torch.testing.assert_close(getattr(again, name)[mask], getattr(sampled, name)[mask], msg=name)


def test_the_first_episodes_are_a_recording_of_their_own() -> None:
    whole = recording((3, 1, 4), 0)
    part = check_episodes(whole.first(2), "The recording")
    np.testing.assert_array_equal(part.returns, whole.returns[:2])
    np.testing.assert_array_equal(part.observations, whole.observations[:4])
    assert_equal(whole.first(7), whole)


def test_an_episode_whose_simulation_failed_is_left_out() -> None:
    sampled = random_rollout((1, 4, 5))
    unstable = torch.tensor([[False, False, True, False]])
    sampled = sampled._replace(unstable=unstable, valid=random_valid((1, 4, 5)) & ~unstable.unsqueeze(-1))
    kept = check_episodes(from_rollout(sampled), "The recording")
    assert len(kept.ends) == 3
    assert len(kept.rewards) == sampled.valid.sum()
    np.testing.assert_allclose(kept.returns, sampled.returns[0, [0, 1, 3]], rtol=1e-6)
    assert kept.final_observations is not None
    np.testing.assert_allclose(kept.final_observations, sampled.final_observations[0, [0, 1, 3]], rtol=1e-6)


def test_where_every_simulation_failed_there_is_nothing_to_record() -> None:
    sampled = random_rollout((1, 4, 5))
    failed = sampled._replace(valid=torch.zeros_like(sampled.valid), unstable=torch.ones_like(sampled.unstable))
    with pytest.raises(UserError, match="The simulation failed in every one of 4 episodes"):
        from_rollout(failed)


def write_minari(folder: Path, monkeypatch: pytest.MonkeyPatch, episodes: RecordedEpisodes) -> Path:
    """The episodes as a Minari dataset, its flags as they are."""
    minari, collector = pytest.importorskip("minari"), pytest.importorskip("minari.data_collector")
    from gymnasium import spaces

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder))
    assert episodes.final_observations is not None
    starts, ends = [0, 3, 5], [3, 5, 9]
    buffers = [
        collector.EpisodeBuffer(
            observations=list(np.concatenate([episodes.observations[a:b], final[None]])),
            actions=list(episodes.actions[a:b]),
            rewards=episodes.rewards[a:b].tolist(),
            terminations=episodes.terminations[a:b].tolist(),
            truncations=episodes.truncations[a:b].tolist(),
        )
        for a, b, final in zip(starts, ends, episodes.final_observations, strict=True)
    ]
    observation_space, action_space = (spaces.Box(-np.inf, np.inf, (size,)) for size in (4, 2))
    minari.create_dataset_from_buffers(
        "robot/test-v0",
        buffers,
        observation_space=observation_space,
        action_space=action_space,
        data_format="hdf5",
    )
    return folder / "robot" / "test-v0"


@pytest.mark.filterwarnings("ignore:.*None:UserWarning:minari")
def test_a_minari_dataset_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = recording((3, 2, 4))._replace(log_probs=None)
    assert_equal(read_episodes(write_minari(tmp_path, monkeypatch, episodes)), episodes)


@pytest.mark.filterwarnings("ignore:.*None:UserWarning:minari")
def test_an_episode_of_a_minari_dataset_without_a_final_flag_counts_as_truncated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = recording((3, 2, 4))._replace(log_probs=None)
    silent = np.zeros(9, np.bool_)
    unflagged = episodes._replace(terminations=silent, truncations=silent)
    ends = np.isin(np.arange(9), (2, 4, 8))
    expected = episodes._replace(terminations=silent, truncations=ends)
    assert_equal(read_episodes(write_minari(tmp_path / "none", monkeypatch, unflagged)), expected)
    both = read_episodes(
        write_minari(tmp_path / "both", monkeypatch, episodes._replace(terminations=ends, truncations=ends))
    )
    assert both.terminations.tolist() == ends.tolist()
    assert both.ends.tolist() == [3, 5, 9]


@pytest.mark.filterwarnings("ignore:.*None:UserWarning:minari")
def test_a_minari_dataset_that_goes_on_after_an_end_is_refused_by_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = recording((3, 2, 4))._replace(log_probs=None)
    early = episodes._replace(terminations=np.arange(9) == 6)
    with pytest.raises(UserError, match="test-v0, episode 2 is over after step 2 by its flags, and goes on to step 4"):
        read_episodes(write_minari(tmp_path, monkeypatch, early))


@pytest.mark.filterwarnings("ignore:.*None:UserWarning:minari")
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_minari_dataset_that_says_it_holds_more_than_there_is_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str | None
) -> None:
    path, h5py = write_minari(tmp_path, monkeypatch, recording((3, 2, 4))), pytest.importorskip("h5py")
    with h5py.File(next(path.rglob("*.hdf5")), "a") as file:
        del file["episode_1/rewards"]
        file.create_dataset("episode_1/rewards", (1 << 40,), "f4", chunks=(2,), compression=compression)
    said = "would need 12,288.0 GiB" if compression else "rewards says that it holds 4398046511104 bytes, which are not"
    with pytest.raises(UserError, match=said):
        read_episodes(path)


@pytest.mark.parametrize("what", ["empty", "cut", "text", "one array", "compressed badly"])
def test_what_a_killed_recorder_or_another_tool_leaves_is_refused_with_one_sentence(tmp_path: Path, what: str) -> None:
    path = tmp_path / "episodes.npz"
    write_episodes(path, recording((3, 2, 4)))
    whole = bytearray(path.read_bytes())
    middle = len(whole) // 3
    contents = {
        "empty": b"",
        "cut": bytes(whole[:middle]),
        "text": b"time,reward\n0,1\n",
        "compressed badly": bytes(whole[:60] + bytes(40) + whole[100:]),
    }
    if what == "one array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        path.write_bytes(contents[what])
    with pytest.raises(UserError, match=r"no readable \.npz file of plain arrays"):
        read_episodes(path)


def test_a_damaged_length_that_hides_arrays_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "episodes.npz"
    write_episodes(path, recording((3, 2, 4)))
    content = bytearray(path.read_bytes())
    entry = content.index(b"truncations.npy", content.index(b"PK\x01\x02")) - 46  # log_probs and others come after it
    assert content[entry : entry + 4] == b"PK\x01\x02"
    content[entry + 33] ^= 1  # the length of its comment
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"no readable \.npz file of plain arrays"):
        read_episodes(path)


def replaced(name: str, value: npt.NDArray[Any]) -> RecordedEpisodes:
    return recording()._replace(**{name: value})


def with_nan(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.where(np.arange(array.size).reshape(array.shape) == 3, np.nan, array)


@pytest.mark.parametrize(
    ("episodes", "words"),
    [
        (replaced("rewards", np.ones(4)), "unequal numbers of steps.*'rewards': 4"),
        (replaced("rewards", with_nan(np.ones(5))), "rewards is NaN or infinite in row 3"),
        (replaced("rewards", np.array([0.0, 0.0, -1e39, 0.0, 0.0])), "largest number in single precision, in row 2"),
        (replaced("observations", with_nan(np.ones((5, 4)))), "observations is NaN or infinite in row 0"),
        (replaced("observations", np.ones(5)), r"observations has shape \(5,\).*2 axes"),
        (replaced("actions", np.full((5, 2), "left")), "actions has shape.*must be numbers"),
        (replaced("actions", np.full((5, 2), 101.0)), "an action is 101.*normalised"),
        (replaced("final_observations", np.ones((3, 4))), r"final_observations has shape \(3, 4\).*\(2, 4\)"),
        (RecordedEpisodes(*[np.ones((0, 1))] * 2, *[np.ones(0)] * 3), "zero episodes"),
    ],
)
def test_a_recording_that_cannot_be_used_says_why(episodes: RecordedEpisodes, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_episodes(episodes, "recording.npz")


@pytest.mark.parametrize(
    ("episodes", "words"),
    [
        (replaced("rewards", np.zeros(5)), "every reward is 0,"),
        (recording((3, 3))._replace(rewards=np.full(6, -1.5)), "every reward is -1.5 and every episode equally long"),
    ],
)
def test_rewards_that_prefer_no_episode_say_so(episodes: RecordedEpisodes, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_rewards(check_episodes(episodes, "recording.npz"))


def test_a_constant_reward_for_every_step_survived_can_be_used() -> None:
    survived = check_episodes(replaced("rewards", np.ones(5)), "recording.npz")
    check_rewards(survived)
    assert survived.returns.tolist() == [3.0, 2.0]


def test_a_file_that_is_no_recording_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There are no episodes at"):
        read_episodes(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("not a recording")
    with pytest.raises(UserError, match=r"no readable \.npz file"):
        read_episodes(tmp_path / "text.npz")
    np.savez(tmp_path / "objects.npz", observations=np.array([{}], dtype=object))
    with pytest.raises(UserError, match=r"no readable \.npz file"):
        read_episodes(tmp_path / "objects.npz")
    arrays = recording()._asdict()
    del arrays["rewards"]
    np.savez(tmp_path / "incomplete.npz", **arrays, reward=np.ones(5))
    with pytest.raises(UserError, match=r"missing: rewards, unknown: reward"):
        read_episodes(tmp_path / "incomplete.npz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no readable Minari dataset|minari"):
        read_episodes(tmp_path / "empty")


def test_demonstrations_need_no_rewards(tmp_path: Path) -> None:
    arrays = {name: array for name, array in recording()._asdict().items() if name != "rewards"}
    np.savez(tmp_path / "shown.npz", **arrays)
    assert_equal(read_episodes(tmp_path / "shown.npz", rewards=False), recording()._replace(rewards=np.zeros(5)))
    with pytest.raises(UserError, match=r"missing: rewards"):
        read_episodes(tmp_path / "shown.npz")


def test_joined_recordings_keep_their_episodes_apart_and_only_what_all_have() -> None:
    def of(rewards: list[float], log_probs: bool) -> RecordedEpisodes:
        count, none = len(rewards), np.zeros(len(rewards), bool)
        seen, earned = np.zeros((count, 2)), np.array(rewards)
        return RecordedEpisodes(seen, seen, earned, none, none, earned if log_probs else None)

    both = joined([of([1.0, 2.0], True), of([4.0], True)])
    assert both.returns.tolist() == [3.0, 4.0]
    assert both.log_probs is not None
    assert joined([of([1.0], True), of([2.0], False)]).log_probs is None
    with pytest.raises(FailedEpisodesError):
        joined([])
