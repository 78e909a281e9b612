"""Whether each number of a task is seen to differ between tasks, and to change anything: model, reward, observations.

Users of other libraries found out months later that theirs did nothing. Copies that differ in one number of their task
alone must come to differ: in the model at once, or within some control steps in reward, observation or end of an
episode.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product, zip_longest
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rlmaml_envs.family import TaskFamily
from rlmaml_envs.reading import read_only
from rlmaml_envs.tasks import Permutations, Task, stack_tasks, varies

MANY_STEPS = 20
"""Control steps in which a number may show itself."""
FROM_THE_ENDS = 0.05, 0.95
"""How far between its bounds a number is put, besides values that were drawn."""
MOST_VALUES, MOST_NUMBERS = 60, 30
"""Values of an index, and numbers of an array, that are tried."""
MANY_DRAWS = 400
"""Tasks in which a number that may differ must do so once."""
NUM_TASKS = 3
"""Tasks in which a number may show itself: one may matter in some tasks alone."""


class Part(NamedTuple):
    """A number of a task, or all numbers of a parameter that cannot change by themselves."""

    parameter: str
    place: tuple[int, ...] | None
    """Which number of the parameter; None for all of it."""


def unseen_parts(family: TaskFamily, tasks: Sequence[Task], num_copies: int) -> list[Part]:
    """The parts of tasks that were not seen to change anything; of a parameter of which all were not, the whole.

    Args:
        family: ``num_copies`` worlds.
        tasks: some that were drawn, from which values are taken.
        num_copies: the first one has a task as it was drawn; each other one, the task with one part changed.
    """
    parts = [part for part in parts_of(family.wide_task_space) if len(values_of(family, tasks, part)) > 1]
    whole = dict.fromkeys(Part(part.parameter, None) for part in parts)
    dead = not_seen(family, tasks, num_copies, list(whole))
    single = [part for part in parts if part not in whole and Part(part.parameter, None) not in dead]
    return wholes(parts, not_seen(family, tasks, num_copies, single)) + dead


def not_seen(family: TaskFamily, tasks: Sequence[Task], num_copies: int, parts: Sequence[Part]) -> list[Part]:
    """Those of the parts that change nothing, whichever of their values a task has; arguments as above."""
    missing = dict.fromkeys(parts)
    for base in tasks[:NUM_TASKS]:
        values = {part: values_of(family, [base, *tasks], part)[1:] for part in missing}
        changed = [
            (part, {**base, part.parameter: value})
            for row in zip_longest(*values.values())
            for part, value in zip(values, row, strict=True)
            if value is not None
        ]
        while changed:
            few, changed = changed[: num_copies - 1], changed[num_copies - 1 :]
            given = [base, *(task for _, task in few)]
            seen = seen_to_differ(family, given + [base] * (num_copies - len(given)))
            for (part, _), differs in zip(few, seen[1:], strict=False):
                if differs:
                    missing.pop(part, None)
            changed = [(part, task) for part, task in changed if part in missing]
        if not missing:
            break
    return list(missing)


def unvaried_parts(space: spaces.Dict, draw: Callable[[], Task]) -> list[Part]:
    """The parts of tasks that may differ and never do in some draws; of a parameter of which all are, the whole.

    Args:
        space: the legal tasks.
        draw: gives another one at each call.
    """
    parts = [part for part in parts_of(space) if varies(space[part.parameter], part.place or ())]
    missing, first = parts, draw()
    for _ in range(1, MANY_DRAWS):
        if not missing:
            break
        task = draw()
        missing = [
            part
            for part in missing
            if np.array_equal(*(one[part.parameter][part.place or ()] for one in (task, first)))
        ]
    return wholes(parts, missing)


def wholes(parts: Sequence[Part], missing: Iterable[Part]) -> list[Part]:
    """Some of the parts; of a parameter all of whose parts are among them, the whole in their place."""
    listed = dict.fromkeys(missing)
    found: list[Part] = []
    for name in dict.fromkeys(part.parameter for part in listed):
        own = [part for part in parts if part.parameter == name]
        some = [part for part in own if part in listed]
        found += [Part(name, None)] if some == own else some
    return found


def parts_of(space: spaces.Dict) -> Iterator[Part]:
    """The parts of its tasks, parameter by parameter; of an array of many numbers, some that are spread over it."""
    for name, parameter in space.items():
        if not parameter.shape or isinstance(parameter, Permutations):
            yield Part(name, None)
        else:
            places = list(product(*map(range, parameter.shape)))
            spread = np.linspace(0, len(places) - 1, min(len(places), MOST_NUMBERS)).round().astype(int)
            yield from (Part(name, places[index]) for index in spread.tolist())


def values_of(family: TaskFamily, tasks: Sequence[Task], part: Part) -> list[npt.NDArray[Any]]:
    """Legal values of a parameter that differ in one part alone, that of the first task first."""
    name, place = part
    space = family.wide_task_space[name]
    found = [tasks[0][name]]
    if isinstance(space, spaces.Discrete):
        spread = np.linspace(0, space.n - 1, min(int(space.n), MOST_VALUES)).round()
        others = list((space.start + spread).astype(space.dtype))
    elif isinstance(space, Permutations):
        others = [task[name] for task in tasks[1:]]
    else:
        assert isinstance(space, spaces.Box)
        at = place or ()
        low, high = space.low[at].astype(np.float64), space.high[at].astype(np.float64)
        numbers = [low + share * (high - low) for share in FROM_THE_ENDS]
        numbers += [task[name][at] for task in tasks[1:]] if place is None else []
        others = [_with(found[0], at, np.round(number) if space.dtype.kind in "iu" else number) for number in numbers]
    for value in others:
        if not any(np.array_equal(value, known) for known in found):
            found.append(np.asarray(value))
    return found


def seen_to_differ(family: TaskFamily, tasks: Sequence[Task]) -> npt.NDArray[np.bool_]:
    """Which copies come to differ from the first one, that starts alike and has the same actions, (copy,)."""
    copies = np.arange(len(tasks))
    family.set_tasks(copies, stack_tasks(tasks))
    family.reset(copies, {copy: np.random.default_rng(0) for copy in range(len(tasks))})
    different = differing({**family.changed_fields(), "observation": family.observe()}, len(tasks))
    action = np.random.default_rng(100).uniform(-1, 1, family.action_space.shape)
    running = np.ones(len(tasks), np.bool_)
    wanted = np.array([any(not np.array_equal(task[name], tasks[0][name]) for name in task) for task in tasks])
    for _ in range(MANY_STEPS):
        if different[wanted].all() or not running[0]:
            break
        terms, terminated, instability = family.step(read_only([action] * len(tasks)), read_only(running))
        different |= differing({**terms, "end": terminated, "observation": family.observe()}, len(tasks))
        running = running & ~terminated & (True if instability is None else instability == "")
    return different


def differing(values: Mapping[str, npt.NDArray[Any]], num_copies: int) -> npt.NDArray[np.bool_]:
    """Which copies have another row than the first one in any array, (copy,)."""
    rows = [np.asarray(array).reshape(num_copies, -1) for array in values.values()]
    return np.asarray(np.any([(array != array[0]).any(axis=1) for array in rows], axis=0))


def _with(values: npt.NDArray[Any], place: tuple[int, ...], number: Any) -> npt.NDArray[Any]:
    changed = np.array(values)
    changed[place] = number
    return changed
