"""Plain data as JSON: one reader and one writer, for which nothing is a number or text that is none."""

import hashlib
import json
import math
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from rlmaml.base.errors import NonFiniteError, UserError

CHECKSUM = "checksum"
"""The name of an object's checksum among its names."""
LARGEST = 1 << 30
"""Bytes beyond which a file is none that was written here."""


class DamagedError(UserError):
    """A file does not hold what it should."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path} is damaged, or no such file at all: {what}.")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, without its checksum.

    Raises:
        FileNotFoundError: there is no file.
        DamagedError: it cannot be read, is no JSON object or not the one that was written; NaN and infinity are no
            JSON.
    """
    try:
        return unsealed(parse_object(read_file(path)))
    except ValueError as error:
        raise DamagedError(path, str(error)) from error


def read_file(path: Path) -> bytes:
    """A file's content.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it cannot be read, or is far larger than any that is written here.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
            raise DamagedError(path, f"it is no file of at most {LARGEST} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedError(path, error.strerror or str(error)) from error


def parse_object(text: str | bytes) -> dict[str, Any]:
    """The JSON object of a text.

    Raises:
        ValueError: it is none; NaN, infinity, numbers too long to be read and names given twice are refused.
    """
    try:
        parsed = json.loads(
            text, parse_constant=_refuse, parse_float=_finite, parse_int=_whole, object_pairs_hook=_unique
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(parsed, dict):
        raise ValueError("it is no JSON object")
    return parsed


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """An object with a checksum over all of it, SHA-256, as its last name.

    Raises:
        NonFiniteError: a number in it is NaN or infinite.
    """
    return {**content, CHECKSUM: _digest(parse_object(as_json(content)))}


def unsealed(parsed: Mapping[str, Any]) -> dict[str, Any]:
    """An object as it was before :func:`sealed`; one that somebody else wrote, without a checksum, as it is.

    Raises:
        ValueError: it is not the one of which the checksum is, or it ends with one that is called something else.
    """
    content = {name: value for name, value in parsed.items() if name != CHECKSUM}
    last = [CHECKSUM, *parsed][-1]
    if CHECKSUM not in parsed and re.fullmatch("[0-9a-f]{64}", str(parsed.get(last))):
        raise ValueError(f"its {CHECKSUM} is called {last!r}")
    if CHECKSUM in parsed and parsed[CHECKSUM] != _digest(content):
        raise ValueError(
            f"its {CHECKSUM} is of other contents. Where they were changed on purpose, delete its {CHECKSUM}"
        )
    return content


def _digest(content: Mapping[str, Any]) -> str:
    """However an object is laid out, and in whatever order its names are."""
    return hashlib.sha256(as_json(content, sort_keys=True).encode()).hexdigest()


def as_json(value: object, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Plain data as the text of JSON.

    Raises:
        NonFiniteError: a number in it is NaN or infinite, which JSON does not have; names where.
    """
    try:
        return json.dumps(value, indent=indent, sort_keys=sort_keys, allow_nan=False)
    except ValueError:
        if (where := _no_json(value)) is None:
            raise
        raise NonFiniteError(".".join(where) or "A number", "JSON has no such number, and nothing is written") from None


def _no_json(value: object) -> list[str] | None:
    """The names that lead to a number in plain data that JSON does not have; None where there is none."""
    if isinstance(value, float):
        return None if math.isfinite(value) else []
    parts = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, part in parts:
        if (where := _no_json(part)) is not None:
            return [str(name), *where]
    return None


def is_number(value: object) -> bool:
    """Whether a value read from JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large a number")
    return number


def _whole(text: str) -> int:
    number = int(text)
    try:
        float(number)
    except OverflowError as error:
        raise ValueError(f"{text[:9]}… is too large a number") from error
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found
