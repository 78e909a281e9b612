import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jaxtyping
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.core.returns import discounted_sum
from tests.rlmaml.shapes import checked, jaxtyped, shapes_checked

T = TypeVar("T", bound=Tensor)
THREE: Any = 3
HALF: Any = 0.5
WORD: Any = "word"
SQUARE, WIDE = torch.zeros(2, 2), torch.zeros(2, 3)


@checked
def product(a: Float[Tensor, "rows inner"], b: Float[Tensor, "inner columns"]) -> Float[Tensor, "rows columns"]:
    return a @ b


@checked
def sideways(a: Float[Tensor, "rows columns"]) -> Float[Tensor, "columns rows"]:
    return a


@checked
def total(*numbers: int, start: int = 0, **more: int) -> float:
    return float(sum(numbers, start) + sum(more.values()))


@checked
def later(value: "Later | None") -> "dict[str, Later]":
    return {} if value is None else {"it": value}


@checked
def same(value: T) -> T:
    return value


class Later:
    @checked
    def scaled(self, by: float) -> "Later":
        return self if by else self.scaled(by=1)


@jaxtyped(typechecker=None)
@dataclass(frozen=True)
class Pair:
    first: Float[Tensor, " n"]
    second: Float[Tensor, " n"]
    name: str = "pair"


@jaxtyped(typechecker=None)
@dataclass(frozen=True)
class Numbers:
    first: int
    second: int
    name: str = "pair"


@contextmanager
@checked
def lent(value: Float[Tensor, " n"]) -> Iterator[Tensor]:
    yield value


def maker(size: int) -> Callable[[Tensor], Tensor]:
    @checked
    def grown(value: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return value.new_zeros(size)

    return grown


def test_what_satisfies_its_annotations_is_computed_as_ever() -> None:
    torch.testing.assert_close(product(SQUARE, b=WIDE), WIDE)
    assert sideways(SQUARE) is SQUARE
    assert total(1, 2, start=3, more=4) == 10
    assert later(None) == {}
    assert same(WIDE) is WIDE
    assert Pair(SQUARE[0], second=SQUARE[1]).name == "pair"
    assert Numbers(1, 2).first == 1
    with lent(SQUARE[0]) as value:
        assert value is not None
    assert maker(2)(SQUARE[0]).shape == (2,)
    assert product.__name__ == "product"


@pytest.mark.parametrize(
    ("call", "told"),
    {
        "axes of one name in two arguments": (
            lambda: product(WIDE, WIDE),
            r"product: b is torch.float32 \(2, 3\), not",
        ),
        "the same, by name": (lambda: product(b=WIDE, a=WIDE), "product: a is .*inner=2"),
        "a number of axes": (lambda: product(WIDE[0], WIDE), "product: a is"),
        "a kind of numbers": (lambda: product(SQUARE.long(), WIDE), "product: a is torch.int64"),
        "axes of an argument and the result": (lambda: sideways(WIDE), "sideways: return is"),
        "a further argument": (lambda: total(1, WORD), "total: numbers is 'word', not <class 'int'>"),
        "an argument by name alone": (lambda: total(1, start=HALF), "total: start is 0.5"),
        "a further argument by name": (lambda: total(1, more=WORD), "total: more is 'word'"),
        "an annotation in quotes": (lambda: later(THREE), "later: value is 3, not"),
        "a variable for types": (lambda: same(THREE), "same: value is 3"),
        "a method": (lambda: Later().scaled(WORD), "Later.scaled: by is 'word'"),
        "what a method calls itself with": (lambda: Later().scaled(0.0), "Later.scaled: by is 1, not <class 'float'>"),
        "axes of a dataclass": (lambda: Pair(SQUARE[0], WIDE[0]), "Pair.__init__: second is"),
        "a field of a dataclass": (lambda: Pair(SQUARE[0], SQUARE[1], name=THREE), "Pair.__init__: name is 3"),
        "a field of another dataclass of the same names": (lambda: Numbers(1, HALF), "Numbers.__init__: second is 0.5"),
        "what a context is made of": (lambda: lent(SQUARE), "lent: value is"),
        "a function within a function": (lambda: maker(3)(SQUARE[0]), "maker.<locals>.grown: return is"),
    }.values(),
)
def test_what_is_not_as_annotated_is_refused_by_name(call: Callable[[], Any], told: str) -> None:
    maker(2)(SQUARE[0])  # of one text with a function that is refused, and called before it
    Pair(SQUARE[0], SQUARE[1])
    with pytest.raises(jaxtyping.TypeCheckError, match=f"(?s)^tests.rlmaml.test_shapes.{told}"):
        call()


def test_axes_of_one_name_are_of_one_size_within_one_call_alone() -> None:
    assert product(SQUARE, product(SQUARE, WIDE)).shape == (2, 3)
    assert product(WIDE, WIDE.T).shape == (2, 2)


def test_every_function_of_the_library_is_checked_but_where_checks_are_switched_off() -> None:
    rewards, valid = torch.zeros(2, 3), torch.ones(3, dtype=torch.bool)
    with pytest.raises(jaxtyping.TypeCheckError, match=r"rlmaml.core.returns.discounted_sum: valid is"):
        discounted_sum(rewards, valid, 0.5)
    with shapes_checked(False):
        assert discounted_sum(rewards, valid, 0.5).shape == (2, 3)


def test_what_is_said_before_torch_and_the_library_are_imported_imports_neither() -> None:
    code = "import sys, tests; sys.exit(bool({'torch', 'rlmaml'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
