"""The flat command line over settings with owners: ``--algorithm`` and ``--policy`` say whose options there are."""

import argparse
import dataclasses
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin

import tyro

from rlmaml.base.errors import UserError
from rlmaml.settings.checks import SPELLING, option
from rlmaml.settings.methods.registry import DEFAULT_METHOD, METHODS, find_method
from rlmaml.settings.whole import Settings, as_method, owner_classes

ScriptT = TypeVar("ScriptT")


@dataclasses.dataclass(frozen=True)
class Choice:
    """What decides which other options there are."""

    algorithm: str
    """How it meta-learns: maml-trpo, fomaml, e-maml, meta-sgd, maml++, anil, cavia, promp, maml-ppo, reptile, rl2, rma,
    or, without adaptation, pretrained, oracle, random; the help lists the options of the one that is named."""
    policy: str
    """Who acts: gaussian, categorical, gru, latent, conv4, embedded, multimodal, or FILE.py:NAME of a torch module of
    your own, which is then run."""


def chosen(arguments: Sequence[str], name: str, default: str) -> str:
    """The value of one option among others that are not known yet."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(option(name), default=default)
    return str(getattr(parser.parse_known_args(_spelled(arguments))[0], name))


def positional_words(arguments: Sequence[str], options: type[Any]) -> list[str]:
    """The words of a command that are neither options nor their values.

    Args:
        arguments: the command line.
        options: a script's, a dataclass; those of dataclasses in it count, too.
    """
    kinds = {"-h": bool, "--help": bool, **dict(_kinds(options))}
    words, values = [], 0.0
    for word in arguments:
        if word.startswith("--") or word == "-h":
            name, equals, _ = word.replace("_", "-").replace("--no-", "--", 1).partition("=")
            kind = kinds.get(name)
            values = 0 if equals or kind is bool else math.inf if get_origin(kind) is tuple else 1
        elif values:
            values -= 1
        else:
            words.append(word)
    return words


def _kinds(options: type[Any]) -> Iterator[tuple[str, Any]]:
    """Option -> the type of its value."""
    for field in dataclasses.fields(options):
        kind: Any = get_args(field.type)[0] if get_origin(field.type) is Annotated else field.type
        if dataclasses.is_dataclass(kind):
            yield from _kinds(kind)  # type: ignore[arg-type]
        else:
            yield option(field.name), kind


def parse(
    script: ScriptT,
    defaults: Callable[[str | None, str], Settings],
    description: str,
    arguments: Sequence[str] | None = None,
    written: Sequence[str] = (),
) -> tuple[ScriptT, Settings]:
    """The options of a training script, and the settings of its run.

    Args:
        script: default values of the script's own options, a dataclass.
        defaults: settings of a variant, or of the default one (None), for a method, that the command line may change.
        description: the script's help text.
        arguments: the command line; None for the process's own.
        written: options of a file, which it overrules.

    Raises:
        UserError: the method or the policy kind is unknown, or an option is none that they have.
    """
    typed = sys.argv[1:] if arguments is None else list(arguments)
    arguments = [*written, *typed]
    algorithm = chosen(arguments, "algorithm", DEFAULT_METHOD)
    start = defaults(chosen(arguments, "variant", "") or None, algorithm)
    choice = Choice(algorithm, chosen(arguments, "policy", find_method(algorithm).policy or start.policy))
    start = as_method(start, algorithm, choice.policy)
    owners = owner_classes(choice.algorithm, choice.policy)
    kinds = [type(script), Choice, *owners.values()]
    check_known(written, choice, kinds, " Take it out of the file of --config, or choose the method that has it.")
    check_known(typed, choice, kinds)
    parts: dict[str, tuple[Any, Any]] = {"script": (type(script), script), "choice": (Choice, choice)}
    for owner, kind in owners.items():
        shown = spelled(kind)
        parts[owner] = (shown, shown(**vars(getattr(start, owner))))
    whole = dataclasses.make_dataclass(
        "Options",
        [
            (name, Annotated[kind, tyro.conf.OmitArgPrefixes], dataclasses.field(default=value))
            for name, (kind, value) in parts.items()
        ],
        frozen=True,
    )
    parsed: Any = tyro.cli(whole, description=description, args=list(arguments))
    settings = Settings(
        parsed.choice.algorithm,
        parsed.choice.policy,
        **{owner: kind(**vars(getattr(parsed, owner))) for owner, kind in owners.items()},
    )
    return parsed.script, settings


def spelled(kind: type[Any]) -> type[Any]:
    """A dataclass whose fields are known to the command line by the names of their options."""
    fields = [
        (field.name, Annotated[field.type, tyro.conf.arg(**told)], field)
        for field in dataclasses.fields(kind)
        if (told := _told(field.name))
    ]
    return dataclasses.make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True) if fields else kind


def _told(name: str) -> dict[str, Any]:
    """What the help says of a field in other words than its own: its name, and what its value is."""
    renamed = {"name": SPELLING[name]} if name in SPELLING else {}
    return renamed | ({"metavar": "RUN_DIR"} if name == "start_from" else {})


def check_known(arguments: Sequence[str], choice: Choice, kinds: Sequence[type[Any]], cure: str = "") -> None:
    """Refuse options that none of some dataclasses has, with a cure where it is not to spell them otherwise.

    Raises:
        UserError: names the first one, and those there are.
    """
    known = [option(field.name) for kind in kinds for field in dataclasses.fields(kind)]
    legal = {*known, *(name.replace("--", "--no-", 1) for name in known), "--help"}
    for word in _spelled(arguments):
        name = word.split("=")[0]
        if name.startswith("--") and name not in legal:
            others = [
                method
                for method in METHODS
                if any(name == option(field.name) for field in _fields(method, choice.policy))
            ]
            whose = f" It is one of {', '.join(others)}." if others else ""
            raise UserError(
                f"{name} is no option of {choice.algorithm} with a {choice.policy} policy.{whose} There are: "
                f"{', '.join(known)}.{cure}"
            )


def _fields(method: str, policy: str) -> list[dataclasses.Field[Any]]:
    return [field for kind in owner_classes(method, policy).values() for field in dataclasses.fields(kind)]


def _spelled(arguments: Sequence[str]) -> list[str]:
    """The words with options spelled by hyphens, as the help shows them."""
    words = []
    for word in arguments:
        name, equals, value = word.partition("=")
        words.append(name.replace("_", "-") + equals + value if word.startswith("--") else word)
    return words
