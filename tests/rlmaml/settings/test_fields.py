import ast
import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import rlmaml
from rlmaml.settings.methods.registry import METHODS
from rlmaml.settings.policy import POLICIES
from rlmaml.settings.whole import owner_classes

PACKAGE = Path(rlmaml.__file__).parent
CLASSES: set[type[Any]] = {
    kind for method in METHODS for policy in (*POLICIES, "my.py:Net") for kind in owner_classes(method, policy).values()
}


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
