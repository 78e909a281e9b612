import ast
import dataclasses
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

import rlmaml
from rlmaml.base.errors import UserError
from rlmaml.settings.checks import option
from rlmaml.settings.methods.registry import METHODS
from rlmaml.settings.policy import POLICIES
from rlmaml.settings.search import SearchSettings
from rlmaml.settings.whole import owner_classes

PACKAGE = Path(rlmaml.__file__).parent
CLASSES: set[type[Any]] = {
    kind for method in METHODS for policy in (*POLICIES, "my.py:Net") for kind in owner_classes(method, policy).values()
} | {SearchSettings}


WRONG: dict[type[Any], list[Any]] = {
    bool: [0, 1, "True", None],
    int: [1.0, True, "1", None, (1,), float("nan"), 10**30],
    float: [True, "0.1", None, (0.1,), float("nan"), float("inf"), -float("inf"), 10**400],
    str: [None, 3, b"cpu", ("cpu",)],
}


def wrong_values(kind: Any) -> list[Any]:
    """Values of another kind than an annotation's."""
    choices = get_args(kind)
    if get_origin(kind) is Literal:
        return [choices[0].upper(), choices[0] + " ", "", None, 0, (choices[0],)]
    if get_origin(kind) is tuple:
        return [None, 1, "1", *([value] for value in (1, 0.5)), *((value,) for value in wrong_values(choices[0]))]
    if choices:
        legal = {type(None)} & set(choices)
        (other,) = set(choices) - {type(None)}
        return [value for value in wrong_values(other) if not (legal and value is None)]
    return WRONG[kind]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", sorted(CLASSES, key=str), ids=lambda kind: kind.__name__)
def test_every_field_is_refused_with_its_option_where_it_is_not_what_its_annotation_says(kind: type[Any]) -> None:
    hints = get_type_hints(kind)
    for name in own_fields(kind):
        for value in wrong_values(hints[name]):
            with pytest.raises(UserError, match=rf"^{option(name)} is {re.escape(repr(value))}; it must be "):
                kind(**{name: value})


def own_fields(kind: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


@pytest.mark.parametrize("kind", sorted(CLASSES, key=str), ids=lambda kind: kind.__name__)
def test_every_field_has_a_sentence_of_help(kind: type[Any]) -> None:
    documented: set[str] = set()
    for base in kind.__mro__:
        if not dataclasses.is_dataclass(base):
            continue
        tree = ast.parse(Path(PACKAGE.parent / (base.__module__.replace(".", "/") + ".py")).read_text())
        (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == base.__name__]
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                assert isinstance(field.target, ast.Name)
                assert str(text.value.value).endswith(".")
                documented.add(field.target.id)
    assert set(own_fields(kind)) <= documented
