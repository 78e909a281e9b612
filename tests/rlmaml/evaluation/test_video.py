import dataclasses
import errno
import os
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from moviepy import ImageSequenceClip

from rlmaml.base.errors import UserError
from rlmaml.deploy.driver import Driver
from rlmaml.evaluation import video
from rlmaml.evaluation.video import (
    HEADER,
    MARGIN,
    PAPER,
    Shot,
    cut,
    film,
    film_progress,
    frame_stride,
    side_by_side,
    wrapped,
    write_video,
)
from rlmaml.settings.whole import as_method
from rlmaml_envs import TaskVectorEnv
from tests.rlmaml.deploy.trained import HORIZON, LIVES, PLAIN, REMEMBERS, moved, navigation, student, trained_policy


def drawn_navigation() -> TaskVectorEnv:
    return navigation(1, render_mode="rgb_array")


def shots(values: list[int], width: int = 40, height: int = 31) -> list[Shot]:
    return [Shot(np.full((height, width, 3), value, np.uint8), float(value)) for value in values]


@pytest.mark.parametrize(("stride", "count"), [(1, 10), (4, 4), (100, 2)])
def test_a_film_shows_the_start_every_strideth_step_and_the_end(stride: int, count: int) -> None:
    env, policy = drawn_navigation(), trained_policy()
    filmed = film(env, policy, 3, stride)
    assert len(filmed) == count
    observation, _ = env.reset(seed=[3])
    np.testing.assert_array_equal(filmed[0].picture, env.render()[0])
    earned = 0.0
    for _ in range(HORIZON):
        observation, reward, *_ = env.step(policy.act(observation).astype(np.float64))
        earned += float(reward[0])
    np.testing.assert_array_equal(filmed[-1].picture, env.render()[0])
    assert filmed[-1].earned == pytest.approx(earned)


def test_a_film_of_a_policy_with_a_memory_goes_on_remembering() -> None:
    env, policy = drawn_navigation(), trained_policy(REMEMBERS)
    large = {name: 30 * tensor for name, tensor in policy.weights.items()}
    policy = dataclasses.replace(policy, meta=policy.meta._replace(params=large))
    earned = film(env, policy, 3, 1)[-1].earned
    actor, total, reward = Driver(policy), 0.0, np.zeros(1)
    observation, _ = env.reset(seed=[3])
    for _ in range(HORIZON):
        observation, reward, *_ = env.step(actor.act(observation, reward).astype(np.float64))
        total += float(reward[0])
    assert earned == pytest.approx(total)
    forgetful = 0.0
    observation, _ = env.reset(seed=[3])
    for _ in range(HORIZON):
        observation, reward, *_ = env.step(Driver(policy).act(observation, reward).astype(np.float64))
        forgetful += float(reward[0])
    assert abs(forgetful - total) > 1e-3


def test_a_film_counts_every_step_for_the_progress_bar() -> None:
    steps: list[None] = []
    film(drawn_navigation(), trained_policy(), 3, 4, lambda: steps.append(None))
    assert len(steps) == HORIZON


def test_a_video_shows_no_more_than_25_frames_per_second_in_real_time() -> None:
    assert [frame_stride(rate) for rate in (1, 20, 25, 50, 100)] == [1, 1, 1, 2, 4]


def test_a_film_of_the_progress_names_family_task_and_meta_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []

    def told(films: object, captions: object, title: str) -> list[np.ndarray]:
        titles.append(title)
        return [np.zeros((2, 2, 3), np.uint8)]

    monkeypatch.setattr(video, "side_by_side", told)
    film_progress(trained_policy(), navigation(), drawn_navigation(), {"goal": np.array([0.3, -0.2])}, 0)
    assert titles == [f"Navigation2D-v0: goal = (0.3, -0.2) m; meta-iteration {trained_policy().iteration}"]


def test_progress_is_a_short_video_before_and_after_one_step() -> None:
    policy, task = trained_policy(), {"goal": np.array([0.3, -0.2])}
    frames, rate = film_progress(policy, navigation(), drawn_navigation(), task, 0)
    assert (len(frames), rate) == (10, 10.0)
    width = frames[0].shape[1] // 2
    assert not np.array_equal(frames[-1][70:, :width], frames[-1][70:, width:])
    alone = dataclasses.replace(policy, settings=as_method(PLAIN, "pretrained", "gaussian"))
    scene = navigation(1, 400, render_mode="rgb_array")
    frames, rate = film_progress(alone, navigation(), scene, task, 0)
    assert (len(frames), rate) == (41, 1.0)
    assert frames[0].shape[1] == width


def test_a_memory_is_filmed_before_and_after_a_life_of_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, task, told = moved(trained_policy(LIVES)), {"goal": np.array([0.3, -0.2])}, []

    def noted(films: list[list[Shot]], captions: tuple[str, ...], title: str) -> list[np.ndarray]:
        told.append((films, captions))
        return []

    monkeypatch.setattr(video, "side_by_side", noted)
    film_progress(policy, navigation(), drawn_navigation(), task, 0)
    ((films, captions),) = told
    assert captions == ("before adaptation", "after 6 episodes")
    lived = policy.adapt(policy.record(navigation(), 0))
    expected = [film(drawn_navigation(), one, 0, 1)[-1] for one in (policy, lived)]
    for filmed, shot in zip(films, expected, strict=True):
        np.testing.assert_array_equal(filmed[-1].picture, shot.picture)
        assert filmed[-1].earned == shot.earned
    assert abs(films[0][-1].earned - films[1][-1].earned) > 1e-3


def test_who_begins_anew_after_every_episode_is_filmed_once() -> None:
    env, scene = navigation(observe_task=True), navigation(1, render_mode="rgb_array", observe_task=True)
    frames, _ = film_progress(student(), env, scene, {"goal": np.array([0.3, -0.2])}, 0)
    scene = drawn_navigation()
    before_and_after, _ = film_progress(trained_policy(), navigation(), scene, {"goal": np.array([0.3, -0.2])}, 0)
    assert 2 * frames[0].shape[1] == before_and_after[0].shape[1]


def test_films_of_different_length_stand_side_by_side_on_even_numbers_of_pixels() -> None:
    frames = list(side_by_side([shots([10, 20, 30]), shots([200], width=41)], ["before", "after"], "task"))
    assert len(frames) == 3
    height = 26 + HEADER
    for frame, value in zip(frames, (10, 20, 30), strict=True):
        assert frame.shape[0] % 2 == frame.shape[1] % 2 == 0
        assert (frame[height : height + 31, :40] == value).all()
        assert (frame[height : height + 31, 40:81] == 200).all()
    assert not np.array_equal(frames[0][:height], frames[1][:height])


def test_beside_a_return_stands_which_actions_earned_it() -> None:
    wide = [shots([10], width=400)]
    (sampled,), (mean,) = (side_by_side(wide, [""], "", actions=actions) for actions in ("sampled", "mean"))
    assert not np.array_equal(sampled, mean)
    assert np.array_equal(sampled[:, :60], mean[:, :60])


def test_titles_and_captions_end_before_the_edge_however_long_they_are() -> None:
    title = "RoverGoal-v0: " + ", ".join(f"obstacle {number} = (-0.53, 1.21) m" for number in range(5))
    narrow = [shots([200], width=150), shots([200], width=150)]
    (frame,) = side_by_side(narrow, ["before adaptation, a long caption", "after"], title)
    header = frame[: -31 - 1]
    assert (header[:, -MARGIN:] == PAPER).all()
    assert (header[-HEADER:, 150 - MARGIN : 150] == PAPER).all()
    assert (header[:, : 300 - MARGIN] != PAPER).any(axis=(0, 2))[200:].any()
    lines = wrapped(title, len, 40)
    assert " ".join(lines) == title
    assert max(map(len, lines)) <= 40
    assert wrapped("a" * 50, len, 10) == [cut("a" * 50, len, 10)] == ["aaaaaaaaa…"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # imageio leaves ffmpeg's pipes open
@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_video_is_written_at_its_speed(tmp_path: Path, suffix: str) -> None:
    frames = list(side_by_side([shots([0, 80, 160, 240])], ["only"], "task"))
    path = tmp_path / f"film{suffix}"
    write_video(path, frames, 20.0)
    read = imageio.imread(path)
    assert read.shape[:3] == (4, *frames[0].shape[:2])
    brightness = read[:, 90:95, 10:30].mean((1, 2, 3))
    np.testing.assert_allclose(brightness, [0, 80, 160, 240], atol=12)
    if suffix == ".mp4":
        assert imageio.immeta(path)["fps"] == 20


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_on_a_disk_that_fills_up_the_earlier_film_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    def fill(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write_half(_: object, path: str, **__: object) -> None:
        Path(path).write_bytes(b"half")
        fill()

    path = tmp_path / f"film{suffix}"
    path.write_bytes(b"whole")
    monkeypatch.setattr(ImageSequenceClip, "write_videofile", write_half)
    monkeypatch.setattr(os, "fsync", fill)
    with pytest.raises(UserError, match="No space left on device"):
        write_video(path, list(side_by_side([shots([0, 80])], ["only"], "task")), 20.0)
    assert [found.read_bytes() for found in tmp_path.iterdir()] == [b"whole"]


def test_another_format_or_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    frames = list(side_by_side([shots([0])], ["only"], "task"))
    with pytest.raises(UserError, match=r"suffix '.avi'; a video is an .mp4 or a .gif"):
        write_video(tmp_path / "film.avi", frames, 20.0)
    with pytest.raises(UserError, match="Cannot write"):
        write_video(tmp_path / "nowhere" / "film.gif", frames, 20.0)
