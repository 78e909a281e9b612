"""The JSON lines of a run: one per meta-iteration, from the first on, without gaps, each with its checksum."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlmaml.base.plain_data import DamagedError, as_json, is_number, parse_object, read_file, sealed, unsealed

ITERATION = "iteration"
RETURN = "return/"
"""How the names of the mean returns begin; every line has the same ones."""


def metrics_line(iteration: int, numbers: Mapping[str, float | None]) -> str:
    """The line of a meta-iteration: numbers by name, or None for what is not defined."""
    return as_json(sealed({ITERATION: iteration, **numbers})) + "\n"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """One entry per meta-iteration: numbers by name, or None for what is not defined.

    A last line without an end, which a killed run did not finish, is none.

    Raises:
        FileNotFoundError: there is no file.
        DamagedError: it cannot be read, or a line is not that of its meta-iteration.
    """
    content = read_file(path)
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    entries: list[dict[str, Any]] = []
    for line in lines:
        try:
            entries.append(_checked(line, entries))
        except ValueError as error:
            raise DamagedError(path, f"line {len(entries) + 1}: {error}") from error
    return entries


def sound_lines(content: bytes) -> list[bytes]:
    """The lines of a file up to the first one that is damaged, unfinished or not that of its meta-iteration."""
    entries: list[dict[str, Any]] = []
    lines = content.splitlines(keepends=True)
    for line in lines:
        try:
            if not line.endswith(b"\n"):
                break
            entries.append(_checked(line, entries))
        except ValueError:
            break
    return lines[: len(entries)]


def _checked(line: bytes, before: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A line after those before it.

    Raises:
        ValueError: says what it does not hold.
    """
    entry = unsealed(parse_object(line))
    expected = len(before)
    if isinstance(entry.get(ITERATION), bool) or entry.get(ITERATION) != expected:
        raise ValueError(f"it must be that of meta-iteration {expected}")
    for name, value in entry.items():
        if value is not None and not is_number(value):
            raise ValueError(f"{name} is {value!r}, no number")
    if before and _returns(entry) != _returns(before[0]):
        raise ValueError("its returns are not those of the first line")
    return entry


def _returns(entry: dict[str, Any]) -> set[str]:
    return {name for name in entry if name.startswith(RETURN)}
