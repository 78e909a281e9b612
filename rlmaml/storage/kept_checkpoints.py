"""The checkpoints of a run: the newest, and those before it, which serve where it is damaged."""

import contextlib
import os
import warnings
from pathlib import Path

from rlmaml.base.errors import UserError
from rlmaml.base.files import unwritable, write_atomically
from rlmaml.storage.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rlmaml.storage.run_directory import RunDirectory, policy_file
from rlmaml.terminal.words import counted


def keep_checkpoint(directory: RunDirectory, checkpoint: Checkpoint, kept: int) -> None:
    """Write a run's newest checkpoint, and keep the ones before it: ``kept`` of them in all.

    At every moment there is a newest one that is whole.

    Raises:
        UserError: the directory is not writable or the disk is full, or earlier ones would lie elsewhere.
    """
    check_lie_within(directory)
    try:
        if kept > 1 and directory.checkpoint.is_file():
            directory.earlier.mkdir(exist_ok=True)
            for age in reversed(range(1, kept - 1)):
                with contextlib.suppress(FileNotFoundError):
                    directory.earlier_checkpoint(age).replace(directory.earlier_checkpoint(age + 1))
            _also_as(directory.checkpoint, directory.earlier_checkpoint(1))
        for path in directory.earlier_checkpoints()[kept - 1 :]:
            path.unlink()
    except OSError as error:
        raise unwritable(directory.earlier, error) from error
    save_checkpoint(directory.checkpoint, checkpoint)


def check_lie_within(directory: RunDirectory) -> None:
    """Refuse a run whose earlier checkpoints a link leads to another place: what lies there would be overwritten.

    Raises:
        UserError: names the link.
    """
    if directory.earlier.is_symlink():
        raise UserError(
            f"{directory.earlier} is a link to another place, where checkpoints would be overwritten and deleted. "
            "Remove it, or make it a folder of its own."
        )


def newest_checkpoint(directory: RunDirectory, at_most: int | None = None) -> Checkpoint:
    """The newest sound checkpoint of a run.

    Args:
        directory: of the run.
        at_most: how many meta-iterations it may have done; None for any number.

    Warns:
        A newer one is damaged, or has done more; it says which one is used instead.

    Raises:
        UserError: there is none; it says what is wrong with the newest one.
    """
    passed_over: list[UserError] = []
    for path in (directory.checkpoint, *directory.earlier_checkpoints()):
        try:
            checkpoint = load_checkpoint(path)
        except UserError as error:
            passed_over.append(error)
            continue
        if at_most is not None and checkpoint.iteration > at_most:
            passed_over.append(
                UserError(
                    f"{path} has done {counted(checkpoint.iteration, 'meta-iteration')}, but {directory.metrics} tells "
                    f"of the first {at_most} alone: the rest is missing or damaged. Restore that file, or begin anew "
                    "with --overwrite; the policy can be used as it is."
                )
            )
            continue
        if passed_over:
            warnings.warn(
                f"{passed_over[0]} Used instead: {path}, after {counted(checkpoint.iteration, 'meta-iteration')}.",
                stacklevel=2,
            )
        return checkpoint
    raise passed_over[0]


def policy_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint that a user means: the newest sound one of a run where a directory is named, or the file's.

    Raises:
        UserError: see :func:`newest_checkpoint`.
    """
    meant = policy_file(path)
    return load_checkpoint(meant) if meant == path else newest_checkpoint(RunDirectory(path))


def _also_as(path: Path, other: Path) -> None:
    """Give a file a second name, in place of what had it; where the file system has no such names, copy it.

    Raises:
        OSError: the old name cannot be removed, or the file not be read.
        UserError: the copy cannot be written; nothing is left of it.
    """
    other.unlink(missing_ok=True)
    try:
        os.link(path, other, follow_symlinks=False)
    except OSError:
        write_atomically(other, path.read_bytes())
