"""A family is tried out on a few copies before an environment is made of it.

What a family computes of one copy must follow from that copy alone: its task, its generator and its actions. Whether it
does cannot be seen in a training, only in its returns, so that it is seen to here: the same individuals are put among
others, in another order, and once more after other tasks; and, in states that episodes may come to, each among copies
of itself. A family that scatters no states of its own is followed for longer instead. What mixes copies later still and
in none of these states is not seen.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rlmaml_envs.action_effects import unseen_actions
from rlmaml_envs.checks import check_numbers, check_tasks, check_terms, check_wider, check_words, unlike
from rlmaml_envs.family import Bools, Copies, TaskFamily
from rlmaml_envs.own_code import ResultError, check_observation, check_outcome
from rlmaml_envs.reading import of_a_write, read_only
from rlmaml_envs.registry import is_shipped
from rlmaml_envs.task_effects import MANY_DRAWS, MANY_STEPS, unseen_parts, unvaried_parts
from rlmaml_envs.tasks import Task, as_task, stack_tasks

NUM_COPIES, CROWD = 6, 32
"""Copies that a family is tried out on, and those among which numbers of tasks are looked for that change nothing."""
FEW_STEPS, FAR_STEPS = 5, 1
"""Control steps in which copies are compared: from where episodes start, and from scattered states."""
MORE_STEPS = 50
"""As many as the first, of a family that scatters no states."""
SCATTERED = 1000, 1010
"""Seeds of the states in which copies are compared besides: those that episodes start from are much alike."""
ALONE = range(4)
"""Individuals that are put by themselves in scattered states; among copies of themselves where worlds are no fewer."""
STARTS = 3
"""Further resets of all copies whose observations must be finite."""
TURNS = [1, 3, 4], [0, 2, 5]
"""The copies, in the two calls in which they are given their tasks and reset."""

Start = Callable[[Copies, Mapping[int, np.random.Generator]], None]
"""Puts copies into states, each by its own generator."""


class Seen(NamedTuple):
    """One control step of all copies."""

    observation: npt.NDArray[Any]
    terms: dict[str, npt.NDArray[Any]]
    terminated: Bools
    sound: Bools
    """Whose episode goes on or ended in this step, in a simulation that did not fail."""
    readouts: Mapping[str, npt.NDArray[Any]]
    """What else the family reads of the state, by name."""


def try_out(owner: str, family: TaskFamily) -> None:
    """Refuse a family that is not what its interface says.

    Args:
        owner: whose family this is, for the messages, e.g. ``"MyRobot-v0"``.
        family: ``NUM_COPIES`` worlds, of which nobody makes use afterwards.

    Raises:
        ValueError: an observation, a reward term, an end of an episode, a unit, a name or a label has the wrong shape,
            type or name, is not finite, or depends on other copies, on earlier tasks or on chance that is not the
            copy's own; or a cost is positive.

    Warns:
        A number of the tasks or of an action changes nothing, or one of the tasks is never drawn but as one value; or
            there is a remark of the family; or every episode ended in its first step.
    """
    try:
        check_terms(family.reward_terms)
        for parameters in (family.task_space, family.wide_task_space):
            check_tasks(dict(parameters.items()), family.task_units, family.task_labels, family.task_elements)
        check_wider(dict(family.task_space.items()), dict(family.wide_task_space.items()))
        check_signals(family)
        built = family.built()
        tasks = [drawn(family, seed) for seed in range(NUM_COPIES + 2)]
        everybody = list(range(NUM_COPIES))
        steps = MORE_STEPS if type(family).scatter is TaskFamily.scatter else FEW_STEPS
        first = lived(family, tasks, everybody, steps)
        check_alike(first, lived(family, tasks, [2, 0, 6, 7, 1, 6], steps), {2: 0, 0: 1, 1: 4})
        check_alike(first, lived(family, tasks, everybody, steps), {copy: copy for copy in everybody})
        check_starts(family)
        single = family.few(1)
        for seed in SCATTERED:
            together = scattered(family, tasks, everybody, seed)
            for one in ALONE if together else ():
                alone = scattered(single or family, tasks, [one] * (1 if single else NUM_COPIES), seed)
                check_alike(together, alone, {one: 0})
        if family.built() != built:
            raise ValueError(
                "a function wrote into the model, physics.model, from which every change starts and which no copy is "
                "stepped by. Let `changes` write what physics.field(name) gives, and nobody else."
            )
    except ValueError as error:
        raise ValueError(f"{owner}: {of_a_write(error) or error}") from error
    ended = len(first) == 2 and first[1].terminated.all()
    if ended:
        warnings.warn(
            f"{owner}: all {NUM_COPIES} episodes ended in their first step, as when a robot counts as fallen where it "
            "starts. Look at is_healthy, or at what `step` says of ends, where episodes start.",
            stacklevel=2,
        )
    for remark in () if is_shipped(owner) else family.remarks():  # what we ship starts as was published
        warnings.warn(f"{owner}: {remark}", stacklevel=2)
    generator = np.random.default_rng(0)
    constant = unvaried_parts(family.task_space, lambda: as_task(family.sample_task(generator)))
    if constant:
        named = " and ".join(in_words(family, *part) for part in constant)
        warnings.warn(
            f"{owner}: the task parameter {named} was the same in all of {MANY_DRAWS} tasks that sample_task drew, "
            "though its range has more values: nothing of it is learned. Draw it, or give it a range of one value.",
            stacklevel=2,
        )
    crowd = family.few(CROWD)
    if not ended:
        check_actions(owner, crowd or family, tasks, CROWD if crowd else NUM_COPIES)
    unseen = [in_words(family, *part) for part in unseen_parts(crowd or family, tasks, CROWD if crowd else NUM_COPIES)]
    if unseen:
        warnings.warn(
            f"{owner}: the task parameter {' and '.join(unseen)} was not seen to change anything: not the "
            f"robot's model, and in {MANY_STEPS} control steps neither reward nor observations. Tasks that differ in "
            "nothing else are one task. Check that a reward term reads it, or that `changes` writes it.",
            stacklevel=2,
        )


def check_actions(owner: str, family: TaskFamily, tasks: Sequence[Task], num_copies: int) -> None:
    """Look for numbers of an action that do nothing.

    Args:
        owner: whose family this is.
        family: ``num_copies`` worlds.
        tasks: some that were drawn.
        num_copies: how many worlds there are.

    Warns:
        There are some; it names them.
    """
    named = family.control_names if family.control_function is None else ()
    unseen = [
        f'"{named[number]}"' if number < len(named) else f"number {number}"
        for number in unseen_actions(family, tasks, num_copies)
    ]
    if unseen:
        warnings.warn(
            f"{owner}: the action {', '.join(unseen)} was not seen to do anything in {MANY_STEPS} control steps, "
            "neither to the robot nor to reward or observations. Look at its actuator's gear, gain and range; adhesion "
            "needs something to hold.",
            stacklevel=2,
        )


def in_words(family: TaskFamily, parameter: str, place: tuple[int, ...] | None) -> str:
    """A part of a task in words, by the names of its elements where they have some."""
    if place is None:
        return repr(parameter)
    axes = family.task_elements.get(parameter)
    words = [str(index) if axes is None else axes[axis][index] for axis, index in enumerate(place)]
    return f"{parameter!r}[{', '.join(words)}]"


def check_signals(family: TaskFamily) -> None:
    """Refuse names and units of observations and controls that are none, or not one for each number.

    Raises:
        ValueError: names what was received and what is legal.
    """
    size, controls = family.observation_space.shape[0], len(family.control_range)
    check_numbers("control_range", family.control_range, (None, 2), "(control, 2)")
    check_words("The names of observations", family.observation_names, size)
    check_words("The units of observations", family.observation_units, size, units=True)
    check_words("The names of controls", family.control_names, controls)
    check_words("The units of controls", family.control_units, controls, units=True)


def check_starts(family: TaskFamily) -> None:
    """Refuse starts of further seeds that cannot be observed.

    Raises:
        ValueError: an observation is not finite.
    """
    for seed in range(STARTS):
        generators = [np.random.default_rng([seed, copy]) for copy in range(NUM_COPIES)]
        family.reset(np.arange(NUM_COPIES), dict(enumerate(generators)))
        observed(family, NUM_COPIES)


ITS_OWN = (
    "{what} of a copy depends on the other copies, or on earlier tasks or episodes: it was {one} and then {other} for "
    "the same task, start and actions. Each row must follow from its own copy alone: add up over axis 1, write the "
    "listed copies only, start each change from the model as it was built, physics.model, keep nothing, draw no random "
    "numbers but from the generator that is given."
)


def drawn(family: TaskFamily, seed: int) -> Task:
    """A task of the wide space, after a look at one of training.

    Raises:
        ValueError: a task is not in its space, or another one is drawn from the same generator.
    """
    for wide, space in ((False, family.task_space), (True, family.wide_task_space)):
        task, again = (as_task(family.sample_task(np.random.default_rng(seed), wide=wide)) for _ in range(2))
        if not space.contains(task):
            raise ValueError(f"sample_task drew {task}, which is not in the {'wide ' * wide}task space {space}.")
        if any(not np.array_equal(task[name], again[name]) for name in task):
            raise ValueError(
                f"sample_task drew {task} and then {again} from generators of the same seed. Draw from the generator "
                "that it is given, never from numpy.random."
            )
    return task


def lived(family: TaskFamily, tasks: Sequence[Task], individuals: Sequence[int], steps: int) -> list[Seen]:
    """Some steps of copies that are the given individuals: each has a task, a start and actions of its own.

    Raises:
        ValueError: something has the wrong shape or type, or is not finite.
    """
    begin(family, family.reset, tasks, individuals)
    return stepped(family, individuals, steps)


def scattered(family: TaskFamily, tasks: Sequence[Task], individuals: Sequence[int], seed: int) -> list[Seen]:
    """As :func:`lived`, from scattered states; empty where the family's code was not written for them.

    Episodes may never come to such a state: numbers that are not finite there, and errors, are not held against it.

    Raises:
        ResultError: something has the wrong shape or type.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            begin(family, family.scatter, tasks, individuals, seed)
            return stepped(family, individuals, FAR_STEPS, finite=False)
        except ResultError:
            raise
        except Exception:
            return []


def begin(family: TaskFamily, start: Start, tasks: Sequence[Task], individuals: Sequence[int], seed: int = 0) -> None:
    """Give copies the tasks and states of individuals, in two turns where these are different ones."""
    generators = {copy: np.random.default_rng(seed + individual) for copy, individual in enumerate(individuals)}
    given = [tasks[individual] for individual in individuals]
    turns = TURNS if len(set(individuals)) > 1 else [list(range(len(individuals)))]
    for copies in turns:
        family.set_tasks(np.array(copies), stack_tasks([given[copy] for copy in copies]))
        start(np.array(copies), {copy: generators[copy] for copy in copies})


def stepped(family: TaskFamily, individuals: Sequence[int], steps: int, *, finite: bool = True) -> list[Seen]:
    """The reset, and some steps of all copies, each individual under its own random actions.

    Args:
        family: where they are.
        individuals: one per copy.
        steps: how many.
        finite: whether numbers must be, costs must not be positive, and most simulations must be stable.

    Raises:
        ValueError: something has the wrong shape or type, or is not finite; or half of the simulations failed.
    """
    count = len(individuals)
    running, nothing = np.ones(count, np.bool_), np.zeros(count, np.bool_)
    if finite:
        family.check_paths(np.zeros((count, *family.action_space.shape)))
    history = [Seen(observed(family, count, finite=finite), {}, nothing, running, read_out(family, count))]
    failed = np.zeros(count, np.bool_)
    streams = [np.random.default_rng(100 + individual) for individual in individuals]
    for _ in range(steps):
        actions = np.stack([stream.uniform(-1, 1, family.action_space.shape) for stream in streams])
        if finite:
            family.check_paths(actions)
        outcome = check_outcome(family.step(read_only(actions), read_only(running)), family.reward_terms, count)
        terms, terminated, instability = outcome
        sound = running if instability is None else running & (instability == "")
        failed |= running & ~sound
        if finite and len(history) <= FEW_STEPS and 2 * failed.sum() >= count:
            assert instability is not None
            raise ValueError(
                f"{failed.sum()} of {count} simulations had become unstable in control step {len(history)} of "
                f"random actions: {instability[~sound & running][0]}. Reduce the timestep, or the gains and ranges of "
                "the actuators, in the MJCF file; where such speeds are meant, say so by Simulation(fastest=...)."
            )
        for name, term in terms.items() if finite else ():
            check_numbers(f'The reward term "{name}"', term, (count,), "(copy,)", rows=sound)
            if name.endswith("_cost") and (term[sound] > 0).any():
                raise ValueError(
                    f'The reward term "{name}" is {term[sound].max():.3g}; a cost is never positive. Turn its sign, or '
                    'name it "..._reward".'
                )
        seen = observed(family, count, finite=finite)
        if np.shares_memory(seen, history[-1].observation):
            raise ValueError("observe gave the same array twice; give a new one, which later steps leave alone.")
        history.append(
            Seen(
                seen, {name: np.array(term) for name, term in terms.items()}, terminated, sound, read_out(family, count)
            )
        )
        running = sound & ~terminated
        if not running.any():
            break
    return history


def read_out(family: TaskFamily, count: int) -> dict[str, npt.NDArray[Any]]:
    """What a family of some copies reads of the state besides, as new arrays.

    Raises:
        ResultError: there is not a row for each copy.
    """
    found = {name: np.array(values) for name, values in family.readouts().items()}
    for what, values in found.items():
        if values.shape[:1] != (count,):
            raise ResultError(f"{what} must have a row for each of {count} copies; got shape {values.shape}.")
    return found


def observed(family: TaskFamily, count: int, *, finite: bool = True) -> npt.NDArray[Any]:
    """The observations of some copies, of the shape that the family's space says.

    Raises:
        ValueError: they have another shape or type, are not finite, or are not in that space.
    """
    observation, space = family.observe(), family.observation_space
    shape = (count, *space.shape)
    if finite:
        check_numbers("The observation", observation, shape, "(copy, observation)")
        kept = observation.astype(space.dtype) if space.dtype.kind == "f" else observation
        beyond = np.argwhere((kept < space.low) | (kept > space.high))
        if beyond.size:
            copy, number = beyond[0].tolist()
            raise ValueError(
                f"Number {number} of the observation is {observation[copy, number]:.6g}, outside of observation_space, "
                f"[{space.low[number]:.6g}, {space.high[number]:.6g}]. Widen that; finite_box(n) has no such bounds."
            )
    return check_observation(observation, shape)


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
        pairs |= {what: (values, other.readouts[what]) for what, values in one.readouts.items()}
        pairs |= {f'The reward term "{name}"': (term, other.terms[name]) for name, term in one.terms.items()}
        for what, (mine, yours) in pairs.items():
            left, right = mine[here][sound], yours[there][sound]
            if unlike(left, right):
                row = next(row for row in range(len(left)) if unlike(left[row], right[row]))
                raise ValueError(ITS_OWN.format(what=what, one=left[row], other=right[row]))
