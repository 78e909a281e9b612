"""Recorded episodes of one robot on one task: read, checked, written. Adapting from them needs no simulator.

Layout of a recording, an ``.npz`` file with one row per step, the episodes one after another in the order in which
their steps happened. N steps, E episodes:

===================== ============ =====================================================================
``observations``      (N, obs)     what was seen before the action
``actions``           (N, action)  what the policy chose, normalised to [-1, 1] and not clipped
``rewards``           (N,)         what the step earned
``terminations``      (N,)         whether the episode ended here because the task was over or failed
``truncations``       (N,)         whether it ended here because time was up; the last row always ends one
``log_probs``         (N,)         optional: log π(a|o) in nats of the policy that acted
``final_observations`` (E, obs)    optional: what was seen after each episode's last step
===================== ============ =====================================================================

Demonstrations have the same layout, and need no ``rewards``.

A directory is read as a Minari dataset, whose observations include the final ones, and whose episodes may lack a flag
at their end: it then counts as truncated.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from rlmaml.base.errors import UserError
from rlmaml.base.files import check_nameable, write_atomically
from rlmaml.base.memory import MemoryNeededError, check_memory
from rlmaml.core.types import Rollout

REQUIRED = ("observations", "actions", "rewards", "terminations", "truncations")
LARGEST_ACTION = 100.0
"""Normalised actions beyond this are in other units."""
COPIES = 3
"""Of a Minari dataset's arrays, at once: as they are read, joined, and in single precision."""

Array = npt.NDArray[Any]


class FailedEpisodesError(UserError):
    """Every episode of a policy failed: the simulation or the robot broke before it was over."""


class RecordedEpisodes(NamedTuple):
    """The arrays of a recording, by the names of its layout."""

    observations: Array
    actions: Array
    rewards: Array
    terminations: Array
    truncations: Array
    log_probs: Array | None = None
    final_observations: Array | None = None

    @property
    def ends(self) -> Array:
        """The row after each episode's last."""
        last = self.terminations | self.truncations
        last[-1] = True
        return np.flatnonzero(last) + 1

    @property
    def returns(self) -> Array:
        """Undiscounted return of each episode."""
        return np.add.reduceat(self.rewards, np.concatenate([[0], self.ends[:-1]]))

    def first(self, count: int) -> "RecordedEpisodes":
        """The first ``count`` episodes, or all where there are fewer."""
        steps = self.ends[:count][-1]
        final = self.final_observations
        rows = {name: array[:steps] for name, array in self._asdict().items() if array is not None}
        return RecordedEpisodes(**rows | {"final_observations": None if final is None else final[:count]})


def joined(recordings: Sequence[RecordedEpisodes]) -> RecordedEpisodes:
    """The episodes of several recordings, one after another.

    Raises:
        FailedEpisodesError: there are no recordings.
    """
    if not recordings:
        raise FailedEpisodesError("Every episode failed.")
    whole = [one._replace(truncations=one.truncations | _last_row(one)) for one in recordings]
    arrays: dict[str, Any] = {name: [getattr(one, name) for one in whole] for name in RecordedEpisodes._fields}
    known = {name: parts for name, parts in arrays.items() if all(part is not None for part in parts)}
    return RecordedEpisodes(**{name: np.concatenate(parts) for name, parts in known.items()})


def _last_row(episodes: RecordedEpisodes) -> Array:
    """Where the last episode stops, unless it is terminated there."""
    last = np.zeros_like(episodes.truncations)
    last[-1] = not episodes.terminations[-1]
    return last


def read_episodes(path: Path | str, *, rewards: bool = True) -> RecordedEpisodes:
    """A checked recording.

    Args:
        path: of an ``.npz`` file or a Minari dataset.
        rewards: whether it must hold rewards; those that a demonstration lacks are read as 0.

    Raises:
        UserError: see :func:`check_episodes`; or there is nothing at ``path``, it is no recording, it needs more memory
            than there is, or it is a Minari dataset and Minari is not installed.
    """
    path = Path(path)
    check_nameable(path)
    if path.is_dir():
        return check_episodes(_read_minari(path), str(path))
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            if any(entry.comment for entry in file.zip.infolist()):  # a damaged length makes one of the next entries
                raise ValueError("an array has a comment")
            claimed = sum(entry.file_size for entry in file.zip.infolist())
            check_memory(claimed, f"What {path} says it holds", "Give a recording of fewer episodes.")
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except FileNotFoundError as error:
        raise UserError(f"There are no episodes at {path}. Give an .npz file or a Minari dataset.") from error
    except MemoryNeededError:
        raise
    except Exception as error:  # an empty, cut or foreign file: EOFError, BadZipFile, zlib.error, AttributeError, ...
        raise UserError(f"{path} is no readable .npz file of plain arrays. Write it with numpy.savez.") from error
    if not rewards and "actions" in arrays:
        arrays.setdefault("rewards", np.zeros(len(np.atleast_1d(arrays["actions"])), np.float32))
    missing, unknown = set(REQUIRED) - set(arrays), set(arrays) - set(RecordedEpisodes._fields)
    if missing or unknown:
        raise UserError(
            f"{path} holds the arrays {', '.join(sorted(arrays))}; missing: {', '.join(sorted(missing)) or 'none'}, "
            f"unknown: {', '.join(sorted(unknown)) or 'none'}. A recording needs {', '.join(REQUIRED)}, and may hold "
            "log_probs and final_observations."
        )
    return check_episodes(RecordedEpisodes(**arrays), str(path))


def write_episodes(path: Path | str, episodes: RecordedEpisodes) -> None:
    """Write a recording in the layout that :func:`read_episodes` reads.

    Raises:
        UserError: the file cannot be written.
    """
    arrays = {name: array for name, array in episodes._asdict().items() if array is not None}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_atomically(path, content.getvalue())


def check_episodes(episodes: RecordedEpisodes, source: str) -> RecordedEpisodes:
    """The recording with every array in the dtype of its layout.

    Args:
        episodes: the recording.
        source: where it is from, for the error message.

    Raises:
        UserError: zero steps, arrays of unequal length or wrong number of axes, not numbers, NaN or infinite, actions
            that are not normalised.
    """
    axes = {"observations": 2, "actions": 2, "final_observations": 2}
    given = {name: np.asarray(array) for name, array in episodes._asdict().items() if array is not None}
    singles: dict[str, npt.NDArray[np.float32]] = {}
    for name, array in given.items():
        if array.dtype.kind not in "fiub" or array.ndim != axes.get(name, 1):
            raise UserError(
                f"{source}: {name} has shape {array.shape} and dtype {array.dtype}; it must be numbers with "
                f"{axes.get(name, 1)} axes, {'(step, feature)' if name in axes else '(step,)'}."
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0, 0])
            raise UserError(f"{source}: {name} is NaN or infinite in row {row}. Leave out the episode it belongs to.")
        with np.errstate(over="ignore"):
            singles[name] = array.astype(np.float32)
        if len(beyond := np.argwhere(~np.isfinite(singles[name]))):
            raise UserError(
                f"{source}: {name} is beyond the largest number in single precision, in row {int(beyond[0, 0])}. Leave "
                "out the episode it belongs to."
            )
    lengths = {name: len(array) for name, array in given.items() if name != "final_observations"}
    if len(set(lengths.values())) > 1:
        raise UserError(
            f"{source}: the arrays have unequal numbers of steps, {lengths}; each step needs one row in all."
        )
    if not lengths["rewards"]:
        raise UserError(f"{source} holds zero episodes. Record at least one.")
    flags = {name: given[name].astype(np.bool_) for name in ("terminations", "truncations")}
    numbers = {name: array for name, array in singles.items() if name not in flags}
    checked = RecordedEpisodes(**flags, **numbers)
    if checked.final_observations is not None and checked.final_observations.shape != (
        len(checked.ends),
        checked.observations.shape[1],
    ):
        raise UserError(
            f"{source}: final_observations has shape {checked.final_observations.shape}; it must be (episodes, "
            f"observation) = {(len(checked.ends), checked.observations.shape[1])}."
        )
    largest = float(np.abs(checked.actions).max(initial=0.0))
    if largest > LARGEST_ACTION:
        raise UserError(
            f"{source}: an action is {largest:.4g}; actions must be normalised, so that [-1, 1] is the robot's range."
        )
    return checked


def check_rewards(episodes: RecordedEpisodes) -> None:
    """Refuse rewards that prefer no episode over another: all zero, or all equal in episodes of equal length.

    What adapts by gradients needs others; a memory lives through any episodes.

    Raises:
        UserError: adaptation would do nothing, or follow rounding errors.
    """
    value, lengths = episodes.rewards[0], np.diff(episodes.ends, prepend=0)
    if (episodes.rewards != value).any() or (value and (lengths != lengths[0]).any()):
        return
    place = " and every episode equally long" if value else ""
    raise UserError(
        f"The recording: every reward is {value:g}{place}, so adaptation would do nothing. Record the task's rewards."
    )


def as_rollout(episodes: RecordedEpisodes) -> Rollout:
    """The recording as a rollout of one task: episodes padded with zeros to the longest.

    Without ``log_probs`` they are NaN, and without ``final_observations`` each episode's last one is repeated: whoever
    needs them fills them in, or refuses.
    """
    ends = episodes.ends
    starts = np.concatenate([[0], ends[:-1]])
    lengths = ends - starts
    valid = np.arange(lengths.max()) < lengths[:, None]

    def pad(rows: Array) -> torch.Tensor:
        padded = np.zeros((*valid.shape, *rows.shape[1:]), rows.dtype)
        padded[valid] = rows
        return torch.from_numpy(padded).unsqueeze(0)

    final = episodes.final_observations
    log_probs = np.full_like(episodes.rewards, np.nan) if episodes.log_probs is None else episodes.log_probs
    terminated = torch.from_numpy(episodes.terminations[ends - 1]).unsqueeze(0)
    return Rollout(
        observations=pad(episodes.observations),
        actions=pad(episodes.actions),
        log_probs=pad(log_probs),
        rewards=pad(episodes.rewards),
        terminated=terminated,
        truncated=~terminated,
        valid=torch.from_numpy(valid).unsqueeze(0),
        final_observations=torch.from_numpy(episodes.observations[ends - 1] if final is None else final).unsqueeze(0),
        term_returns=torch.from_numpy(episodes.returns).view(1, -1, 1),
        unstable=torch.zeros_like(terminated),
        tracked=torch.zeros(*terminated.shape, 0, 0),
    )


def from_rollout(sampled: Rollout) -> RecordedEpisodes:
    """The episodes of a rollout of one task; those whose simulation failed are left out.

    Raises:
        FailedEpisodesError: every simulation failed.
    """
    if not sampled.valid.any():
        raise FailedEpisodesError(
            f"The simulation failed in every one of {sampled.valid.shape[1]} episodes. Check the robot's time step, "
            "its actuators' range and the speeds it may reach."
        )
    sampled = Rollout(*(field[:, sampled.valid[0].any(-1)] for field in sampled))
    valid = sampled.valid[0].numpy()
    last = np.zeros_like(valid)
    last[np.arange(len(valid)), valid.sum(1) - 1] = True

    def rows(padded: torch.Tensor) -> Array:
        values: Array = padded[0].numpy()[valid]
        return values

    terminated = np.broadcast_to(sampled.terminated[0].numpy()[:, None], valid.shape)
    return RecordedEpisodes(
        observations=rows(sampled.observations),
        actions=rows(sampled.actions),
        rewards=rows(sampled.rewards),
        terminations=(last & terminated)[valid],
        truncations=(last & ~terminated)[valid],
        log_probs=rows(sampled.log_probs),
        final_observations=sampled.final_observations[0].numpy(),
    )


def _read_minari(path: Path) -> RecordedEpisodes:
    try:
        import minari
    except ImportError as error:
        raise UserError(
            f"{path} is a directory, and reading a Minari dataset needs: pip install minari[hdf5]."
        ) from error
    data = path / "data" if (path / "data").is_dir() else path
    try:
        check_memory(COPIES * _claimed(data), f"What {path} says it holds", "Give a recording of fewer episodes.")
        recorded = list(minari.MinariDataset(data).iterate_episodes())
    except MemoryNeededError:
        raise
    except Exception as error:  # whatever a recorder that was killed, or another format, makes h5py and Minari raise
        raise UserError(f"{path} is no readable Minari dataset: {error}") from error
    if not recorded:
        raise UserError(f"{path} holds zero episodes. Record at least one.")
    parts = [_minari_episode(episode, path) for episode in recorded if len(episode.rewards)]
    if not parts:
        raise UserError(f"{path} holds zero steps. Record at least one episode.")
    seen, actions, rewards, terminations, truncations, final = (
        np.concatenate(rows) for rows in zip(*parts, strict=True)
    )
    return RecordedEpisodes(seen, actions, rewards, terminations, truncations, final_observations=final)


def _claimed(data: Path) -> int:
    """Bytes of what a Minari dataset in HDF5 says it holds; 0 of one in another format.

    Raises:
        ValueError: an array that is not compressed says that it is larger than what is there of it.
    """
    import h5py

    claimed = 0

    def add(_: str, item: object) -> None:
        nonlocal claimed
        if isinstance(item, h5py.Dataset):
            size = math.prod(item.shape or ()) * item.dtype.itemsize
            if not item.id.get_create_plist().get_nfilters() and size > item.id.get_storage_size():
                raise ValueError(f"{item.name} says that it holds {size} bytes, which are not there")
            claimed += size

    for path in data.glob("*.hdf5"):
        with h5py.File(path) as file:
            file.visititems(add)
    return claimed


def _minari_episode(episode: Any, path: Path) -> tuple[Array, ...]:
    """One episode of a Minari dataset as the arrays of the layout but ``log_probs``.

    An episode without a flag at its end was cut off there by its recorder: its end counts as truncated.

    Raises:
        UserError: observations or actions are no plain arrays, their numbers do not fit, or a flag is set too early.
    """
    name, steps = f"{path}, episode {episode.id}", len(episode.rewards)
    if any(not isinstance(part, np.ndarray) for part in (episode.observations, episode.actions)):
        raise UserError(f"{name}: observations and actions must be plain arrays, not dictionaries or tuples.")
    lengths = {
        "observations": len(episode.observations) - 1,
        "actions": len(episode.actions),
        "terminations": len(episode.terminations),
        "truncations": len(episode.truncations),
    }
    if set(lengths.values()) != {steps}:
        raise UserError(
            f"{name}: there are {steps} rewards, and {lengths['observations'] + 1} observations, {lengths['actions']} "
            "actions. Each step needs one reward and one action, and after the last one there is one more observation."
        )
    terminations, truncations = (np.array(flags, np.bool_) for flags in (episode.terminations, episode.truncations))
    over = terminations | truncations
    if over[:-1].any():
        raise UserError(
            f"{name} is over after step {int(np.argmax(over)) + 1} by its flags, and goes on to step {steps}. "
            "Record what follows as an episode of its own."
        )
    truncations[-1] |= not over[-1]
    seen, final = episode.observations[:-1], episode.observations[-1:]
    return seen, episode.actions, episode.rewards, terminations, truncations, final
