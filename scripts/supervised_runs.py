"""Runs on supervised tasks, opened again: their tasks are made anew by the options that their trainings left."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from defaults import SUPERVISED, as_supervised
from environments import chosen_variant
from machine import Machine
from own_code import OwnCode
from rlmaml.base.errors import UserError
from rlmaml.settings.checks import option
from rlmaml.settings.command_line import options_of
from supervised import SupervisedOptions, as_told, options_told, script_of, supervised_name

if TYPE_CHECKING:
    from rlmaml.storage.checkpoint import Checkpoint
    from rlmaml.training.supervised import SupervisedTasks
    from rlmaml.training.train import MetaLearner


VARIANTS: dict[str, str | None] = {"sinusoid": "waves", "few-shot": "data", "dynamics": None}
"""Supervised family -> the option of its training that names a variant; None where it is one of a robot's family."""


class OpenedRun(NamedTuple):
    """A run on supervised tasks."""

    checkpoint: "Checkpoint"
    method: "MetaLearner"
    tasks: "SupervisedTasks"
    options: SupervisedOptions
    """Those by which its tasks were made."""
    robot: str | None
    """The variant of the robots of which they are made, if they are."""


def opened_run(run_dir: Path, own: OwnCode, machine: Machine, seed: int | None = None) -> OpenedRun:
    """A run's checkpoint, with what it is trained and scored on.

    Args:
        run_dir: the run's directory, or a checkpoint in it.
        own: code of the user's own that it needs.
        machine: where it is computed.
        seed: of the held-out tasks, where episodes are recorded for them; None for that of every evaluation.

    Raises:
        UserError: the run does not say how its tasks were made, what they are made of is not there, they are others
            now, or the model has adapted.
    """
    from rlmaml.base.plain_data import DamagedError, read_json
    from rlmaml.storage.kept_checkpoints import policy_checkpoint
    from rlmaml.storage.run_directory import run_of
    from rlmaml.training.begin import make_method

    own.allow()
    checkpoint = policy_checkpoint(run_dir)
    if checkpoint.steps_taken:
        raise UserError(f"{run_dir} has adapted to a task, and is no longer what was trained. Give the run it is from.")
    settings = machine.applied(checkpoint.settings)
    directory, name = run_of(run_dir), supervised_name(settings.run.env_id)
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
    of_robots = settings.run.env_id != name
    if not isinstance(made_by, Mapping) or (of_robots and not isinstance(made_by.get("variant"), str)):
        raise DamagedError(directory.settings, "made_by is not what a training writes")
    script, robot = import_module(script_of(name)), made_by["variant"] if of_robots else None
    family = (
        ["--family", own.family] if own.family and "family" in {field.name for field in fields(script.Options)} else []
    )
    options = options_told(name, made_by, directory.settings, family)
    try:
        tasks = script.tasks_of(options, settings.changed(variant=robot) if robot else settings, seed)
    except UserError as error:
        if missing := missing_paths(options):
            raise UserError(
                f"{error} The tasks of the run in {directory.path} are made of {', '.join(missing)}: put it back, or "
                f"say where it is now by {script_of(name)}.py with the options of the training and --resume."
            ) from error
        raise
    check_same_tasks(settings.run.variant, tasks.family.variant, directory.path)
    settings = settings.changed(variant=tasks.family.variant)
    checkpoint = checkpoint._replace(settings=settings)
    tasks = tasks._replace(settings=settings)
    return OpenedRun(checkpoint, make_method(settings, tasks.family), tasks, options, robot)


def missing_paths(options: SupervisedOptions) -> list[str]:
    """Options that name what is not there, with what they name."""
    given = {option(field.name): getattr(options, field.name) for field in fields(options)}
    each = [(name, one) for name, value in given.items() for one in (value if isinstance(value, tuple) else (value,))]
    return [f"{name} {one}" for name, one in each if isinstance(one, Path) and not one.exists()]


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


class PosedVariants(NamedTuple):
    """Variants of a supervised family, as a comparison makes them."""

    make: Callable[[str, str, int], "SupervisedTasks"]
    """``make(variant, method, seed)``."""
    made_by: Callable[[str, Path], Mapping[str, Any]]
    """The options by which a variant's tasks are made again, as a run in a directory keeps them."""


def posed_variants(env_id: str, machine: Machine, run: Mapping[str, Any]) -> PosedVariants:
    """What the training on a supervised family makes of its variants, by its other options' defaults.

    Args:
        env_id: of the family, such as sinusoid or dynamics-HalfCheetahChanged-v0.
        machine: where it is computed.
        run: further settings of the runs.

    Raises:
        UserError: the family has no variants that are known by name.
    """
    name = supervised_name(env_id)
    if name not in VARIANTS:
        raise UserError(f"{env_id} has no variants by name; of supervised tasks {', '.join(VARIANTS)} have.")
    script, field = import_module(script_of(name)), VARIANTS[name]

    def options(variant: str) -> Any:
        return options_of(script.Options, arguments=[option(field), variant] if field else [])

    def own(variant: str) -> str | None:
        return None if field else chosen_variant(env_id.removeprefix(f"{name}-"), variant, None)

    def make(variant: str, method: str, seed: int) -> "SupervisedTasks":
        settings = as_supervised(SUPERVISED[name].changed(**run), method).changed(env_id=env_id, seed=seed)
        settings = machine.applied(settings.changed(variant=own(variant)) if own(variant) else settings)
        tasks: SupervisedTasks = script.tasks_of(options(variant), settings)
        return tasks

    def made_by(variant: str, run_dir: Path) -> dict[str, Any]:
        return as_told(options(variant), run_dir, own(variant))

    return PosedVariants(make, made_by)
