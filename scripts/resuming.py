"""The command that goes on with a run, as the run itself tells it."""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlmaml.base.errors import UserError
from rlmaml.settings.checks import option
from rlmaml.settings.command_line import chosen
from rlmaml.settings.config_file import words_of
from rlmaml.settings.whole import OtherSettingsError, Settings, from_plain
from supervised import as_told, options_told, script_of, supervised_name

NAVIGATION = "Navigation2D-v0"
"""What train_nav.py trains."""


def training_words(env_id: str) -> list[str]:
    """The script, and the id where it asks for one, that trains on one of our families of episodes."""
    return ["train_nav.py"] if env_id == NAVIGATION else ["train_locomotion.py", env_id]


def supervised_words(name: str, settings: Settings, made_by: Mapping[str, Any], file: Path) -> list[str]:
    """The script, and the options, that train on the tasks of a run on supervised ones.

    Args:
        name: of its family, of ``defaults.SUPERVISED``.
        settings: of the run.
        made_by: the options by which its tasks were made.
        file: that holds them, for messages.
    """
    robot = settings.run.env_id.removeprefix(f"{name}-")
    named = [] if robot == settings.run.env_id else [robot, "--variant", made_by["variant"]]
    here = as_told(options_told(name, made_by, file), Path(), None)
    told = [word for each in made_by if each in here for word in words_of(file, each, here[each])]
    return [f"{script_of(name)}.py", *named, *told]


def resume_command(
    run_dir: Path, more: Sequence[str] = (), *, policy: str | None = None, family: str | None = None
) -> str | None:
    """What is typed to go on with a run, whose settings need not be repeated; None where it does not tell them.

    Args:
        run_dir: of the run.
        more: further options.
        policy: where the user's own module is, if the policy is one and it is known.
        family: where the user's own family is, if it is known.
    """
    from rlmaml.base.plain_data import read_json
    from rlmaml.storage.run_directory import RunDirectory
    from rlmaml_envs.registry import FAMILIES

    file = RunDirectory(run_dir).settings
    try:
        content = read_json(file)
        settings = from_plain(content["settings"])
        env_id, name = settings.run.env_id, supervised_name(settings.run.env_id)
        own = family or (content.get("family", {}).get("from") if name is None and env_id not in FAMILIES else None)
        if name is not None:
            words = supervised_words(name, settings, content.get("made_by", {}), file)
        else:
            words = ["train_locomotion.py"] if own else training_words(env_id)
    except (FileNotFoundError, UserError, AttributeError, KeyError):
        return None
    code = ["--family", own] if own else []
    code += ["--policy", policy or settings.policy] * (":" in settings.policy)
    script, *others = words
    kept = ["--config", str(file), "--run-dir", str(run_dir), "--resume"]
    return shlex.join(["python", str(Path(sys.argv[0]).with_name(script)), *others, *code, *kept, *more])


@contextmanager
def telling_how_to_resume(
    run_dir: Path, arguments: Sequence[str], settings: Settings, family: str | None = None
) -> Iterator[None]:
    """Let a refusal to go on with a run under other settings end with the command that works.

    Args:
        run_dir: of the run.
        arguments: the command line; of its options those that may change are in the command, too.
        settings: that were asked for.
        family: the user's own, as it was named.

    Raises:
        UserError: the refusal.
    """
    try:
        yield
    except OtherSettingsError as error:
        given = {name: chosen(arguments, name, "") for name in settings.marked("free_on_resume")}
        free = [word for name, value in given.items() if value for word in (option(name), value)]
        policy = settings.policy if ":" in settings.policy else None
        command = resume_command(run_dir, free, policy=policy, family=family)
        raise UserError(f"{error} To go on with it as it was begun: {command}" if command else str(error)) from error
