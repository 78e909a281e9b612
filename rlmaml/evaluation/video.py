"""Videos: a policy before and after adaptation side by side, on the same task from the same initial state."""

import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from rlmaml.base.errors import UserError
from rlmaml.base.files import replacing, write_atomically
from rlmaml.base.random_streams import Phase, RandomStreams, Stream
from rlmaml.deploy.adaptable import ActionKind, AdaptablePolicy
from rlmaml.deploy.driver import Driver
from rlmaml.deploy.fit import begins_anew
from rlmaml.sampling.rollout import TaskEnvironment, task_words
from rlmaml.settings.stages import stage_words

Frame: TypeAlias = npt.NDArray[np.uint8]
"""A picture, (height, width, 3)."""

HEADER = 44
"""Pixels above each picture for its caption."""
MARGIN = 10
"""Pixels to the left and right of what is written."""
PROGRESS_FRAMES = 40
"""About how many frames of each film a video of the training's progress has."""
INK, PAPER, FADED = (24, 28, 36), (250, 250, 248), (130, 136, 148)
FRAMES_PER_SECOND = 25
"""Most frames per second that are drawn: steps in between are not seen."""


@runtime_checkable
class DrawnEnvironment(TaskEnvironment, Protocol):
    """A task environment that draws its copies."""

    metadata: dict[str, Any]
    """Holds ``"render_fps"``, steps per second."""

    def render(self) -> tuple[Frame, ...]:
        """One picture per copy."""


MakeScene: TypeAlias = Callable[[], DrawnEnvironment]
"""An environment with one copy, made to be drawn."""


class Shot(NamedTuple):
    """What one step of an episode looked like, and the return so far."""

    picture: Frame
    earned: float


def film(
    env: DrawnEnvironment,
    policy: AdaptablePolicy,
    seed: int,
    stride: int,
    advance: Callable[[], object] = lambda: None,
    *,
    actions: ActionKind = "mean",
) -> list[Shot]:
    """One episode of the policy: a shot before every ``stride``-th step, and at the end.

    Args:
        env: an environment with one copy, made to be drawn, whose task is set.
        policy: who acts.
        seed: of the initial state and the noise; the same one gives the same start to another policy.
        stride: see :func:`frame_stride`.
        advance: called after every step.
        actions: the most likely ones, or sampled ones, with the same noise for another policy.
    """
    streams = RandomStreams(seed, Phase.FILM)
    observation, _ = env.reset(seed=streams.initial_state_seeds(0, [0], 1))
    shots, earned, reward = [Shot(env.render()[0], 0.0)], 0.0, np.zeros(1)
    actor = Driver(policy, noise=streams.generator(Stream.ACTIONS) if actions == "sampled" else None)
    for step in range(1, env.horizon + 1):
        observation, reward, terminated, truncated, _ = env.step(actor.act(observation, reward))
        earned += float(reward[0])
        over = terminated[0] or truncated[0] or step == env.horizon
        if over or step % stride == 0:
            shots.append(Shot(env.render()[0], earned))
        advance()
        if over:
            break
    return shots


def frame_stride(steps_per_second: int) -> int:
    """Steps per shot, so that a video in real time needs no more than 25 frames per second."""
    return max(1, round(steps_per_second / FRAMES_PER_SECOND))


def side_by_side(
    films: Sequence[Sequence[Shot]], captions: Sequence[str], title: str, *, actions: ActionKind = "mean"
) -> Iterator[Frame]:
    """Frames with all films next to each other; one that is over stays on its last shot.

    Args:
        films: one list of shots each.
        captions: what is written above each, beside its return so far.
        title: what is written above all, on as many lines as it needs.
        actions: which are filmed, to be said beside the returns.
    """
    large, small = (ImageFont.load_default(size) for size in (16, 13))
    widths = [shots[0].picture.shape[1] for shots in films]
    lefts = [sum(widths[:number]) for number in range(len(films))]
    lines = wrapped(title, large.getlength, sum(widths) - 2 * MARGIN)
    top = 8 + 18 * len(lines)
    below, height = top + HEADER, max(shots[0].picture.shape[0] for shots in films)
    # An even number of pixels both ways, as video formats want it.
    size = (sum(widths) + sum(widths) % 2, below + height + (below + height) % 2)
    page = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((MARGIN, 6), "\n".join(lines), INK, large, spacing=2)
    for caption, left, width in zip(captions, lefts, widths, strict=True):
        said = cut(caption, small.getlength, width - 2 * MARGIN)
        pen.text((left + MARGIN, top + 4), said, FADED, small)
    for time in range(max(map(len, films))):
        canvas = page.copy()
        pen = ImageDraw.Draw(canvas)
        for shots, left, width in zip(films, lefts, widths, strict=True):
            shot = shots[min(time, len(shots) - 1)]
            earned = f"return {shot.earned:.1f}"
            pen.text((left + MARGIN, top + 21), earned, INK, large)
            told = large.getlength(f"{earned} ")
            kind = cut(f"{actions} actions", small.getlength, width - 2 * MARGIN - int(told))
            pen.text((left + MARGIN + told, top + 24), kind, FADED, small)
            canvas.paste(Image.fromarray(shot.picture), (left, below))
        yield np.asarray(canvas)


def wrapped(text: str, length: Callable[[str], float], room: int) -> list[str]:
    """Lines of whole words, none of which is longer than there is room; a word that is, is cut."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".lstrip()
        if length(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(cut(word, length, room))
    return [line for line in lines if line] or [""]


def cut(text: str, length: Callable[[str], float], room: int) -> str:
    """The text, or as much of its beginning as there is room for."""
    if length(text) <= room:
        return text
    return max((f"{text[:end]}…" for end in range(len(text)) if length(f"{text[:end]}…") <= room), key=len, default="")


def film_progress(
    policy: AdaptablePolicy, env: TaskEnvironment, scene: DrawnEnvironment, task: Mapping[str, Any], seed: int
) -> tuple[list[Frame], float]:
    """A short video of a policy in training, before and after one inner step on one task, or what memory lives through.

    Args:
        policy: the policy.
        env: where it samples the episodes of its step, as many as in training; its tasks are changed.
        scene: where it is filmed.
        task: one task, without task axis.
        seed: of the episodes and of the filmed initial state.

    Returns:
        The frames, and how many of them make a second.
    """
    alone = {name: np.asarray(values)[None] for name, values in task.items()}
    scene.set_tasks(alone)
    env.set_tasks(alone)
    steps_per_second = scene.metadata["render_fps"]
    stride = max(frame_stride(steps_per_second), -(-scene.horizon // PROGRESS_FRAMES))
    actors = [policy]
    if policy.settings.inner.inner_steps and not begins_anew(policy):
        actors.append(policy.adapt(policy.record(env, seed).first(policy.settings.run.num_episodes)))
    words = stage_words(policy.settings)
    captions = (words(0), words(policy.settings.run.num_episodes if policy.adapts_by_memory else 1))[: len(actors)]
    films = [film(scene, actor, seed, stride) for actor in actors]
    title = f"{policy.settings.run.env_id}: {task_words(env, alone)[0]}; meta-iteration {policy.iteration}"
    return list(side_by_side(films, captions, title)), steps_per_second / stride


def as_video(frames: Sequence[Frame], frames_per_second: float | int, suffix: str) -> bytes:
    """Frames as the content of a ``.gif`` or ``.mp4`` file."""
    if suffix == ".gif":
        return as_gif(frames, frames_per_second)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"video{suffix}"
        write_video(path, frames, frames_per_second)
        return path.read_bytes()


def as_gif(frames: Sequence[Frame], frames_per_second: float | int) -> bytes:
    """Frames as the content of a GIF, which begins again at its end."""
    first, *others = (Image.fromarray(frame) for frame in frames)
    content = io.BytesIO()
    first.save(content, "GIF", save_all=True, append_images=others, duration=1000 / frames_per_second, loop=0)
    return content.getvalue()


def write_video(path: Path | str, frames: Sequence[Frame], frames_per_second: float | int) -> None:
    """Write frames as ``.mp4`` or ``.gif``, in one step: a film that is there stays until the new one is complete.

    Raises:
        UserError: another suffix, or the file cannot be written.
    """
    check_video_path(path)
    if Path(path).suffix == ".gif":
        write_atomically(path, as_gif(frames, frames_per_second))
        return
    from moviepy import ImageSequenceClip

    clip = ImageSequenceClip(list(frames), fps=frames_per_second)
    with replacing(path) as target:
        clip.write_videofile(str(target), codec="libx264", audio=False, logger=None)


def check_video_path(path: Path | str) -> None:
    """Raise a :class:`UserError` unless the path ends in ``.mp4`` or ``.gif``."""
    suffix = Path(path).suffix
    if suffix not in (".mp4", ".gif"):
        raise UserError(f"{path} has the suffix {suffix!r}; a video is an .mp4 or a .gif.")
