"""Whether and how shapes are checked. Checks take longer than the small updates of tests: each path is checked once.

jaxtyping's import hook puts ``jaxtyping.jaxtyped`` on every function and dataclass of rlmaml. The library's own
compiles two functions for each of them, anew for each that is made inside another one, and checks arguments twice: that
took two fifths of the tests of policies. This file's judges by the same parts (arrays are jaxtyping's, all else is
beartype's), and reads what a function is annotated with once, when it is first called.
"""

import contextlib
import dataclasses
import functools
import inspect
import io
import reprlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from types import CodeType, FunctionType
from typing import Any, NamedTuple, TypeVar, cast, get_type_hints

import jaxtyping
import pytest
from beartype.door import is_bearable

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
same_axes: Callable[[], Any] = functools.partial(jaxtyping.jaxtyped, "context")
"""``with same_axes()``: inside, axes of one name are of one size."""


class Annotated(NamedTuple):
    """What an argument or the result is annotated with."""

    name: str
    hint: Any
    is_array: bool

    def require(self, value: Any, function: FunctionType) -> None:
        """Raise where a value is not what it is annotated with."""
        if not (isinstance(value, self.hint) if self.is_array else is_bearable(value, self.hint)):
            with contextlib.redirect_stdout(io.StringIO()) as axes:
                jaxtyping.print_bindings()  # type: ignore[no-untyped-call]
            shown = f"{value.dtype} {tuple(value.shape)}" if hasattr(value, "shape") else reprlib.repr(value)
            raise jaxtyping.TypeCheckError(
                f"{function.__module__}.{function.__qualname__}: {self.name} is {shown}, not {self.hint}. "
                f"{axes.getvalue()}"
            )


class Annotations(NamedTuple):
    """What a function's arguments and result are annotated with; None is no annotation, or one that all satisfy."""

    positional: tuple[Annotated | None, ...]
    further: Annotated | None
    named: dict[str, Annotated | None]
    further_named: Annotated | None
    result: Annotated | None


READ: dict[tuple[str, str, CodeType], Annotations] = {}
"""Module, name and text of every function that was called -> its annotations."""


def install() -> None:
    """Whatever the import hook decorates from now on is checked by ``jaxtyped`` of this file."""
    vars(jaxtyping)["jaxtyped"] = jaxtyped


def jaxtyped(*, typechecker: object) -> Callable[[FunctionT], FunctionT]:
    """Check arguments and result of a function, or the arguments of a dataclass, at every call."""

    def decorate(value: Any) -> Any:  # a function or a class
        if isinstance(value, FunctionType):
            return checked(value)
        if dataclasses.is_dataclass(value) and "__init__" in vars(value):
            value.__init__ = checked(value.__init__)  # type: ignore[misc, method-assign]
        return value

    return decorate


def checked(value: FunctionT) -> FunctionT:
    """The function, whose arguments are looked at before and whose result after."""
    function, annotations = cast(FunctionType, value), None

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal annotations
        if jaxtyping.config.jaxtyping_disable:
            return function(*args, **kwargs)
        if annotations is None:
            text = (function.__module__, function.__qualname__, function.__code__)
            annotations = READ[text] = READ.get(text) or read(function)
        with same_axes():
            for value, annotated in zip(args, chain(annotations.positional, repeat(annotations.further)), strict=False):
                if annotated is not None:
                    annotated.require(value, function)
            for name, value in kwargs.items():
                annotated = annotations.named.get(name, annotations.further_named)
                if annotated is not None:
                    annotated.require(value, function)
            result = function(*args, **kwargs)
            if annotations.result is not None:
                annotations.result.require(result, function)
            return result

    return cast(FunctionT, call)


def read(function: FunctionType) -> Annotations:
    """What a function is annotated with."""
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters.values()

    def annotated(name: str) -> Annotated | None:
        hint = hints.get(name, Any)
        is_array = inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray)
        return None if hint in (Any, object) else Annotated(name, hint, is_array)

    def of(*kinds: Any) -> list[Annotated | None]:
        return [annotated(parameter.name) for parameter in parameters if parameter.kind in kinds]

    return Annotations(
        tuple(of(inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)),
        next(iter(of(inspect.Parameter.VAR_POSITIONAL)), None),
        {parameter.name: annotated(parameter.name) for parameter in parameters},
        next(iter(of(inspect.Parameter.VAR_KEYWORD)), None),
        annotated("return"),
    )


@contextmanager
def shapes_checked(checked: bool) -> Iterator[None]:
    """Shapes are checked inside, or not; afterwards as they were before."""
    before = jaxtyping.config.jaxtyping_disable
    with pytest.MonkeyPatch.context() as patch:  # functions inside functions are decorated anew each time
        patch.setattr(jaxtyping, "jaxtyped", jaxtyped if checked else unchanged)
        jaxtyping.config.update("jaxtyping_disable", not checked)
        try:
            yield
        finally:
            jaxtyping.config.update("jaxtyping_disable", before)


def unchanged(**_: Any) -> Callable[[Any], Any]:
    """A decorator that does nothing."""
    return lambda function: function
