"""What the trainings on supervised tasks share: their options, their rows beside each other, and their files."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import tyro

from defaults import SUPERVISED, as_supervised, supervised
from rlmaml.base.errors import UserError
from rlmaml.base.files import check_new, check_writable
from rlmaml.base.stopping import check_minutes
from rlmaml.settings.checks import option
from rlmaml.settings.command_line import options_of, parse
from rlmaml.settings.config_file import config_of, words_of
from rlmaml.settings.supervised import check_source
from rlmaml.settings.whole import Settings
from rlmaml.terminal.words import counted

if TYPE_CHECKING:
    from rlmaml.sampling.examples import SupervisedFamily
    from rlmaml.training.supervised import SupervisedTasks, Trained

OptionsT = TypeVar("OptionsT", bound="SupervisedOptions")

BESIDE = ("pretrained", "random")
"""Methods whose rows stand beside that of a run."""


@dataclass(frozen=True)
class SupervisedOptions:
    """Options of a training on supervised tasks that are no settings."""

    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="RUN_DIR")] = None
    """Directory of the run; by default runs/<family>-<method>-seed<seed>."""
    json: Path | None = None
    """File for the scores after every step with 95 % intervals, and the configuration."""
    resume: bool = False
    """Continue the run in the run directory, or begin it if there is none."""
    overwrite: bool = False
    """Delete the run in the run directory and begin anew; replace the file of --json."""
    stop_after: float | None = None
    """Minutes of training after which no further meta-iteration is begun: the run is kept, --resume goes on with it,
    and the exit code is 75, as after a signal."""
    config: Path | None = None
    """Begin from the settings of another run of this script, its run.json, or from options in a YAML file, such as
    shots: 5; any option that is given overrules it. A run.json has no options that say what is trained on."""
    pretrained: bool = True
    """Also train one model jointly on all tasks, and score it, and a random one, fine-tuned: two rows of the table."""


def parse_supervised(
    script: OptionsT,
    family: str,
    description: str,
    arguments: Sequence[str] | None = None,
    own: Callable[[str | None, str], Settings] | None = None,
) -> tuple[OptionsT, Settings]:
    """The options of a training on supervised tasks, and the settings of its run.

    Args:
        script: default values of the script's own options.
        family: what it trains on, a name of ``defaults.SUPERVISED``.
        description: the script's help text.
        arguments: the command line; None for the process's own.
        own: settings of a variant for a method; None for those of the family.

    Raises:
        UserError: the file of --config is of a run on something else; --env-id, or a --variant that nothing reads, is
            given; or see :func:`rlmaml.settings.command_line.parse`.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    config, settings_of = config_of(arguments), own or supervised(family)

    def defaults(variant: str | None, method: str) -> Settings:
        start = settings_of(variant, method)
        if config.settings is None:
            return start
        before = config.settings.run.env_id
        if before != family and not before.startswith(f"{family}-"):
            raise UserError(f"--config is of a run on {before}; this command trains on {family}. Give the options.")
        return as_supervised(config.settings, method).changed(env_id=start.run.env_id, variant=start.run.variant)

    options, settings = parse(script, defaults, description, arguments, config.words)
    start = settings_of(settings.run.variant, settings.algorithm)
    for name in ("env_id",) if own else ("env_id", "variant"):
        given = getattr(settings.run, name)
        if given != getattr(start.run, name):
            raise UserError(
                f"{option(name)} is {given!r}, which names no tasks of this command: what it trains on is said by its "
                "script options, which --help lists first. Leave it out."
            )
    return options, settings


def check_of_episodes(env_id: str) -> None:
    """Refuse a run on supervised tasks where a task environment is needed.

    Raises:
        UserError: names the script that scores it.
    """
    if name := supervised_name(env_id):
        raise UserError(
            f"The run is on supervised tasks, {env_id}, which have no episodes: {script_of(name)}.py scores it at its "
            "end, and evaluate.py RUN_DIR on other tasks; its evaluation.json has the scores of every task after every "
            "step."
        )


def supervised_name(env_id: str) -> str | None:
    """Which family of ``defaults.SUPERVISED`` a run is on, if any: its id is that name, or goes on with a robot's."""
    for name in SUPERVISED:
        robot = env_id.removeprefix(f"{name}-")
        if env_id == name or (robot != env_id and "-" in robot):
            return name
    return None


def script_of(name: str) -> str:
    """The module of the training on a family of ``defaults.SUPERVISED``."""
    return f"train_{name.replace('-', '_')}"


def as_told(options: SupervisedOptions, run_dir: Path, robot: str | None) -> dict[str, Any]:
    """The options of a training that say what its tasks are, as plain data, from which they are made again.

    Relative paths are kept relative to the run, so that both may be moved together. Code of the user's own is not
    among them: it is run where it is typed, and nowhere else.

    Args:
        options: of the training.
        run_dir: of the run that keeps them.
        robot: the variant of the robots of which the tasks are made, where they are.
    """
    given = {name: getattr(options, name) for name in _told_names(type(options))}

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(one) for one in value]
        if isinstance(value, Path):
            return str(value) if value.is_absolute() else os.path.relpath(value, run_dir)
        return value

    told = {name: plain(value) for name, value in given.items() if value not in (None, ())}
    return told | ({"variant": robot} if robot else {})


def _told_names(kind: type[SupervisedOptions]) -> list[str]:
    """Options of a training that say what its tasks are; code of the user's own is not among them."""
    shared = {"family", *(field.name for field in fields(SupervisedOptions))}
    return [field.name for field in fields(kind) if field.name not in shared]


def options_told(name: str, made_by: Mapping[str, Any], file: Path, more: Sequence[str] = ()) -> Any:
    """What :func:`as_told` wrote, as the options of the training again; relative paths are relative to the run.

    Args:
        name: of the supervised family.
        made_by: what was written.
        file: of the run, that holds it.
        more: words of the command line besides.

    Raises:
        DamagedError: it is nothing that a training writes.
    """
    from rlmaml.base.plain_data import DamagedError

    kind = import_module(script_of(name)).Options
    told = {each: value for each, value in made_by.items() if each != "variant"}
    if others := sorted(told.keys() - _told_names(kind)):
        raise DamagedError(file, f"made_by says {others[0]}, which no training writes there")
    try:
        words = [word for each, value in told.items() for word in words_of(file, each, value)]
        options = options_of(kind, arguments=[*words, *more])
    except UserError as error:
        raise DamagedError(file, f"made_by says {error}".rstrip(".")) from error

    def found(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(found(one) for one in value)
        return Path(os.path.normpath(file.parent / value)) if isinstance(value, Path) else value

    return replace(options, **{field.name: found(getattr(options, field.name)) for field in fields(options)})


def robot_variant(settings: Settings) -> str | None:
    """The variant of the robots that supervised tasks are made of, before it names the tasks; None without robots."""
    return settings.run.variant if supervised_name(settings.run.env_id) != settings.run.env_id else None


def check_left(options: Any, *names: str) -> None:
    """Refuse options that say how a run is to be evaluated, where the scores that its training left are read.

    Raises:
        UserError: see :func:`check_as_by_default`.
    """
    why = "but runs on supervised tasks are read by the scores that their trainings left"
    check_as_by_default(options, names, why)


def check_unasked(options: Any, *names: str) -> None:
    """Refuse options that supervised tasks have no use for.

    Raises:
        UserError: see :func:`check_as_by_default`.
    """
    check_as_by_default(options, names, "which is not for supervised tasks")


def check_as_by_default(options: Any, names: Sequence[str], why: str) -> None:
    """Refuse options that are given, for a reason.

    Args:
        options: of the script, a dataclass.
        names: its fields that must be as they are by default.
        why: the reason.

    Raises:
        UserError: names the option.
    """
    for field in fields(options):
        received = getattr(options, field.name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        if field.name in names and received != default:
            raise UserError(f"{option(field.name.removeprefix('num_'))} is {received!r}, {why}. Leave it out.")


def directory_of(settings: Settings, options: SupervisedOptions) -> Path:
    """Where a run is kept."""
    return options.run_dir or Path("runs") / f"{settings.run.env_id}-{settings.algorithm}-seed{settings.run.seed}"


def check_options(settings: Settings, options: SupervisedOptions) -> None:
    """Refuse what can be told before anything is computed.

    Raises:
        UserError: the file of --json cannot be written or is there already, --stop-after is no time, the method learns
            from episodes, or there is a run already.
    """
    check_minutes(options.stop_after)
    check_writable(options.json)
    check_new(options.json, overwrite=options.overwrite or options.resume)
    check_source(settings, supervised=True)

    from rlmaml.storage.run_directory import RunDirectory
    from rlmaml.training.opening import check_openable

    check_openable(RunDirectory(directory_of(settings, options)), resume=options.resume, overwrite=options.overwrite)


def train_supervised_command(
    tasks: "SupervisedTasks",
    options: SupervisedOptions,
    *,
    published: Mapping[str, Mapping[int, float]] = MappingProxyType({}),
    also: "Mapping[str, SupervisedFamily]" = MappingProxyType({}),
    report: "Callable[[Mapping[str, Trained]], tuple[Mapping[str, Any], str]] | None" = None,
) -> tuple["Trained", Path]:
    """Train on supervised tasks, and print the table, with the same model pretrained and from scratch.

    Args:
        tasks: what is trained on, and scored on.
        options: where the run is kept, and what is written.
        published: mean scores after a number of steps of the same problem, by name.
        also: further families that the run is scored on, by name.
        report: what else is to be said of the trained models, by method: for the JSON, and in words.

    Raises:
        UserError: see :func:`rlmaml.training.supervised.train_supervised` and :func:`check_options`.
    """
    settings, held_out, what = tasks.settings, tasks.held_out, tasks.what
    check_options(settings, options)
    run_dir = directory_of(settings, options)

    from resuming import telling_how_to_resume
    from rlmaml.evaluation.query_scores import score_table
    from rlmaml.sampling.examples import first_task
    from rlmaml.storage.run_directory import write_json
    from rlmaml.training.run import EVALUATION_SEED
    from rlmaml.training.supervised import check_tasks_fit, score_run, train_supervised

    for other in also.values():
        check_tasks_fit(settings, first_task(other), settings.run.evaluation_tasks, "Scoring")
    began = time.monotonic()

    def trained_in(directory: Path, own: Settings) -> "Trained":
        left = options.stop_after and max(options.stop_after - (time.monotonic() - began) / 60, 1e-3)
        with telling_how_to_resume(directory, sys.argv[1:], own, getattr(options, "family", None)):
            return train_supervised(
                tasks._replace(settings=own),
                directory,
                made_by=as_told(options, directory, robot_variant(settings)),
                resume=options.resume,
                overwrite=options.overwrite,
                stop_after=left,
            )

    trained = trained_in(run_dir, settings)
    models = {settings.algorithm: trained}
    for name in BESIDE if options.pretrained else ():
        if name != settings.algorithm:
            models[name] = trained_in(run_dir / name, as_supervised(settings, name))
    rows = {name: model.scores for name, model in models.items()}
    for name, other in also.items():
        rows[f"{settings.algorithm}, {name}"] = score_run(
            trained.method, trained.checkpoint, other, other.score, EVALUATION_SEED
        )
    summaries = {name: scores.summary() for name, scores in rows.items()}
    reported, told = report(models) if report else ({}, "")
    if options.json:
        written = {what: summaries[settings.algorithm], "rows": summaries, **reported, "config": trained.config}
        write_json(options.json, written)
    print(f"\n{what} on {counted(len(trained.scores.scores), 'held-out task')} of {held_out.variant}:\n")
    print(score_table(summaries, published) + told)
    print(f"\nRun: {run_dir}\nLook at it with: tensorboard --logdir {run_dir.parent}")
    return trained, run_dir
