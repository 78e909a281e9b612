import ast
import dataclasses
from pathlib import Path
from typing import Any

import pytest

import rlmaml
from rlmaml.settings.methods import METHODS
from rlmaml.settings.policy import POLICIES
from rlmaml.settings.whole import owner_classes

PACKAGE = Path(rlmaml.__file__).parent
CLASSES = {
    kind for method in METHODS for policy in (*POLICIES, "my.py:Net") for kind in owner_classes(method, policy).values()
}


def own_fields(kind: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


NAMES = sorted({name for kind in CLASSES for name in own_fields(kind)})


def attributes_read(path: Path) -> set[str]:
    """Names that a file reads as attributes of something that is not ``self`` where it checks its own fields."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


READERS = [
    path
    for path in [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "scripts").glob("*.py")]
    if path.parent.name != "settings"
]
READ = {path: attributes_read(path) for path in READERS}
BY_METHOD = {
    "inner_step_sizes": "step_sizes",
    "time_limit": "bootstraps",
    "stage_weights": "weights",
}
"""Fields that only a method of their own class reads, and the method that others call."""
BY_NAME = {"learn_step_sizes", "first_order"}
"""Fields that not every class of the same owner has, and that are asked for by name."""


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_read_by_somebody_who_is_no_settings_class(name: str) -> None:
    if name in BY_NAME:
        assert any(f'"{name}"' in path.read_text() for path in READERS)
        return
    readers = [path for path, attributes in READ.items() if BY_METHOD.get(name, name) in attributes]
    assert readers, f"nobody reads {name}"


@pytest.mark.parametrize("kind", sorted(CLASSES, key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_every_field_has_a_sentence_of_help(kind: type[Any]) -> None:
    documented: set[str] = set()
    for base in kind.__mro__:
        if not dataclasses.is_dataclass(base):
            continue
        tree = ast.parse(Path(PACKAGE.parent / (base.__module__.replace(".", "/") + ".py")).read_text())
        (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == base.__name__]
        for field, text in zip(body, body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                assert isinstance(field.target, ast.Name)
                assert str(text.value.value).endswith(".")
                documented.add(field.target.id)
    assert set(own_fields(kind)) <= documented
