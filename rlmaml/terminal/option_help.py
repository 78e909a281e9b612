"""What ``--help`` shows of options: what a value is, in a readable word, their sentences, and lines that fit."""

import ast
import dataclasses
import inspect
import shutil
import textwrap
from collections.abc import Mapping
from copy import copy
from dataclasses import MISSING
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

HELP = ("-h", "--help")
WORDS: dict[Any, str] = {int: "INT", float: "FLOAT", str: "NAME", Path: "FILE"}
"""What a value is called, by its type; see also :data:`NAMED`."""
NAMED = {
    "env_id": "FAMILY",
    "family": "FILE.py:NAME",
    "policy": "FILE.py:NAME",
    "start_from": "RUN_DIR",
    "variant": "VARIANT",
    "source": "VARIANT",
    "target": "VARIANT",
    "hold_out": "KIND",
    "task": "NAME=VALUE",
    "device": "DEVICE",
    "rollout_device": "DEVICE",
}
"""What the value of an option is called that has the same name in every script, by its field."""
NOTHING: tuple[Any, ...] = (None, "", ())
"""Defaults that are no values."""
WIDEST = 120
"""Characters of a line of text."""


def shown_options(
    kind: type[Any], spelling: Mapping[str, str], *, explained: bool = True, begins: Any = None
) -> type[Any]:
    """A dataclass that ``tyro`` shows as the one it is made of is meant, which its values are values of, too.

    Args:
        kind: options, a dataclass; so are those in it.
        spelling: fields whose option has another name.
        explained: give every option its sentence, which takes reading its source; for whoever asks for help.
        begins: what the options begin from, if that is not the class's own defaults.
    """
    hints, told = get_type_hints(kind, include_extras=True), sentences(kind) if explained else {}
    made = []
    for field in dataclasses.fields(kind):
        bare, extras = _bare(hints[field.name])
        if dataclasses.is_dataclass(bare):
            part = getattr(begins, field.name, None)
            inner = shown_options(bare, spelling, explained=explained, begins=part)  # type: ignore[arg-type]
            made.append((field.name, Annotated[(inner, *extras)] if extras else inner, _as_shown(field, inner)))
            continue
        word = value_word(bare, NAMED.get(field.name))
        own = field.default_factory() if callable(field.default_factory) else field.default
        default = getattr(begins, field.name, own)
        unsaid = default in NOTHING or (default is MISSING and get_origin(bare) is tuple)
        shown = tyro.conf.arg(
            name=spelling.get(field.name),
            metavar=f"[{word}]" if tyro.conf.Positional in extras and default is None else word,
            help=told.get(field.name),
            help_behavior_hint="" if unsaid else None,
        )
        made.append((field.name, Annotated[(bare, shown, *extras)], copy(field)))
    held = {"__doc__": kind.__doc__, "__post_init__": lambda _: None}  # what is meant is checked
    return dataclasses.make_dataclass(kind.__name__, made, bases=(kind,), namespace=held, frozen=True)


def as_meant(kind: type[Any], value: Any) -> Any:
    """Options that were read as :func:`shown_options` shows them, as values of the classes that are meant."""
    hints = get_type_hints(kind)
    own = {name: getattr(value, name) for name in (field.name for field in dataclasses.fields(kind))}
    return kind(**{name: as_meant(hints[name], v) if dataclasses.is_dataclass(v) else v for name, v in own.items()})


def value_word(hint: Any, word: str | None = None) -> str | None:
    """What the value of an option is called; None for a switch.

    Args:
        hint: its type.
        word: in place of that of a type of a single value, where that says too little.
    """
    kinds = [one for one in get_args(hint) if one is not NoneType]
    if get_origin(hint) is Literal:
        return f"{{{','.join(map(str, kinds))}}}"
    if get_origin(hint) is tuple:
        parts = [value_word(one, word) or "" for one in kinds if one is not Ellipsis]
        return " ".join(parts if Ellipsis not in kinds else [*parts, "..."])
    if kinds:
        return value_word(kinds[0], word)
    return None if hint is bool else word or WORDS[hint]


def sentences(kind: type[Any]) -> dict[str, str]:
    """Field of a dataclass, or of one that it is made from -> what stands below it in the source, on one line."""
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(owner):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        for field, below in pairwise(getattr(tree, "body", ())):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
    return found


def wrapped_text(text: str) -> str:
    """A script's text on lines that a terminal has room for; what is indented stays as it is.

    Every line begins with a space: ``tyro`` would join them again.
    """
    width = min(shutil.get_terminal_size().columns, WIDEST) - 1
    paragraphs = [
        textwrap.indent(part, " ") if part.startswith(" ") else textwrap.fill(part, width, **_INDENTED)
        for part in text.split("\n\n")
    ]
    return "\n\n".join(paragraphs)


_INDENTED: Any = {"initial_indent": " ", "subsequent_indent": " ", "break_long_words": False, "break_on_hyphens": False}


def _bare(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without what it is annotated with, and that."""
    if get_origin(hint) is not Annotated:
        return hint, ()
    bare, *extras = get_args(hint)
    return bare, tuple(extras)


def _as_shown(field: dataclasses.Field[Any], shown: type[Any]) -> Any:
    """The field with its default value as the class that is shown."""
    if callable(factory := field.default_factory):
        return dataclasses.field(default_factory=lambda: shown(**vars(factory())))
    return copy(field)
