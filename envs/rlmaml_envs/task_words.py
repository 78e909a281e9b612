"""A task from words on a command line that give some or all of its parameters; the rest is random, or a mean.

``goal=0.3,-0.1`` is a whole parameter, a matrix row by row, and ``goal.y=-0.1`` or ``goal.1=-0.1`` one of its elements.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rlmaml_envs.tasks import Permutations, Task, is_whole, legal_tasks, validate_task

Labels: TypeAlias = Mapping[str, Sequence[str]]
Elements: TypeAlias = Mapping[str, Sequence[Sequence[str]]]
Rest: TypeAlias = Callable[[Sequence[str]], Task]
"""Names of parameters -> a value of each, for what is not chosen."""

NUM_AVERAGED = 1000
"""Tasks of training over which a mean is taken."""


def legal_words(
    space: spaces.Dict,
    units: Mapping[str, str],
    owner: str,
    labels: Labels = MappingProxyType({}),
    elements: Elements = MappingProxyType({}),
) -> str:
    """What may be chosen: the parameters with ranges and units, and the names of values and of elements."""
    expects = f"{owner} expects a task {legal_tasks(space, units)}"
    for name, names in labels.items():
        expects += f', where "{name}" may be {", ".join(f"{index} {label}" for index, label in enumerate(names))}'
    for name, axes in elements.items():
        places = " and ".join(", ".join(names) for names in axes)
        expects += f', where the elements of "{name}" are {places}'
    return expects


def parse_task(
    words: Sequence[str],
    space: spaces.Dict,
    units: Mapping[str, str],
    owner: str,
    rest: Rest,
    labels: Labels = MappingProxyType({}),
    elements: Elements = MappingProxyType({}),
) -> Task:
    """One task from ``name=value`` and ``name.element=value`` words, and from ``rest`` what they do not say.

    Args:
        words: each a parameter, several numbers separated by commas and a matrix row by row, or one element of it, by
            its name or by its number from 0, along every axis: ``places.2.x=0.1``.
        space: the legal values of one task.
        units: the unit of each parameter.
        owner: whose task this is, for the error message.
        rest: what fills the parameters that are not given, or not whole.
        labels: parameter -> names of its values 0, 1, ..., which may be written instead of the numbers.
        elements: parameter -> along each axis the names of its elements.

    Raises:
        TypeError, ValueError: a word of another form, a name that is none, something that is given twice, and as
            ``validate_task``; the message lists the legal parameters with their ranges and units.
    """
    expects = legal_words(space, units, owner, labels, elements)
    whole: Task = {}
    single: dict[str, dict[tuple[int, ...], float]] = {}
    for word in words:
        left, equals, text = word.partition("=")
        name, *path = [left] if left in space.spaces else left.split(".")
        if not equals:
            raise ValueError(f"{expects}; got {word!r}. Write name=value, name=value,value or name.element=value.")
        if name not in space.spaces:
            raise ValueError(f"{expects}; got {word!r}, and there is no {name!r}. Choose among the parameters above.")
        numbers = _numbers(text, labels.get(name, ()), f"{expects}; got {word!r}")
        if name in whole or (name in single and not path):
            raise ValueError(f"{expects}; got {word!r} as well as {name!r} before. Write each parameter once.")
        parameter = space[name]
        shape = parameter.shape or ()
        if not path:
            array = _counted(np.array(numbers)) if is_whole(parameter) else np.array(numbers)
            whole[name] = array.reshape(shape) if array.size == np.prod(shape, dtype=int) else array
            continue
        place = _place(path, shape, elements.get(name, ()), f"{expects}; got {word!r}")
        if len(numbers) != 1 or place in single.get(name, {}):
            raise ValueError(f"{expects}; got {word!r}. Give each element once, and a single number.")
        single.setdefault(name, {})[place] = numbers[0]
    task = dict(whole)
    filled = rest(missing) if (missing := [name for name in space if name not in whole]) else {}
    for name in missing:
        array = np.array(filled[name], np.float64) if name in single else np.array(filled[name])
        for place, number in single.get(name, {}).items():
            array[place] = number
        task[name] = _counted(array) if is_whole(space[name]) else array
    return validate_task({name: task[name] for name in space}, space, units, owner)


def training_mean(tasks: Task, space: spaces.Dict, names: Sequence[str]) -> Task:
    """The mean of some parameters over tasks of training; of choices and permutations the value that most tasks have.

    That of whole numbers is rounded.

    Args:
        tasks: drawn as in training, with a leading task axis.
        space: the tasks of training.
        names: of the parameters.

    Raises:
        ValueError: a choice has no value that more than half of the tasks have: it has no mean.
    """
    means: Task = {}
    for name in names:
        values, parameter = tasks[name], space[name]
        if isinstance(parameter, spaces.Discrete | Permutations):
            found, counts = np.unique(values, axis=0, return_counts=True)
            if 2 * counts.max() <= len(values):
                raise ValueError(
                    f'"{name}" is a choice, of which training has no mean. Give it, or leave it to chance.'
                )
            means[name] = found[counts.argmax()]
        else:
            assert isinstance(parameter, spaces.Box)
            mean = np.clip(values.mean(axis=0), parameter.low, parameter.high)
            means[name] = np.rint(mean).astype(parameter.dtype) if is_whole(parameter) else mean
    return means


def _counted(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Whole numbers as integers; as they are where one is none, for ``validate_task`` to refuse."""
    return values.astype(np.int64) if (np.isfinite(values) & (values == np.rint(values))).all() else values


def _numbers(text: str, labels: Sequence[str], got: str) -> list[float]:
    """The numbers of a value, or the index of its label."""
    if text in labels:
        return [float(list(labels).index(text))]
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise ValueError(f"{got}. Write name=value, name=value,value or name.element=value.") from error


def _place(path: Sequence[str], shape: tuple[int, ...], axes: Sequence[Sequence[str]], got: str) -> tuple[int, ...]:
    """Where an element is in an array of a shape, by its name or number along each axis."""
    if len(path) != len(shape):
        cure = f"name one along each of {len(shape)} axes" if shape else "it is a single number: write name=value"
        raise ValueError(f"{got}. {cure.capitalize()}.")
    place = []
    for axis, (word, length) in enumerate(zip(path, shape, strict=True)):
        names = list(axes[axis]) if axes else []
        number = names.index(word) if word in names else int(word) if word.isdecimal() else length
        if number >= length:
            legal = f"0 to {length - 1}" + (f", or {', '.join(names)}" if names else "")
            raise ValueError(f"{got}, and there is no element {word!r}. Choose: {legal}.")
        place.append(number)
    return tuple(place)
