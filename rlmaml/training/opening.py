"""How a run is opened in its directory: begun, or gone on with."""

import warnings
from contextlib import ExitStack

from rlmaml.base.errors import UserError
from rlmaml.base.plain_data import read_file, read_json
from rlmaml.core.ranks import RankError
from rlmaml.rules.adaptation_rule import meta_like
from rlmaml.sampling.examples import SupervisedFamily
from rlmaml.sampling.rollout import TaskEnvironment
from rlmaml.settings.whole import Settings, check_resumable
from rlmaml.storage.checkpoint import Checkpoint, check_entries, check_fits, load_checkpoint, save_checkpoint
from rlmaml.storage.family_record import check_same_family, family_record
from rlmaml.storage.kept_checkpoints import check_lie_within, newest_checkpoint
from rlmaml.storage.metrics_file import sound_lines
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.storage.run_lock import sole_writer
from rlmaml.training.begin import begin, sizes_in
from rlmaml.training.train import MetaLearner


def earlier_commits(directory: RunDirectory) -> dict[str, list[str | None]]:
    """The commits at which a run was begun and resumed before, from the settings that it left.

    Warns:
        They are damaged.
    """
    try:
        before = read_json(directory.settings)
        earlier, commit = before.get("earlier_commits", []), before["commit"]
        if not all(one is None or isinstance(one, str) for one in (commit, *earlier)):
            raise TypeError("a commit is no text")
        return {"earlier_commits": [*earlier, commit]}
    except FileNotFoundError:
        return {}
    except (UserError, KeyError, TypeError) as error:
        warnings.warn(f"{directory.settings}: the commits of the run so far are lost: {error!r}", stacklevel=2)
        return {}


def opened_together(
    settings: Settings,
    method: MetaLearner,
    env: TaskEnvironment | SupervisedFamily,
    directory: RunDirectory,
    held: ExitStack,
    *,
    resume: bool,
    overwrite: bool,
) -> Checkpoint:
    """:func:`open_run` in the process that leads, which holds the directory; the others read what it left.

    Raises:
        UserError: see :func:`train`.
    """
    if not method.sums.leads:
        if not method.sums.agree(ok=True):
            raise RankError("The process that leads this run could not open it; its message is above.")
        return load_checkpoint(directory.checkpoint)._replace(settings=settings)
    try:
        held.enter_context(sole_writer(directory))
        opened = open_run(settings, method, env, directory, resume=resume, overwrite=overwrite)
    except UserError:
        method.sums.agree(ok=False)
        raise
    method.sums.agree(ok=True)
    return opened


def open_run(
    settings: Settings,
    method: MetaLearner,
    env: TaskEnvironment | SupervisedFamily,
    directory: RunDirectory,
    *,
    resume: bool,
    overwrite: bool,
) -> Checkpoint:
    """The run found in the directory, with these settings, or a fresh start.

    Raises:
        UserError: see :func:`train`.
    """
    path, run = directory.checkpoint, settings.run
    goes_on = check_openable(directory, resume=resume, overwrite=overwrite)
    if goes_on:
        stored = newest_checkpoint(directory, at_most=told_iterations(directory))
        check_same_run(stored, settings, method, env)
        check_best(directory, settings, method, env)
        if stored.iteration > run.iterations:
            raise UserError(
                f"--iterations is {run.iterations}, but the run in {directory.path} has done {stored.iteration} "
                "already; give a larger number, or evaluate it with scripts/evaluate.py."
            )
        resumed = stored._replace(settings=settings, family=family_record(env))
        directory.tidy()
        save_checkpoint(path, resumed)  # where a damaged one was passed over, this is the newest again
        return resumed
    learned = begin(settings, method)
    if overwrite:
        directory.clear()
    directory.make()
    directory.tidy()
    begun = Checkpoint(learned.meta, 0, settings, sizes_in(env, settings), learned.state, family=family_record(env))
    save_checkpoint(path, begun)
    return begun


def check_same_run(
    stored: Checkpoint, settings: Settings, method: MetaLearner, env: TaskEnvironment | SupervisedFamily
) -> None:
    """Refuse a checkpoint of another run than this one.

    Raises:
        UserError: it has other settings, its tensors do not fit, or its family has changed.
    """
    check_resumable(stored.settings, settings)
    observed = f"{settings.run.env_id}, {settings.run.variant}"
    fresh = meta_like(settings, method.policy)
    check_fits(stored, fresh, observed)
    check_entries(stored.state, method.algorithm.init(fresh), f"{settings.algorithm}'s ", observed)
    check_same_family(stored.family, env)


def best_so_far(directory: RunDirectory) -> Checkpoint | None:
    """The checkpoint that was best on validation tasks so far; None where there is none.

    Warns:
        It cannot be read: the next one that is validated takes its place.
    """
    if not directory.best.exists():
        return None
    try:
        return load_checkpoint(directory.best)
    except UserError as error:
        warnings.warn(f"{error} The best checkpoint is looked for anew, from here on.", stacklevel=2)
        return None


def check_best(
    directory: RunDirectory, settings: Settings, method: MetaLearner, env: TaskEnvironment | SupervisedFamily
) -> None:
    """Refuse to go on where the checkpoint that was best on validation tasks is of another run.

    Raises:
        UserError: names what differs, and the cure.
    """
    if not (settings.run.validation_interval and directory.best.exists()):
        return
    try:
        best = load_checkpoint(directory.best)
    except UserError:  # it is told of where it would be used
        return
    try:
        check_same_run(best, settings, method, env)
    except UserError as error:
        raise UserError(
            f"{directory.best} is not of the run in {directory.path}: {error} To go on without it, move it elsewhere."
        ) from error


def check_openable(directory: RunDirectory, *, resume: bool, overwrite: bool) -> bool:
    """Refuse to begin a run where there is one already; whether the one that is there is gone on with.

    Raises:
        UserError: names what was found there, and the cure; its earlier checkpoints lie elsewhere.
    """
    if resume and overwrite:
        raise UserError("--resume and --overwrite exclude each other; give one of them.")
    check_lie_within(directory)
    found = directory.found()
    goes_on = resume and (directory.checkpoint.exists() or bool(directory.earlier_checkpoints()))
    if found and not overwrite and not goes_on:
        cure = "" if resume else "Continue it with --resume, delete"
        raise UserError(
            f"{directory.path} already holds a run, or files named like those of one: {', '.join(found)}. "
            f"{cure or 'It has no checkpoint to go on from; delete'} it with --overwrite, or choose another --run-dir."
        )
    return goes_on


def told_iterations(directory: RunDirectory) -> int:
    """How many meta-iterations, from the first on, the JSON lines of a run tell of.

    Raises:
        UserError: they cannot be read.
    """
    try:
        return len(sound_lines(read_file(directory.metrics)))
    except FileNotFoundError:
        return 0
