"""A family is tried out on a few copies before an environment is made of it.

What a family computes of one copy must follow from that copy alone: its task, its generator and its actions. Whether it
does cannot be seen in a training, only in its returns, so that it is seen to here: the same individuals are put among
others, in another order, and once more after other tasks.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rlmaml_envs.checks import check_numbers, check_tasks, check_terms, unlike
from rlmaml_envs.family import Bools, TaskFamily
from rlmaml_envs.own_code import check_outcome
from rlmaml_envs.tasks import Task, stack_tasks

NUM_COPIES = 6
"""Copies that a family is tried out on."""
FEW_STEPS, MANY_STEPS = 2, 20
"""Control steps in which copies are compared, and in which a task parameter may show itself."""
TURNS = [1, 3, 4], [0, 2, 5]
"""The copies, in the two calls in which they are given their tasks and reset."""


class Seen(NamedTuple):
    """One control step of all copies."""

    observation: npt.NDArray[Any]
    terms: dict[str, npt.NDArray[Any]]
    terminated: Bools
    sound: Bools
    """Whose episode goes on or ended in this step, in a simulation that did not fail."""


def try_out(owner: str, family: TaskFamily) -> None:
    """Refuse a family that is not what its interface says.

    Args:
        owner: whose family this is, for the messages, e.g. ``"MyRobot-v0"``.
        family: ``NUM_COPIES`` worlds, of which nobody makes use afterwards.

    Raises:
        ValueError: an observation, a reward term, an end of an episode, a unit or a label has the wrong shape, type or
            name, is not finite, or depends on other copies or on earlier tasks; or a cost is positive.

    Warns:
        A task parameter changes nothing.
    """
    try:
        check_terms(family.reward_terms)
        check_tasks(dict(family.wide_task_space.items()), family.task_units, family.task_labels, family.task_elements)
        tasks = [drawn(family, seed) for seed in range(NUM_COPIES + 2)]
        first = lived(family, tasks, [0, 1, 2, 3, 4, 5], FEW_STEPS)
        among_others = lived(family, tasks, [2, 0, 6, 7, 1, 6], FEW_STEPS)
        check_alike(first, among_others, {2: 0, 0: 1, 1: 4})
        check_alike(first, lived(family, tasks, [0, 1, 2, 3, 4, 5], FEW_STEPS), {copy: copy for copy in range(6)})
    except ValueError as error:
        raise ValueError(f"{owner}: {error}") from error
    unseen = [name for name in family.wide_task_space if not is_seen(family, tasks, name)]
    if unseen:
        warnings.warn(
            f"{owner}: the task parameter {' and '.join(map(repr, unseen))} was not seen to change anything: not the "
            f"robot's model, and in {MANY_STEPS} control steps neither reward nor observations. Tasks that differ in "
            "nothing else are one task. Check that a reward term reads it, or that `changes` writes it.",
            stacklevel=2,
        )


ITS_OWN = (
    "{what} of a copy depends on the other copies, or on earlier tasks or episodes: it was {one} and then {other} for "
    "the same task, start and actions. Each row must follow from its own copy alone: add up over axis 1, write the "
    "listed copies only, start each change from the model as it was built, physics.model, keep nothing, draw no random "
    "numbers."
)


def drawn(family: TaskFamily, seed: int) -> Task:
    """A task of the wide space, after a look at one of training.

    Raises:
        ValueError: a task is not in its space.
    """
    for wide, space in ((False, family.task_space), (True, family.wide_task_space)):
        task = family.sample_task(np.random.default_rng(seed), wide=wide)
        if not space.contains(task):
            raise ValueError(f"sample_task drew {task}, which is not in the {'wide ' * wide}task space {space}.")
    return task


def lived(family: TaskFamily, tasks: Sequence[Task], individuals: Sequence[int], steps: int) -> list[Seen]:
    """Some steps of copies that are the given individuals: each has a task, a start and actions of its own.

    Raises:
        ValueError: something has the wrong shape or type, or is not finite.
    """
    generators = {copy: np.random.default_rng(individual) for copy, individual in enumerate(individuals)}
    given = [tasks[individual] for individual in individuals]
    actions = np.stack([np.random.default_rng(100 + i).uniform(-1, 1, family.action_space.shape) for i in individuals])
    for copies in TURNS:
        family.set_tasks(np.array(copies), stack_tasks([given[copy] for copy in copies]))
        family.reset(np.array(copies), {copy: generators[copy] for copy in copies})
    return stepped(family, actions, steps)


def stepped(family: TaskFamily, actions: npt.NDArray[Any], steps: int) -> list[Seen]:
    """The reset, and some steps of all copies under one action each.

    Raises:
        ValueError: something has the wrong shape or type, or is not finite.
    """
    running, nothing = np.ones(NUM_COPIES, np.bool_), np.zeros(NUM_COPIES, np.bool_)
    history = [Seen(observed(family), {}, nothing, running)]
    for _ in range(steps):
        outcome = check_outcome(family.step(actions, running), family.reward_terms, NUM_COPIES)
        terms, terminated, instability = outcome
        sound = running if instability is None else running & (instability == "")
        for name, term in terms.items():
            check_numbers(f'The reward term "{name}"', term, (NUM_COPIES,), "(copy,)", rows=sound)
            if name.endswith("_cost") and (term[sound] > 0).any():
                raise ValueError(
                    f'The reward term "{name}" is {term[sound].max():.3g}; a cost is never positive. Turn its sign, or '
                    'name it "..._reward".'
                )
        seen = observed(family)
        if np.shares_memory(seen, history[-1].observation):
            raise ValueError("observe gave the same array twice; give a new one, which later steps leave alone.")
        history.append(Seen(seen, {name: np.array(term) for name, term in terms.items()}, terminated, sound))
        running = sound & ~terminated
        if not running.any():
            break
    return history


def observed(family: TaskFamily) -> npt.NDArray[Any]:
    """The observations, of the shape that the family's space says.

    Raises:
        ValueError: they have another shape or type, or are not finite.
    """
    observation = family.observe()
    check_numbers("The observation", observation, (NUM_COPIES, *family.observation_space.shape), "(copy, observation)")
    return observation


def check_alike(first: Sequence[Seen], second: Sequence[Seen], moved: dict[int, int]) -> None:
    """Refuse individuals that fare otherwise at another place or time.

    Args:
        first: a history.
        second: another one.
        moved: copy in the first -> copy in the second that is the same individual.

    Raises:
        ValueError: names what differs.
    """
    here, there = list(moved), list(moved.values())
    for one, other in zip(first, second, strict=False):
        sound = one.sound[here] & other.sound[there]
        pairs = {
            "The observation": (one.observation, other.observation),
            "The end of an episode": (one.terminated, other.terminated),
        }
        pairs |= {f'The reward term "{name}"': (term, other.terms[name]) for name, term in one.terms.items()}
        for what, (mine, yours) in pairs.items():
            left, right = mine[here][sound], yours[there][sound]
            if unlike(left, right):
                row = next(row for row in range(len(left)) if unlike(left[row], right[row]))
                raise ValueError(ITS_OWN.format(what=what, one=left[row], other=right[row]))


def is_seen(family: TaskFamily, tasks: Sequence[Task], name: str) -> bool:
    """Whether copies that differ in one task parameter alone are seen to differ."""
    varied = stack_tasks([{**tasks[0], name: tasks[copy][name]} for copy in range(NUM_COPIES)])
    space = family.wide_task_space[name]
    if isinstance(space, spaces.Discrete):
        varied[name] = (space.start + np.arange(NUM_COPIES) % space.n).astype(space.dtype)
    if not differs(varied[name]):
        return True
    everybody = np.arange(NUM_COPIES)
    family.set_tasks(everybody, varied)
    family.reset(everybody, {copy: np.random.default_rng(0) for copy in range(NUM_COPIES)})
    if any(differs(values) for values in family.changed_fields().values()):
        return True
    if differs(family.observe()):
        return True
    action = np.random.default_rng(100).uniform(-1, 1, family.action_space.shape)
    running = np.ones(NUM_COPIES, np.bool_)
    for _ in range(MANY_STEPS):
        terms, terminated, instability = family.step(np.stack([action] * NUM_COPIES), running)
        if any(map(differs, (terminated, family.observe(), *terms.values()))):
            return True
        if instability is not None or terminated.any():
            break
    return False


def differs(values: npt.NDArray[Any]) -> bool:
    """Whether any copy's row is another than the first's."""
    return any(not np.array_equal(row, values[0]) for row in values[1:])
