"""Tasks: named parameters drawn from a Gymnasium space.

A task is a dict of arrays such as ``{"goal": (2,)}``. A batch of tasks has a leading task axis on every
parameter, ``{"goal": (num_tasks, 2)}``. A family states the legal tasks as a ``gymnasium.spaces.Dict`` whose
entries are ``Box``, of fractions or by its dtype of whole numbers, or ``Discrete``, and the unit of each parameter (""
for dimensionless ones).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

Task: TypeAlias = dict[str, npt.NDArray[Any]]


class Permutations(spaces.Box):
    """Permutation matrices, (size, size): a single 1 in each row and in each column, 0 elsewhere."""

    def __init__(self, size: int) -> None:
        super().__init__(0.0, 1.0, (size, size), np.float64)

    def contains(self, x: Any) -> bool:
        """Whether a matrix is one."""
        return super().contains(x) and bool(_are_permutations(x))


def validate_tasks(tasks: Any, space: spaces.Dict, units: Mapping[str, str], owner: str) -> Task:
    """A checked copy of a batch of tasks, in the dtypes of the space.

    Args:
        tasks: dict with the names of ``space``; each value is (num_tasks, *parameter shape), num_tasks >= 1.
        space: the legal values of one task.
        units: the unit of each parameter.
        owner: whose tasks these are, for the error message, e.g. ``"Navigation2D-v0"``.

    Raises:
        TypeError: ``tasks`` is not a dict, or a value is not a rectangular array of numbers.
        ValueError: wrong names, wrong shape, differing lengths, out of range, NaN or infinite.
    """
    expects = f"{owner} expects tasks {legal_tasks(space, units, ('num_tasks',))}"
    arrays = _validate(tasks, space, expects, num_axes=1)
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{expects}; got num_tasks {lengths}. Give every parameter the same leading length.")
    if 0 in lengths.values():
        raise ValueError(f"{expects}; got num_tasks 0. Pass at least one task.")
    return arrays


def validate_task(task: Any, space: spaces.Dict, units: Mapping[str, str], owner: str) -> Task:
    """A checked copy of one task (no leading axis). Raises as ``validate_tasks`` does."""
    return _validate(task, space, f"{owner} expects a task {legal_tasks(space, units)}", num_axes=0)


def sample_uniform_task(space: spaces.Dict, generator: np.random.Generator) -> Task:
    """One task with every parameter drawn uniformly over its legal values, in the order of the space."""
    return {name: sample_uniform(parameter, generator) for name, parameter in space.items()}


def sample_uniform(parameter: spaces.Space[Any], generator: np.random.Generator) -> npt.NDArray[Any]:
    """A value of one parameter, drawn uniformly over its legal ones."""
    low, high, shape, dtype = _bounds(parameter)
    if isinstance(parameter, spaces.Discrete):
        return np.asarray(generator.integers(low, high, endpoint=True), dtype)
    if is_whole(parameter):
        return np.asarray(generator.integers(low, high, shape, dtype, endpoint=True))
    if isinstance(parameter, Permutations):
        return generator.permutation(np.eye(shape[0]))
    return np.asarray(generator.uniform(low, high, shape), dtype)


def varies(parameter: spaces.Space[Any], place: tuple[int, ...] = ()) -> bool:
    """Whether a task parameter has more than one legal value; of an array, at a place of its own."""
    if isinstance(parameter, spaces.Discrete):
        return bool(parameter.n > 1)
    assert isinstance(parameter, spaces.Box)
    return bool((parameter.low[place] < parameter.high[place]).any())


def task_features(tasks: Task, space: spaces.Dict) -> npt.NDArray[np.float64]:
    """Tasks as numbers for a policy that is told its task, (num_tasks, features).

    A ``Box`` parameter is scaled so that the bounds of ``space`` are -1 and 1; a ``Discrete`` one becomes one number
    per value, 1 for the task's and 0 for the others.
    """
    columns = []
    for name, parameter in space.items():
        low, high, _, _ = _bounds(parameter)
        if isinstance(parameter, spaces.Discrete):
            columns.append((tasks[name][:, None] == np.arange(int(low), int(high) + 1)).astype(np.float64))
        else:
            middle, half = (high + low) / 2, np.where(high > low, (high - low) / 2, 1.0)
            columns.append(((tasks[name] - middle) / half).reshape(len(tasks[name]), -1))
    return np.concatenate(columns, axis=1)


def task_feature_names(space: spaces.Dict) -> tuple[str, ...]:
    """What each number of :func:`task_features` is, (features,)."""
    names: list[str] = []
    for name, parameter in space.items():
        if isinstance(parameter, spaces.Discrete):
            names += [f"{name} is {value}" for value in range(int(parameter.start), int(parameter.start + parameter.n))]
        else:
            shape = parameter.shape or ()
            names += [f"{name}{list(index) if index else ''}, scaled" for index in np.ndindex(*shape)]
    return tuple(names)


def as_task(drawn: Any) -> Task:
    """One task as arrays of its own, though its numbers may be Python's, or in an array that is filled anew each time.

    Raises:
        ValueError: it is no dict.
    """
    if not isinstance(drawn, Mapping):
        raise ValueError(f"sample_task must give a dict of numbers or arrays by name; got {drawn!r:.80}.")
    return {name: np.array(value) for name, value in drawn.items()}


def stack_tasks(tasks: Sequence[Task]) -> Task:
    """A batch of tasks from single ones: the leading axis is the task axis."""
    return {name: np.stack([task[name] for task in tasks]) for name in tasks[0]}


def repeat_tasks(tasks: Task, num_episodes: int) -> Task:
    """Tasks along the episode axis, task-major: copy i gets task ``i // num_episodes``.

    Maps (num_tasks, ...) to (num_tasks * num_episodes, ...).
    """
    return {name: np.repeat(array, num_episodes, axis=0) for name, array in tasks.items()}


def describe_task(task: Task, units: Mapping[str, str]) -> str:
    """One task in words, with units: ``goal = (0.31, -0.12) m, rotation = 1.57 rad``."""
    words = []
    for name, value in task.items():
        numbers = ", ".join(f"{number:.4g}" for number in np.ravel(value))
        words.append(f"{name} = {f'({numbers})' if np.ndim(value) else numbers} {units[name]}".rstrip())
    return ", ".join(words)


def legal_tasks(space: spaces.Dict, units: Mapping[str, str], axes: tuple[str, ...] = ()) -> str:
    """The parameters with shapes, ranges and units: ``{"goal": (2,) in [-0.5, 0.5] m}``, after leading ``axes``."""
    parameters = []
    for name, parameter in space.items():
        low, high, shape, _ = _bounds(parameter)
        axis_names = (*axes, *map(str, shape))
        shape_text = f"({axis_names[0]},)" if len(axis_names) == 1 else f"({', '.join(axis_names)})"
        kind = "integers in" if is_whole(parameter) else "in"
        kind = "permutation matrices in" if isinstance(parameter, Permutations) else kind
        interval = f"[{_bound_text(low)}, {_bound_text(high)}]"
        parameters.append(f'"{name}": {shape_text} {kind} {interval} {units[name]}'.rstrip())
    return "{" + ", ".join(parameters) + "}"


class _Bounds(NamedTuple):
    low: npt.NDArray[Any]
    high: npt.NDArray[Any]
    shape: tuple[int, ...]
    dtype: Any


def _bounds(parameter: spaces.Space[Any]) -> _Bounds:
    if isinstance(parameter, spaces.Discrete):
        first, last = parameter.start, parameter.start + parameter.n - 1
        return _Bounds(np.asarray(first), np.asarray(last), (), parameter.dtype)
    if isinstance(parameter, spaces.Box):
        return _Bounds(parameter.low, parameter.high, parameter.shape, parameter.dtype)
    raise TypeError(f"A task parameter is a Box or a Discrete space; got {parameter}.")


def is_whole(parameter: spaces.Space[Any]) -> bool:
    """Whether its values are whole numbers, which no fraction is cut down to."""
    return np.dtype(parameter.dtype).kind in "iu"


def _bound_text(bound: npt.NDArray[Any]) -> str:
    values = [f"{value:.4g}" for value in np.ravel(bound)]
    return values[0] if len(set(values)) == 1 else f"({', '.join(values)})"


def _validate(tasks: Any, space: spaces.Dict, expects: str, num_axes: int) -> Task:
    if not isinstance(tasks, Mapping):
        raise TypeError(f"{expects}; got {type(tasks).__name__}. Pass a dict of arrays.")
    if set(tasks) != set(space):
        missing, unknown = [n for n in space if n not in tasks], [n for n in tasks if n not in space.spaces]
        raise ValueError(f"{expects}; got names {list(tasks)}. Missing: {missing}, unknown: {unknown}.")
    return {name: _parameter(name, tasks[name], space[name], expects, num_axes) for name in space}


def _parameter(name: str, value: Any, parameter: spaces.Space[Any], expects: str, num_axes: int) -> npt.NDArray[Any]:
    low, high, shape, dtype = _bounds(parameter)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f'{expects}; got a ragged "{name}". Pass a rectangular array.') from error
    kinds = "iu" if is_whole(parameter) else "iuf"
    if array.dtype.kind not in kinds:
        wanted = "integers" if kinds == "iu" else "numbers"
        raise TypeError(f'{expects}; got "{name}" of dtype {array.dtype}. Pass {wanted}.')
    if array.ndim != num_axes + len(shape) or array.shape[num_axes:] != shape:
        raise ValueError(f"{expects}; got shape {array.shape}. {_shape_cure(name, array, shape, num_axes)}")
    illegal = ~((array >= low) & (array <= high))
    if illegal.any():
        where = tuple(int(index) for index in np.argwhere(illegal)[0])
        place = f'tasks["{name}"][{", ".join(map(str, where))}]' if num_axes else f'"{name}"'
        raise ValueError(f"{expects}; got {place} = {array[where]}. Keep it finite and within the bounds.")
    if isinstance(parameter, Permutations) and not _are_permutations(array).all():
        raise ValueError(f'{expects}; got a "{name}" that is none. Give each row and each column a single 1, else 0.')
    return array.astype(dtype)


def _are_permutations(matrices: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which matrices (..., n, n) are permutation matrices, (...)."""
    rows, columns = (matrices.sum(axis=axis) == 1 for axis in (-1, -2))
    return np.asarray(np.isin(matrices, (0, 1)).all(axis=(-1, -2)) & rows.all(axis=-1) & columns.all(axis=-1))


def _shape_cure(name: str, array: npt.NDArray[Any], shape: tuple[int, ...], num_axes: int) -> str:
    if num_axes and array.shape == shape:
        return f'Use tasks["{name}"][None] for a batch of one task.'
    if num_axes and array.shape[1:] == (*shape, 1):
        return f'Use tasks["{name}"][{", ".join([":"] * (array.ndim - 1))}, 0].'
    if not num_axes and array.shape[1:] == shape:
        return f'One task has no task axis: use task["{name}"][0].'
    return f'Give each task one "{name}" of shape {shape}.'
