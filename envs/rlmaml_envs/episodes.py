"""Episodes: what every family's environment does between its physics and Gymnasium's interface.

Tasks are assigned here, episodes end here, and copies whose episode is over are kept still here, once for the
single and the batched environment and for every family.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rlmaml_envs.checks import check_spaces
from rlmaml_envs.family import BEYOND, Bools, Copies, FamilyMaker, Floats, Outcome, finite_box, named_range
from rlmaml_envs.own_code import Blamed, ResultError, check_observation, check_outcome, result_of_family
from rlmaml_envs.parts import check_parts
from rlmaml_envs.reading import read_only
from rlmaml_envs.registry import FAMILIES, load_family
from rlmaml_envs.rehearsal import NUM_COPIES, try_out
from rlmaml_envs.tasks import (
    Task,
    as_task,
    describe_task,
    repeat_tasks,
    stack_tasks,
    task_feature_names,
    task_features,
    validate_tasks,
)

MOST_DRAWS = 10_000
"""Tasks that are drawn, of the wide space, until one is beyond training."""
LARGEST = float(np.finfo(np.float32).max)
"""Of a reward or a number of an observation: policies compute in single precision."""


class Transition(NamedTuple):
    """One control step of all copies. Every array is new and has a leading copy axis."""

    observation: Floats
    reward: Floats
    terminated: Bools
    truncated: Bools
    info: dict[str, npt.NDArray[Any]]
    """The reward terms by name and, in a step in which a simulation went unstable or a number of it was not finite,
    ``"instability"``: the cause of each copy, ``""`` for the sound ones."""


def tried_out(family_id: str, make_family: FamilyMaker, *counts: Any, **options: Any) -> "Episodes":
    """:class:`Episodes` of a family that was tried out on a few copies; arguments, errors and attributes as there.

    A family of the table is tried out once in a process with the same options.

    Raises:
        ValueError: also what :func:`rlmaml_envs.rehearsal.try_out` finds.
        FamilyError: the code of a family that we do not ship fails otherwise.

    Warns:
        As it does.
    """
    episodes = Episodes(family_id, make_family, *counts, **options)
    own = episodes.made_with
    key, entry = repr(sorted(own.items())), FAMILIES.get(family_id)
    if entry is None or key not in entry.tried:
        with Blamed(family_id, "its first steps", refusals=(ValueError,)):
            try_out(family_id, episodes.family.few(NUM_COPIES) or make_family(NUM_COPIES, **own))
    if entry is not None:
        FAMILIES[family_id] = entry._replace(tried=entry.tried | {key})
    return episodes


class Episodes:
    """The copies of one family, each with its task, elapsed steps and end-of-episode flags.

    Args:
        family_id: environment id, for messages.
        make_family: builds the worlds.
        num_copies: how many worlds.
        max_episode_steps: steps after which a copy that did not terminate is truncated; None for never.
        observe_task: whether observations end in the task's parameters, as for the oracle policies of the papers.
        family_options: passed to the family, e.g. ``variant``; of the tasks beyond a variant's training range, such as
            ``"finn2017-beyond"``, the variant.

    Attributes:
        observation_space: one copy's observation.
        task_space: of the tasks that are drawn by default.

    Raises:
        ValueError: unknown variant, or one without tasks beyond its training range; or a count that is not a positive
            integer.
    """

    def __init__(
        self,
        family_id: str,
        make_family: FamilyMaker,
        num_copies: int,
        max_episode_steps: int | None = None,
        *,
        observe_task: bool = False,
        **family_options: Any,
    ) -> None:
        _require_positive(f"{family_id}: num_envs", num_copies)
        if max_episode_steps is not None:
            _require_positive(f"{family_id}: max_episode_steps", max_episode_steps)
        self.family_id = family_id
        variant, self._beyond = named_range(make_family.variants, family_options.get("variant"))
        self._options = family_options | ({"variant": variant} if variant else {})
        with Blamed(family_id, "being made", refusals=(ImportError, TypeError, ValueError)):
            self.family = make_family(num_copies, **self._options)
        tasks = self.family.task_space, self.family.wide_task_space
        try:
            check_parts(self.family.dict_space, self.family.observation_space)
            check_spaces(self.family.observation_space, self.family.action_space, tasks)
        except ValueError as error:
            raise ValueError(f"{family_id}: {error}") from error
        if self._beyond and self.family.wide_task_space == self.family.task_space:
            raise ValueError(
                f"{family_id}: every legal task of {variant} is in its training range; there is no {variant}{BEYOND}."
            )
        self.task_space = self.family.wide_task_space if self._beyond else self.family.task_space
        self.num_copies = num_copies
        self._horizon = np.inf if max_episode_steps is None else max_episode_steps
        self._assigned: Task | None = None
        self._changed = np.zeros(num_copies, np.bool_)
        self._tasks = {
            name: np.zeros((num_copies, *(space.shape or ())), space.dtype)
            for name, space in self.family.wide_task_space.items()
        }
        self._started = np.zeros(num_copies, np.bool_)
        self._elapsed = np.zeros(num_copies, np.int64)
        self._terminated = np.zeros(num_copies, np.bool_)
        self._truncated = np.zeros(num_copies, np.bool_)
        self._observe_task = observe_task
        self._told: frozenset[str] = frozenset()
        self.observation_space = self.family.observation_space
        self._observed: tuple[int, ...] = (num_copies, *self.observation_space.shape)
        self.task_size = task_features(self._tasks, self.family.wide_task_space).shape[1]
        """How many numbers a task's parameters add to an observation that ends in them."""
        if observe_task:
            self.observation_space = finite_box(self.observation_space.shape[0] + self.task_size)
        self._actions_shape = (num_copies, *self.family.action_space.shape)
        self._seen = np.zeros((num_copies, *self.observation_space.shape))
        self._blind: dict[int, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: the worlds as a snapshot, from which the table's family goes on."""
        return {**vars(self), "family": self.family.snapshot()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the worlds anew, and let them go on as those that were copied.

        Raises:
            ValueError: the family is not known in this process; register it before.
        """
        vars(self).update(state)
        self.family = load_family(self.family_id)(self.num_copies, **self._options)
        self.family.restore(state["family"])

    @property
    def made_with(self) -> dict[str, Any]:
        """The options of the family."""
        return dict(self._options)

    @property
    def observation_entries(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names and units of the numbers of an observation; of a task's parameters, scaled, the names alone."""
        names, units = self.family.observation_names, self.family.observation_units
        added = task_feature_names(self.family.wide_task_space) if self._observe_task else ()
        return (*names, *added), (*units, *("",) * len(added))

    @property
    def tasks(self) -> Task:
        """The tasks of the current episodes, one per copy, as new arrays."""
        return {name: array.copy() for name, array in self._tasks.items()}

    @property
    def over(self) -> Bools:
        """Which copies' episodes are over, as a new array."""
        return self._terminated | self._truncated

    def assign(self, tasks: Any) -> None:
        """Assign tasks, one to each block of ``num_copies // num_tasks`` copies, from their next reset on.

        Raises:
            TypeError, ValueError: as ``validate_tasks``; ValueError if the blocks are not of equal length.
        """
        tasks = validate_tasks(tasks, self.family.wide_task_space, self.family.task_units, self.family_id)
        num_tasks = len(next(iter(tasks.values())))
        if self.num_copies % num_tasks:
            raise ValueError(
                f"{self.family_id}: {num_tasks} tasks do not divide num_envs = {self.num_copies}. "
                "Make num_envs a multiple of num_tasks."
            )
        self._assigned = repeat_tasks(tasks, self.num_copies // num_tasks)
        self._changed[:] = True

    def draw(self, generators: Sequence[np.random.Generator], *, beyond: bool = False) -> Task:
        """One task from each generator, with a leading task axis.

        Args:
            generators: where the randomness of each comes from.
            beyond: draw legal tasks outside of the training range instead of those of training.
        """
        with Blamed(self.family_id, "its function sample_task"):
            drawn = [
                self._drawn_beyond(one) if beyond or self._beyond else as_task(self.family.sample_task(one))
                for one in generators
            ]
            with result_of_family():
                tasks = stack_tasks(drawn)
                return validate_tasks(tasks, self.family.wide_task_space, self.family.task_units, self.family_id)

    def _drawn_beyond(self, generator: np.random.Generator) -> Task:
        for _ in range(MOST_DRAWS):
            task = as_task(self.family.sample_task(generator, wide=True))
            if not self.family.task_space.contains(task):
                return task
        raise ResultError(
            f"{MOST_DRAWS} tasks that sample_task drew of the wide space were all in the training range; none is "
            "beyond it. Let sample_task draw from all of the space that it is given."
        )

    def reset(self, copies: Copies, generators: Mapping[int, np.random.Generator]) -> Floats:
        """Start a new episode in the listed copies and return the observations of all copies.

        Until tasks are assigned, each of these copies first draws a task from its own generator. Where a copy's
        observation is not finite it is 0, and the next step ends the episode.
        """
        if self._assigned is None:
            self._give(copies, self.draw([generators[copy] for copy in copies.tolist()]))
        else:
            changed = copies[self._changed[copies]]
            if changed.size:
                self._give(changed, {name: array[changed] for name, array in self._assigned.items()})
                self._changed[changed] = False
        with self._blamed("reset"):
            self.family.reset(copies, generators)
        self._started[copies] = True
        self._elapsed[copies] = 0
        self._terminated[copies] = False
        self._truncated[copies] = False
        self._seen[copies] = 0.0
        observation, whole = self._observe()
        begun = set(copies.tolist())
        kept = {copy: cause for copy, cause in self._blind.items() if copy not in begun}
        found = {} if whole else self._unusable({}, observation)
        self._blind = kept | {copy: cause for copy, cause in found.items() if copy in begun}
        return self._readable(observation, whole)

    def step(self, actions: Any) -> Transition:
        """One control step of every copy whose episode is not over.

        Actions (num_copies, action) are clipped to [-1, 1]. A copy whose episode is over keeps its state,
        observation and flags, and gets zero for every reward term; so does one whose simulation went unstable, or one
        of whose reward terms or observations is not finite in single precision, in this step, which terminates its
        episode.

        Raises:
            RuntimeError: a copy was never reset; :class:`rlmaml_envs.own_code.FamilyError`, which is one, where the
                code of a family that we do not ship fails.
            ValueError: actions of the wrong shape, or not finite; TypeError, where they are no numbers.

        Warns:
            A reward term or an observation is not finite, for the first time; it names term, copy, step and task.
        """
        actions = self._legal_actions(actions)
        running = ~(self._terminated | self._truncated)
        with self._blamed("step"):
            numbers, terminated, instability = self._taken(self.family.step(actions, read_only(running)))
        terms = dict(zip(self.family.reward_terms, numbers, strict=True))
        self._elapsed += running
        observation, whole = self._observe()
        unusable = {} if whole and _usable(numbers) else self._unusable(terms, observation)
        instability = self._with_unusable(unusable, running, instability)
        counted = running if instability is None else running & (instability == "")
        if not counted.all():
            terms = {name: np.where(counted, term, 0.0) for name, term in terms.items()}
            terminated = np.where(counted, terminated, running)
        self._terminated |= terminated
        self._truncated |= (self._elapsed >= self._horizon) & running & ~terminated
        reward = sum(terms.values(), start=np.zeros(self.num_copies))
        info: dict[str, npt.NDArray[Any]] = dict(terms) if instability is None else terms | {"instability": instability}
        return Transition(
            self._readable(observation, whole), reward, self._terminated.copy(), self._truncated.copy(), info
        )

    def _taken(self, outcome: Outcome) -> tuple[Floats, Bools, npt.NDArray[np.str_] | None]:
        """The reward terms of a step as a new array (term, copy), in double precision, and the rest of its outcome.

        Names, shapes and types were tried out when the environment was made. Code of a user's may give others later,
        once all have fallen for example, and one number for all copies would be stretched unseen. These arrays take
        nothing else than what was tried out; what does not go there is looked at as it was then.

        Raises:
            ResultError: names the part that is not what the family's interface says.
        """
        names = self.family.reward_terms
        rows, ended = np.empty((1 + len(names), self.num_copies)), np.empty(self.num_copies, np.bool_)
        try:
            terms, terminated, instability = outcome
            numbers: dict[str, Any] = {**dict.fromkeys(names), **terms}
            np.stack([terminated, *numbers.values()], out=rows)
            np.copyto(ended, terminated, casting="no")
        except (TypeError, ValueError):
            check_outcome(outcome, names, self.num_copies)
            raise
        return rows[1:], ended, instability

    def _with_unusable(
        self, causes: Mapping[int, str], running: Bools, instability: npt.NDArray[np.str_] | None
    ) -> npt.NDArray[np.str_] | None:
        """The causes of a step's failures, with those running copies that gave a number which is not finite."""
        sound = running if instability is None else running & (instability == "")
        counted = np.flatnonzero(sound).tolist()
        causes = {copy: cause for copy, cause in {**causes, **self._blind}.items() if copy in counted}
        if not causes:
            return instability
        self._tell(causes)
        before = np.full(self.num_copies, "") if instability is None else instability
        return np.array([causes.get(copy, str(cause)) for copy, cause in enumerate(before)])

    def _unusable(self, terms: Mapping[str, Floats], observation: Floats) -> dict[int, str]:
        """Copy -> its first number that is not finite in single precision, in words."""
        columns = {f"number {column} of the observation": values for column, values in enumerate(observation.T)}
        found: dict[int, str] = {}
        for what, values in ({f'the reward term "{name}"': term for name, term in terms.items()} | columns).items():
            for copy in np.flatnonzero(~(np.abs(values) <= LARGEST)).tolist():
                found.setdefault(copy, f"{what} is {values[copy]}")
        return found

    def _tell(self, causes: Mapping[int, str]) -> None:
        """Warn of each number the first time that it is not finite."""
        for copy, cause in causes.items():
            number = cause.rpartition(" is ")[0]
            if number not in self._told:
                self._told |= {number}
                task = describe_task(
                    {name: values[copy] for name, values in self._tasks.items()}, self.family.task_units
                )
                warnings.warn(
                    f"{self.family_id}: {cause} for copy {copy} in step {self._elapsed[copy]} of its episode, with the "
                    f"task {task}. Such an episode ends there, counts as a failed simulation and is not learned from.",
                    stacklevel=2,
                )

    def _readable(self, observation: Floats, whole: bool) -> Floats:
        """The observations, with what was seen last of copies whose numbers are not finite; kept for later."""
        if not whole:
            finite = (np.abs(observation) <= LARGEST).all(axis=1, keepdims=True)
            observation = np.where(finite, observation, self._seen)
        self._seen = observation.copy()
        return observation

    def _observe(self) -> tuple[Floats, bool]:
        """The observations of all copies, and whether all of their numbers are finite in single precision.

        Raises:
            FamilyError: they are not what the family's interface says.
        """
        observation = np.empty(self._seen.shape)
        told = [task_features(self._tasks, self.family.wide_task_space)] if self._observe_task else []
        with self._blamed("observe"):
            seen = self.family.observe()
            try:
                np.concatenate([seen, *told], axis=1, out=observation)
            except (TypeError, ValueError):
                check_observation(seen, self._observed)
                raise
        return observation, _usable(observation)

    def _give(self, copies: Copies, tasks: Task) -> None:
        for name, array in tasks.items():
            self._tasks[name][copies] = array
        with self._blamed("set_tasks"):
            self.family.set_tasks(copies, tasks)

    def _blamed(self, function: str) -> Blamed:
        """Inside this block a function of the family runs."""
        return Blamed(self.family_id, f"its function {function}", self._where, refusals=(FloatingPointError,))

    def _where(self) -> str:
        """How far the episodes have come, and on which task."""
        task = describe_task({name: values[0] for name, values in self._tasks.items()}, self.family.task_units)
        if self.num_copies == 1:
            return f", at step {self._elapsed[0]} of its episode, with the task {task}"
        step = self._elapsed.max()
        return f", at step {step} of the episodes of {self.num_copies} copies, the first of which has the task {task}"

    def _legal_actions(self, actions: Any) -> Floats:
        if not self._started.all():
            raise RuntimeError(f"{self.family_id}: call reset() before step().")
        array = np.asarray(actions)
        if array.dtype.kind not in "fiub" or isinstance(actions, np.ma.MaskedArray):
            raise TypeError(
                f"{self.family_id} expects actions that are plain numbers; got {type(actions).__name__} of "
                f"{array.dtype}."
            )
        array = array.astype(np.float64)
        if array.shape != self._actions_shape:
            raise ValueError(f"{self.family_id} expects actions of shape {self._actions_shape}; got {array.shape}.")
        if not np.isfinite(array).all():
            copy = int(np.argwhere(~np.isfinite(array))[0, 0])
            raise ValueError(f"{self.family_id} expects finite actions; got {array[copy]} for copy {copy}.")
        return read_only(np.minimum(np.maximum(array, -1.0), 1.0))


def _usable(values: Floats) -> bool:
    """Whether every number is finite in single precision."""
    return bool(np.abs(values).max() <= LARGEST)


def _require_positive(name: str, value: Any) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive integer; got {value!r}.")
