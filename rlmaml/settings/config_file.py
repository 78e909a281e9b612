"""Settings from a file: those of another run, its ``run.json``, or options in YAML."""

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rlmaml.base.errors import UserError
from rlmaml.base.plain_data import parse_object, unsealed
from rlmaml.settings.checks import option
from rlmaml.settings.command_line import chosen
from rlmaml.settings.whole import Settings, from_plain


class Config(NamedTuple):
    """What a file says of a run; what it does not say is as without it."""

    settings: Settings | None
    """All of them, of another run; None where the file holds options."""
    words: tuple[str, ...]
    """What the file says, as it would be typed: options come before those of the command line, which overrule them."""
    origin: str | None = None
    """Where the family of another run came from; None where nobody says, and of one of ours."""

    @property
    def env_id(self) -> str | None:
        """The task family that the file names."""
        if self.settings is not None:
            return self.settings.run.env_id
        name = option("env_id")
        return self.words[self.words.index(name) + 1] if name in self.words else None


NOTHING = Config(None, ())
"""What is said where no file is named."""
OWN_CODE = {"policy": ":", "family": ""}
"""Options whose value may be code of the user's own, which is then run -> what is in it where it is."""


def config_of(arguments: Sequence[str]) -> Config:
    """What the file of ``--config`` on a command line says.

    Raises:
        UserError: the file names code of the user's own, and the command line does not: nothing that is stored runs
            code, a name that somebody typed does; or see :func:`read_config`.
    """
    file = chosen(arguments, "config", "")
    config = read_config(Path(file) if file else None)
    for name, mark in OWN_CODE.items():
        stored = config.settings.flat().get(name, "") if config.settings else chosen(config.words, name, "")
        if stored and mark in stored and not chosen(arguments, name, ""):
            raise UserError(
                f"--config: {file} names code of your own, {stored}, and no code runs because a file names it. Say "
                f"that its code may be run: {option(name)} {stored}."
            )
    return config


def read_config(path: Path | None) -> Config:
    """The settings or options in a file; none without one.

    Warns:
        It is a run's, and was edited or damaged since.

    Raises:
        UserError: it cannot be read, gives a name twice, is no mapping of options to values, names another file, or
            holds settings of another version.
    """
    if path is None:
        return NOTHING
    import yaml

    try:
        text = path.read_text("utf-8")
        content = _parsed(text)
    except IsADirectoryError as error:
        raise UserError(f"--config: {path} is a directory. Give a file: of a run, the run.json in it.") from error
    except RecursionError as error:
        raise UserError(f"--config: {path} cannot be read: it is nested too deeply.") from error
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise UserError(f"--config: {path} cannot be read: {reason}.") from error
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise UserError(f"--config: {path} must hold options and their values, such as max-kl: 0.02, or be a run.json.")
    if "settings" in content:
        settings, family = from_plain(content["settings"]), content.get("family")
        _tell_of_changes(path, text)
        origin = family.get("from") if isinstance(family, Mapping) else None
        return Config(settings, (option("algorithm"), settings.algorithm), origin)
    return Config(None, tuple(word for name, value in content.items() for word in words_of(path, name, value)))


def _tell_of_changes(path: Path, text: str) -> None:
    """Warn of settings that are not as a run wrote them."""
    try:
        unsealed(parse_object(text))
    except ValueError as error:
        warnings.warn(f"--config: {path} is read as it is now: {error}.", stacklevel=3)


def _parsed(text: str) -> Any:
    """What a YAML text says; a name that is given twice is refused."""
    import yaml

    to_see, seen = [yaml.compose(text, yaml.SafeLoader)], set[int]()
    while to_see:
        node = to_see.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            if twice := [name for name, count in names.items() if count > 1]:
                raise ValueError(f"{twice[0]} is given twice")
            to_see += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            to_see += node.value
    return yaml.safe_load(text)


def words_of(path: Path, name: str, value: Any) -> list[str]:
    """One option of a file as it would be typed.

    Raises:
        UserError: its value is a mapping, or a list of lists; or it, or a value, would be typed as other options.
    """
    spelled = option(name.lstrip("-"))
    if not re.fullmatch(r"--\w[\w-]*", spelled):
        raise UserError(f"In {path}, {name!r} is the name of no option; options are flat, such as max-kl: 0.02.")
    if spelled == option("config"):
        raise UserError(f"--config: {path} names another file, {value}; put its options into this one.")
    if value is None:
        return []
    if isinstance(value, bool):
        return [spelled if value else spelled.replace("--", "--no-", 1)]
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, Mapping | list | set) for one in values):
        raise UserError(f"In {path}, {name} holds further names or lists; options are flat, such as max-kl: 0.02.")
    if typed_as_options := [str(one) for one in values if str(one).startswith("--")]:
        raise UserError(f"In {path}, {name} is {typed_as_options[0]!r}, which is an option; give it a line of its own.")
    return [spelled, *(str(one) for one in values)]
