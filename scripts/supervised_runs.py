"""Runs on supervised tasks, opened again: their tasks are made anew by the options that their trainings left."""

from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import tyro

from common import Machine, OwnCode
from rlmaml.base.errors import UserError
from rlmaml.settings.checks import option
from rlmaml.settings.config_file import words_of
from supervised import script_of, supervised_name

if TYPE_CHECKING:
    from rlmaml.storage.checkpoint import Checkpoint
    from rlmaml.training.supervised import SupervisedTasks
    from rlmaml.training.train import MetaLearner


class OpenedRun(NamedTuple):
    """A run on supervised tasks."""

    checkpoint: "Checkpoint"
    method: "MetaLearner"
    tasks: "SupervisedTasks"
    made_by: Mapping[str, Any]
    """The options by which its tasks were made."""
    words: tuple[str, ...]
    """The command of its training, with these options."""


def opened_run(run_dir: Path, own: OwnCode, machine: Machine, seed: int | None = None) -> OpenedRun:
    """A run's checkpoint, with what it is trained and scored on.

    Args:
        run_dir: the run's directory, or a checkpoint in it.
        own: code of the user's own that it needs.
        machine: where it is computed.
        seed: of the held-out tasks, where episodes are recorded for them; None for that of every evaluation.

    Raises:
        UserError: the run does not say how its tasks were made, they are others now, or the model has adapted.
    """
    from rlmaml.base.plain_data import DamagedError, read_json
    from rlmaml.storage.kept_checkpoints import policy_checkpoint
    from rlmaml.storage.run_directory import RunDirectory, policy_file
    from rlmaml.training.begin import make_method

    own.allow()
    checkpoint = policy_checkpoint(run_dir)
    if checkpoint.steps_taken:
        raise UserError(f"{run_dir} has adapted to a task, and is no longer what was trained. Give the run it is from.")
    settings = machine.applied(checkpoint.settings)
    directory, name = RunDirectory(policy_file(run_dir).parent), supervised_name(settings.run.env_id)
    try:
        made_by = read_json(directory.settings).get("made_by")
    except FileNotFoundError:
        made_by = None
    if name is None or made_by is None:
        cure = f" {script_of(name)}.py with the options of its training and --resume says it anew." if name else ""
        raise UserError(
            f"{directory.settings} does not say how the tasks of {settings.run.env_id} were made, so that none can be "
            f"made again.{cure or ' Score it with rlmaml.training.supervised.score_run.'}"
        )
    if not isinstance(made_by, Mapping) or not isinstance(made_by.get("variant"), str):
        raise DamagedError(directory.settings, "made_by is not what a training writes")
    script = import_module(script_of(name))
    told = {each: value for each, value in made_by.items() if each != "variant"}
    words = [word for each, value in told.items() for word in words_of(directory.settings, each, value)]
    family = (
        ["--family", own.family] if own.family and "family" in {field.name for field in fields(script.Options)} else []
    )
    options = tyro.cli(script.Options, args=[*words, *family])
    tasks = script.tasks_of(options, settings.changed(variant=made_by["variant"]), seed)
    check_same_tasks(settings.run.variant, tasks.family.variant, directory.path)
    settings = settings.changed(variant=tasks.family.variant)
    checkpoint = checkpoint._replace(settings=settings)
    tasks = tasks._replace(settings=settings)
    robot = settings.run.env_id.removeprefix(f"{name}-")
    named = [] if robot == settings.run.env_id else [robot, "--variant", made_by["variant"]]
    command = (f"{script_of(name)}.py", *named, *words, *family)
    return OpenedRun(checkpoint, make_method(settings, tasks.family), tasks, made_by, command)


def check_same_tasks(before: str, now: str, path: Path) -> None:
    """Refuse tasks that are others than those of the training.

    Raises:
        UserError: names both.
    """
    if before != now:
        raise UserError(
            f"The run in {path} was trained on {before}, which made again is {now}: its data, or the run that they "
            "are from, have changed. Restore them."
        )


def check_unasked(options: Any, *names: str) -> None:
    """Refuse options of episodes where a run on supervised tasks is scored.

    Args:
        options: of the script, a dataclass.
        names: its fields that must be as they are by default.

    Raises:
        UserError: names the option.
    """
    for field in fields(options):
        received = getattr(options, field.name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        if field.name in names and received != default:
            raise UserError(
                f"{option(field.name.removeprefix('num_'))} is {received!r}, but supervised tasks have no episodes. "
                "Leave it out."
            )
