"""What a data sheet hands in, refused where it is of the wrong shape, type or name."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rlmaml_envs.tasks import Permutations, is_whole

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that end a line, or that terminals obey."""


def check_array(what: str, values: Any, shape: tuple[int | None, ...], axes: str, *, kinds: str = "fiub") -> None:
    """Refuse what is no array of numbers of a shape.

    Args:
        what: whose values these are, for the message.
        values: what was handed in.
        shape: the legal shape; None for any length.
        axes: the legal shape in words, e.g. ``"(copy, 2)"``.
        kinds: the legal kinds of numpy dtypes: ``"b"`` for truth values alone, ``"U"`` for text.

    Raises:
        ValueError: names what was received and what is legal.
    """
    array = values if isinstance(values, np.ndarray) else np.asarray(values)
    wanted = {"b": "truth values", "U": "text"}.get(kinds, "numbers")
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{what} must be plain {wanted} {axes}; what is masked would count. Give values.filled(...).")
    needed = ", ".join("any" if n is None else str(n) for n in shape) + ("," if len(shape) == 1 else "")
    if array.dtype.kind not in kinds:
        raise ValueError(f"{what} must be {wanted} {axes}; got dtype {array.dtype}.")
    if array.dtype == np.float16:
        raise ValueError(f"{what} must be of at least single precision; float16 has 3 digits. Give float32 or float64.")
    if array.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, array.shape, strict=True)):
        raise ValueError(
            f"{what} must be {wanted} {axes}, here ({needed}); got shape {array.shape}. "
            "Give each copy its own row, and never add up over copies."
        )


def check_numbers(
    what: str,
    values: Any,
    shape: tuple[int | None, ...],
    axes: str,
    *,
    kinds: str = "fiub",
    rows: npt.NDArray[np.bool_] | None = None,
) -> None:
    """Refuse what is no array of finite numbers of a shape.

    Args:
        what: whose values these are, for the message.
        values: what was handed in.
        shape: the legal shape; None for any length.
        axes: the legal shape in words, e.g. ``"(copy, 2)"``.
        kinds: the legal kinds of numpy dtypes: ``"b"`` for truth values alone.
        rows: the rows whose numbers must be finite; None for all.

    Raises:
        ValueError: names what was received and what is legal.
    """
    check_array(what, values, shape, axes, kinds=kinds)
    array = np.asarray(values)
    bad = ~np.isfinite(array)
    if rows is not None:
        bad &= rows.reshape(-1, *[1] * (array.ndim - 1))
    if bad.any():
        place = tuple(int(index) for index in np.argwhere(bad)[0])
        raise ValueError(f"{what} must be finite; got {array[place]} at {list(place)}.")


def check_spaces(observation_space: Any, action_space: Any, task_spaces: Sequence[Any]) -> None:
    """Refuse spaces of a family in which its observations, actions or tasks cannot be.

    Actions are clipped to [-1, 1], so that a part of a wider space would be lost.

    Raises:
        ValueError: names the space, and says what to give instead.
    """
    for what, space in (("observation_space", observation_space), ("action_space", action_space)):
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"{what} must be a Box of one copy's numbers, of shape (n,); got {space!r:.200}.")
    if (action_space.low != -1).any() or (action_space.high != 1).any():
        raise ValueError(
            f"action_space must be [-1, 1] in every dimension, because actions are clipped to it; got {action_space}. "
            "Give rlmaml_envs.family.normalised_box(n), and let step make of an action what it commands."
        )
    for space in task_spaces:
        if not isinstance(space, spaces.Dict):
            raise ValueError(f"task_space must be a Dict, task parameter -> its values; got {space!r:.200}.")


def check_names(what: str, names: Sequence[str] | Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Refuse names that are no task parameters.

    Raises:
        ValueError: names them, and those there are.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"{what} names {unknown}, which is no task parameter. There are: {', '.join(known) or 'none'}."
        )


def check_words(what: str, words: Any, count: int | None = None, *, units: bool = False) -> None:
    """Refuse what are no names, or no units.

    Args:
        what: whose words these are, for the message.
        words: what was handed in.
        count: how many there must be; None for any number.
        units: whether they are units, which may be ``""`` and say the same of several things; names may not.

    Raises:
        ValueError: a word is no text, or of several lines, or there are more or fewer; or a name is empty, or given
            twice.
    """
    if isinstance(words, str) or not isinstance(words, Sequence):
        raise ValueError(f"{what} must be a sequence of texts; got {words!r:.80}.")
    kind = "unit" if units else "name"
    if count is not None and len(words) != count:
        raise ValueError(f"{what} must be {count}, one per number; got {len(words)}: {list(words)!r:.200}.")
    for word in words:
        if not isinstance(word, str):
            raise ValueError(f"{what} must be texts; got {word!r:.80}. Write each {kind} in quotes.")
        if CONTROLS.search(word):
            raise ValueError(f"{what} must be of one line without control characters; got {word!r:.80}.")
    for number, word in enumerate(() if units else words):
        if not word.strip():
            raise ValueError(f"{what} must say something; number {number} is empty. Give it a name.")
        if word in words[:number]:
            raise ValueError(f'{what} must differ; "{word}" is there twice. Give each a name of its own.')


def check_tasks(
    parameters: Mapping[str, Any],
    units: Mapping[str, str],
    labels: Mapping[str, Sequence[str]],
    elements: Mapping[str, Sequence[Sequence[str]]],
) -> None:
    """Refuse a table of tasks whose units, labels or elements do not fit its parameters.

    Args:
        parameters: task parameter -> all of its legal values.
        units: task parameter -> its unit.
        labels: task parameter that is an index -> what its values mean.
        elements: task parameter that is an array -> along each axis the names of its elements.

    Raises:
        ValueError: there are no parameters, a parameter is no bounded Box or Discrete space, one has no unit, a unit,
            label or element belongs to none, there are fewer labels than values, or other elements than the array has;
            or see :func:`check_words`.
    """
    if not parameters:
        raise ValueError("A family needs at least one task parameter; without one there is nothing to adapt to.")
    for name, space in parameters.items():
        if not isinstance(space, spaces.Box | spaces.Discrete):
            raise ValueError(f'The task parameter "{name}" must be a Box or a Discrete space; got {space}.')
        if isinstance(space, spaces.Box) and not space.is_bounded():
            raise ValueError(f'The task parameter "{name}" needs finite bounds, from which it is drawn; got {space}.')
    check_words("The task parameters", list(parameters))
    check_names("task_units", units, parameters)
    missing = [name for name in parameters if name not in units]
    if missing:
        raise ValueError(f'task_units says nothing of {missing}; give each task parameter its unit, "" for none.')
    check_words("task_units", list(units.values()), units=True)
    check_names("task_labels", labels, parameters)
    for name, words in labels.items():
        space = parameters[name]
        if not isinstance(space, spaces.Discrete):
            raise ValueError(f'task_labels names "{name}", which is no Discrete space; labels are for those.')
        check_words(f'The labels of "{name}" in task_labels', words)
        if len(words) < space.start + space.n:
            raise ValueError(
                f'task_labels has {len(words)} labels for "{name}", whose values are 0 to {space.start + space.n - 1}.'
            )
    check_names("task_elements", elements, parameters)
    for name, axes in elements.items():
        for names in axes:
            check_words(f'The elements of "{name}" in task_elements', names)
        shape, named = parameters[name].shape, tuple(len(set(names)) for names in axes)
        if named != shape:
            raise ValueError(
                f'task_elements names {named} different elements along the axes of "{name}"; its shape is {shape}.'
            )


def check_wider(training: Mapping[str, Any], wide: Mapping[str, Any]) -> None:
    """Refuse wide tasks that leave out some of training.

    Args:
        training: task parameter -> its values in training.
        wide: task parameter -> all of its legal values.

    Raises:
        ValueError: another set of parameters; or a parameter is of another kind or shape, or of narrower bounds.
    """
    if set(training) != set(wide):
        raise ValueError(f"Tasks of training have the parameters {list(training)}, wide ones {list(wide)}; name all.")
    for name, space in training.items():
        legal = wide[name]
        kinds = [(isinstance(one, spaces.Discrete), is_whole(one), one.shape) for one in (space, legal)]
        ends = [_ends(one) for one in (space, legal)] if kinds[0] == kinds[1] else []
        if not ends or (ends[0][0] < ends[1][0]).any() or (ends[0][1] > ends[1][1]).any():
            raise ValueError(
                f'The wide values of the task parameter "{name}" are {legal}; they must be of the kind and shape of '
                f"those of training, {space}, and hold them all. Widen them, or leave them away for the same."
            )
        if not isinstance(legal, Permutations) or isinstance(space, Permutations):
            continue
        low, high = ends[0]
        if (low != high).any() or not legal.contains(low.astype(legal.dtype)):
            raise ValueError(
                f'The wide values of the task parameter "{name}" are permutations, and those of training {space}; '
                "make those permutations, too, or a single one."
            )


def _ends(space: spaces.Space[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Lowest and highest values of a Box or Discrete space."""
    if isinstance(space, spaces.Discrete):
        return np.asarray(space.start), np.asarray(space.start + space.n - 1)
    assert isinstance(space, spaces.Box)
    return space.low, space.high


def check_terms(names: Sequence[str]) -> None:
    """Refuse a reward without terms, or a term whose name does not say what it is.

    Raises:
        ValueError: a name ends neither in ``_cost`` nor in ``_reward``; or see :func:`check_words`.
    """
    if not names:
        raise ValueError("A reward is the sum of its terms; there are none. Give at least one.")
    check_words("The reward terms", names)
    for name in names:
        if not name.endswith(("_cost", "_reward")):
            raise ValueError(
                f'The reward term "{name}" must end in "_cost", and then is never positive, or in "_reward".'
            )


def unlike(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> bool:
    """Whether two arrays differ by more than rounding; what is no number in both does not."""
    if np.array_equal(first, second):
        return False
    if first.dtype.kind == "b" or second.dtype.kind == "b":
        return True
    return not np.allclose(first, second, rtol=1e-6, atol=1e-9, equal_nan=True)
