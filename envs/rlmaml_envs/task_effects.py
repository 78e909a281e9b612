"""Whether each number of a task is seen to differ between tasks, and to change anything: model, reward, observations.

Users of other libraries found out months later that theirs did nothing. Copies that differ in one number of their task
alone must come to differ: in the model at once, or within some control steps in reward, observation or end of an
episode.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product, repeat, zip_longest
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rlmaml_envs.family import TaskFamily
from rlmaml_envs.reading import read_only
from rlmaml_envs.tasks import Permutations, Task, stack_tasks, varies

SOON, MANY_STEPS = 3, 20
"""Control steps in which most numbers show themselves, and in which one may."""
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
    dead = list(whole)
    for base in tasks[:NUM_TASKS]:
        dead = not_seen(family, [base, *tasks], num_copies, dead, MANY_STEPS)
    single = [part for part in parts if part not in whole and Part(part.parameter, None) not in dead]
    single = not_seen(family, tasks, num_copies, single, SOON)
    for base in tasks[:NUM_TASKS] if single else ():
        together = [_exchanged(base, other, single) for other in tasks]
        if seen_to_differ(family, [base, *together[: num_copies - 1]], num_copies, MANY_STEPS).any():
            single = not_seen(family, [base, *tasks], num_copies, single, MANY_STEPS)
    return wholes(parts, single) + dead


def not_seen(
    family: TaskFamily, tasks: Sequence[Task], num_copies: int, parts: Sequence[Part], steps: int
) -> list[Part]:
    """Those of the parts that change nothing of the first task within some steps; other arguments as above."""
    missing = dict.fromkeys(parts)
    values = {part: values_of(family, tasks, part)[1:] for part in missing}
    changed = [
        (part, {**tasks[0], part.parameter: value})
        for row in zip_longest(*values.values())
        for part, value in zip(values, row, strict=True)
        if value is not None
    ]
    while changed:
        few, changed = changed[: num_copies - 1], changed[num_copies - 1 :]
        for (part, _), differs in zip(
            few, seen_to_differ(family, [tasks[0], *(task for _, task in few)], num_copies, steps), strict=True
        ):
            if differs:
                missing.pop(part, None)
        changed = [(part, task) for part, task in changed if part in missing]
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


def seen_to_differ(family: TaskFamily, tasks: Sequence[Task], num_copies: int, steps: int) -> npt.NDArray[np.bool_]:
    """Which tasks after the first one lead elsewhere, from the same start and by the same actions, (tasks - 1,).

    Args:
        family: ``num_copies`` worlds; those for which there is no task stand still, as do those that differ already.
        tasks: at most as many.
        num_copies: how many worlds there are.
        steps: control steps after which no more is looked for.
    """
    copies, asked = np.arange(num_copies), np.arange(num_copies) < len(tasks)
    family.set_tasks(copies, stack_tasks([*tasks, *[tasks[0]] * (num_copies - len(tasks))]))
    family.reset(copies, {copy: np.random.default_rng(0) for copy in range(num_copies)})
    different = differing({**family.changed_fields(), "observation": family.observe()}, num_copies)
    action = np.random.default_rng(100).uniform(-1, 1, family.action_space.shape)
    actions = repeat(np.tile(action, (num_copies, 1)), steps)
    different |= run_apart(family, asked & ~different, actions, lambda _, terms: terms)
    return different[1 : len(tasks)]


def run_apart(
    family: TaskFamily,
    running: npt.NDArray[np.bool_],
    actions: Iterable[npt.NDArray[np.float64]],
    told: Callable[[int, Mapping[str, npt.NDArray[Any]]], Mapping[str, npt.NDArray[Any]]],
) -> npt.NDArray[np.bool_]:
    """Which copies come to differ from the first one while they are stepped, (copy,).

    Args:
        family: as many worlds as there are flags.
        running: which of them are stepped, (copy,); one that differs, or whose episode ends, stands still from then on.
        actions: of each control step, (copy, action); after the last no more is looked for.
        told: the number of a step and its reward terms -> what is compared beside ends and observations.
    """
    num_copies, different = len(running), np.zeros(len(running), np.bool_)
    for step, action in enumerate(actions):
        if not running[0] or running.sum() == 1:
            break
        terms, terminated, instability = family.step(read_only(action), read_only(running))
        seen = {**told(step, terms), "end": terminated, "observation": family.observe()}
        different |= running & differing(seen, num_copies)
        running = running & ~different & ~terminated & (True if instability is None else instability == "")
    return different


def differing(values: Mapping[str, npt.NDArray[Any]], num_copies: int) -> npt.NDArray[np.bool_]:
    """Which copies have another row than the first one in any array, (copy,)."""
    rows = [np.asarray(array).reshape(num_copies, -1) for array in values.values()]
    return np.asarray(np.any([(array != array[0]).any(axis=1) for array in rows], axis=0))


def _exchanged(base: Task, other: Task, parts: Sequence[Part]) -> Task:
    """A task with all of the parts, numbers of arrays, as in another one."""
    changed = {name: np.array(values) for name, values in base.items()}
    for name, place in parts:
        changed[name][place] = other[name][place]
    return changed


def _with(values: npt.NDArray[Any], place: tuple[int, ...], number: Any) -> npt.NDArray[Any]:
    changed = np.array(values)
    changed[place] = number
    return changed
