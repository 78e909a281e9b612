"""The flat command line over settings with owners: ``--algorithm`` and ``--policy`` say whose options there are.

What is wrong with a command line is said in one sentence, whoever finds it.
"""

import argparse
import dataclasses
import io
import math
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from copy import copy
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import tyro

from rlmaml.base.errors import UserError
from rlmaml.settings.checks import SPELLING, kind_in_words, option
from rlmaml.settings.methods.registry import DEFAULT_METHOD, METHODS, find_method
from rlmaml.settings.policy import POLICIES
from rlmaml.settings.unread import check_read
from rlmaml.settings.whole import Settings, as_method, owner_classes
from rlmaml.terminal.option_help import HELP, as_meant, shown_options, wrapped_text
from rlmaml.terminal.words import did_you_mean

ScriptT = TypeVar("ScriptT")

POSITIONAL = get_args(tyro.conf.Positional[str])[1]
"""What marks a field that is no option."""
LISTED = 40
"""Options that a refusal lists; of more, it says who does."""
SENTENCES = (tyro.conf.HelptextFromCommentsOff,)
"""An option is explained by the string below its field; looking for comments took half of the time of a parse."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """What decides which other options there are."""

    algorithm: str
    """How it meta-learns: maml-trpo, fomaml, e-maml, meta-sgd, maml++, anil, cavia, promp, maml-ppo, reptile, rl2, rma,
    or, without adaptation, pretrained, robust, oracle, random; the help lists the options of the one that is named."""
    policy: Annotated[str, tyro.conf.arg(metavar="KIND")]
    """Who acts: gaussian, categorical, gru, latent, conv4, embedded, multimodal, or FILE.py:NAME of a torch module of
    your own, which is then run."""


def chosen(arguments: Sequence[str], name: str, default: str) -> str:
    """The value of one option among others that are not known yet."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(option(name), default=default)
    return str(getattr(parser.parse_known_args(_spelled(arguments))[0], name))


def positional_words(arguments: Sequence[str], *options: type[Any]) -> list[str]:
    """The words of a command that are neither options nor their values; whatever follows an unknown option is a value.

    Args:
        arguments: the command line.
        options: a script's, dataclasses; those of dataclasses in them count, and those of a training, too.
    """
    known = {option(name): kind for name, (kind, _) in _fields_of_settings().items()}
    for kind in options:
        known |= _kinds(kind)
    return [word for name, words in _grouped(arguments, known) if not name for word in words]


def shared_options(
    arguments: Sequence[str], options: type[Any], said_otherwise: Mapping[str, str]
) -> tuple[list[str], dict[str, Any]]:
    """The words of a command without the options of a training among them, and these: field -> value.

    Args:
        arguments: the command line.
        options: the command's own, a dataclass. Where it has an option of the same name, that is what is meant.
        said_otherwise: fields of settings that the command decides -> by what.

    Raises:
        UserError: there is no such option, or it takes no such value, or needs one.
    """
    own = _kinds(options)
    theirs = {
        option(name): (name, *one)
        for name, one in _fields_of_settings().items()
        if name not in said_otherwise and option(name) not in own
    }
    for field, instead in said_otherwise.items():
        if option(field) in _names(arguments):
            raise UserError(f"{option(field)} is no option of {Path(sys.argv[0]).name}. Use {instead} in its place.")
    refuse_unknown(arguments, [*own, *theirs], Path(sys.argv[0]).name)
    groups = _grouped(arguments, {name: hint for name, (_, hint, _) in theirs.items()} | own)
    typed = dict.fromkeys(name for name, _ in groups if name in theirs)
    kind: type[Any] = dataclasses.make_dataclass("Shared", [theirs[name] for name in typed], frozen=True)
    given = options_of(kind, arguments=[word for name, group in groups if name in typed for word in group])
    return [word for name, group in groups if name not in typed for word in group], vars(given)


def _grouped(arguments: Sequence[str], kinds: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Every option by its name, with its words, and "" with every word that is neither an option nor its value.

    Args:
        arguments: the command line.
        kinds: option -> the type of its value.
    """
    groups: list[tuple[str, list[str]]] = []
    values = 0.0
    for word in arguments:
        if word.startswith("--") or word == "-h":
            name, equals, _ = _unswitched(word.replace("_", "-")).partition("=")
            kind = kinds.get(name, tuple[str, ...])
            values = 0 if equals or kind is bool else math.inf if get_origin(kind) is tuple else 1
            groups.append((name, [word]))
        elif values:
            values -= 1
            groups[-1][1].append(word)
        else:
            groups.append(("", [word]))
    return groups


def _unswitched(name: str) -> str:
    """The option that ``--no-NAME`` switches off, or the name itself."""
    return name.replace("--no-", "--", 1)


class Known(NamedTuple):
    """An option, or a word without one."""

    name: str
    """As it is typed."""
    kind: Any
    """The type of its value."""
    positional: bool


def _known(options: type[Any]) -> Iterator[Known]:
    """What a dataclass of options, with those in it, lets be typed."""
    for field in dataclasses.fields(options):
        kind, *told = get_args(field.type) if get_origin(field.type) is Annotated else (field.type,)
        if dataclasses.is_dataclass(kind):
            yield from _known(kind)  # type: ignore[arg-type]
        else:
            named = [name for one in told if isinstance(name := getattr(one, "name", None), str) and name]
            yield Known(option(*named or [field.name]), kind, POSITIONAL in told)


def _kinds(options: type[Any]) -> dict[str, Any]:
    """Option, as it is typed -> the type of its value; those that ask for help among them."""
    return dict.fromkeys(HELP, bool) | {known.name: known.kind for known in _known(options)}


def options_of(kind: type[ScriptT], description: str | None = None, arguments: Sequence[str] | None = None) -> ScriptT:
    """A script's options, as they are typed.

    Args:
        kind: a dataclass, with a sentence per field.
        description: the script's help text.
        arguments: the command line; None for the process's own.

    Raises:
        UserError: an option or a value is none; it names what is legal, and what was meant, perhaps.
    """
    typed = sys.argv[1:] if arguments is None else list(arguments)
    kinds = {known.name: known.kind for known in _known(kind) if not known.positional}
    refuse_unknown(typed, list(kinds), Path(sys.argv[0]).name)
    shown = shown_options(kind, SPELLING, explained=bool({*typed} & {*HELP}))
    with told_in_a_sentence(kinds):
        words = wrapped_text(description or "")
        read: ScriptT = as_meant(kind, tyro.cli(shown, description=words, args=typed, config=SENTENCES))
    return read


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
        UserError: the method or the policy kind is unknown, or an option is none that they have, or nothing reads it
            beside others.
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
    shown = partial(shown_options, spelling=SPELLING, explained=bool({*typed} & {*HELP}))
    values = {"script": script, "choice": choice, **{owner: getattr(start, owner) for owner in owners}}
    parts = {name: (shown(type(value), begins=value), value) for name, value in values.items()}
    whole = dataclasses.make_dataclass(
        "Options",
        [
            (name, Annotated[kind, tyro.conf.OmitArgPrefixes], dataclasses.field(default=kind(**vars(value))))
            for name, (kind, value) in parts.items()
        ],
        frozen=True,
    )
    with told_in_a_sentence({one.name: one.kind for kind in kinds for one in _known(kind)}):
        read: Any = tyro.cli(whole, description=wrapped_text(description), args=list(arguments), config=SENTENCES)
    with told_who_stands_for_it(algorithm, _names(arguments)):
        said = {name: as_meant(type(value), getattr(read, name)) for name, value in values.items()}
        script, settings = said.pop("script"), Settings(**vars(said.pop("choice")), **said)
    check_read(settings, start, _names(written), " It is in the file of --config.")
    check_read(settings, start, _names(typed))
    if option("stage_weights") in _names(arguments):
        settings.outer.check_all_count(settings.inner)
    return script, settings


def check_known(arguments: Sequence[str], choice: Choice, kinds: Sequence[type[Any]], cure: str = "") -> None:
    """Refuse options that none of some dataclasses has, with a cure where it is not to spell them otherwise.

    Raises:
        UserError: names the first one, and those there are.
    """

    def others(name: str) -> str:
        having = [
            method for method in METHODS if any(name == option(field.name) for field in _fields(method, choice.policy))
        ]
        return f" It is one of {', '.join(having)}." if having else ""

    known = [one.name for kind in kinds for one in _known(kind)]
    refuse_unknown(arguments, known, f"{choice.algorithm} with a {choice.policy} policy", others, cure)


def refuse_unknown(
    arguments: Sequence[str],
    known: Sequence[str],
    owner: str,
    others: Callable[[str], str] = lambda _: "",
    cure: str = "",
) -> None:
    """Refuse options that are none.

    Args:
        arguments: the command line.
        known: options that there are.
        owner: whose these are.
        others: says of an option who else has it, "" for nobody.
        cure: what else may be done about it.

    Raises:
        UserError: names the first one, and what was meant, perhaps, or else all that there are, unless these are many.
    """
    legal = {*known, *(name.replace("--", "--no-", 1) for name in known), *HELP}
    for word in _spelled(arguments):
        name = word.split("=")[0]
        if name.startswith("--") and name not in legal:
            whose = others(name)
            meant = "" if whose else did_you_mean(name, known)
            there_are = f"There are: {', '.join(known)}." if len(known) <= LISTED else "--help lists those there are."
            listed = meant or f" {there_are}"
            raise UserError(f"{name} is no option of {owner}.{whose}{listed}{cure}")


@contextmanager
def told_who_stands_for_it(algorithm: str, given: Collection[str]) -> Iterator[None]:
    """Say of what is refused in this block that the method stands for it, where it does and nobody gave it.

    Raises:
        UserError: something was refused.
    """
    try:
        yield
    except UserError as error:
        refused = str(error).split(" ")[0]
        if refused in given or refused not in map(option, find_method(algorithm).stands_for):
            raise
        raise UserError(f"{error} {algorithm} always has it: change what you gave, or --algorithm.") from None


@contextmanager
def told_in_a_sentence(kinds: Mapping[str, Any]) -> Iterator[None]:
    """Say what tyro refuses in this block as everything else is said: in one sentence, without a box.

    Args:
        kinds: option -> the type of its value.

    Raises:
        UserError: it refused something.
    """
    said, refused = io.StringIO(), False
    try:
        with redirect_stderr(said):
            yield
    except SystemExit as ended:
        if refused := bool(ended.code):  # and not a help text, which ends it, too
            raise UserError(_sentence(_unboxed(said.getvalue()), kinds)) from None
        raise
    finally:
        if said.getvalue() and not refused:
            sys.stderr.write(said.getvalue())


def _unboxed(text: str) -> str:
    """The words in a box below its title, up to the next line through it."""
    _, *lines = re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()
    words = [line.strip(" │╭╮╰╯") for line in lines]
    if words and _is_rule(words[0]):
        words.pop(0)
    return " ".join(word for word in takewhile(lambda one: not _is_rule(one), words) if word)


def _is_rule(words: str) -> bool:
    return re.fullmatch("[─-]{5,}", words) is not None


def _sentence(words: str, kinds: Mapping[str, Any]) -> str:
    """What tyro says of a value, an option without one, or a word, as we say it."""
    if found := re.fullmatch(r"invalid choice '(.*)' for argument '(--\S+)'\. Expected one of \((.*?),?\)\.", words):
        value, name, listed = found.groups()
        choices = [choice for choice in re.findall(r"'(.*?)'", listed) if choice != "None"]
        return f"{name} is {value!r}; it must be one of {', '.join(choices)}.{did_you_mean(value, choices)}"
    if found := re.fullmatch(r"Error parsing (--[a-z-]+)\S*: .*: ('.*'|\[.*\])", words):
        name, value = found[1], found[2].strip("[]'").replace("', '", " ")
        kind = kinds.get(name)
        each = get_origin(kind) is tuple
        legal = kind_in_words(get_args(kind)[0] if each else kind)
        return f"{name} is {value!r}; {'each' if each else 'it'} must be {legal}."
    if found := re.match(r"Missing value for argument '-*(\S+)'", words):
        name = option(found[1]) if option(found[1]) in kinds else found[1].upper().replace("-", "_")
        return f"{name} is without a value; --help says what it takes."
    if found := re.match(r"Missing from \S+: (\S+) (.*?) ?\(required\)", words):
        return f"{found[1]} is missing. {found[2]}"
    if found := re.fullmatch(r"Unrecognized options: (.*)", words):
        return f"{found[1]} is neither an option nor the value of one; --help lists what there is."
    return words


def _fields(method: str, policy: str) -> list[dataclasses.Field[Any]]:
    return [field for kind in owner_classes(method, policy).values() for field in dataclasses.fields(kind)]


def _fields_of_settings() -> dict[str, tuple[Any, dataclasses.Field[Any]]]:
    """Field of the settings of some method and policy kind -> its type, with what it is annotated with, and itself."""
    owned = [owner_classes(name, method.policy or "gaussian") for name, method in METHODS.items()]
    kinds = {kind for classes in owned for kind in classes.values()} | {*POLICIES.values()}
    return {
        field.name: (get_type_hints(kind, include_extras=True)[field.name], copy(field))
        for kind in sorted(kinds, key=lambda one: one.__name__)
        for field in dataclasses.fields(kind)
    }


def _names(arguments: Sequence[str]) -> set[str]:
    """The options among some words, without their values."""
    return {word.split("=")[0] for word in _spelled(arguments)}


def _spelled(arguments: Sequence[str]) -> list[str]:
    """The words with options spelled by hyphens, as the help shows them."""
    words = []
    for word in arguments:
        name, equals, value = word.partition("=")
        words.append(name.replace("_", "-") + equals + value if word.startswith("--") else word)
    return words
