"""Episodes: what every family's environment does between its physics and Gymnasium's interface.

Tasks are assigned here, episodes end here, and copies whose episode is over are kept still here, once for the
single and the batched environment and for every family.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rlmaml_envs.family import Bools, Copies, FamilyMaker, Floats, finite_box
from rlmaml_envs.registry import FAMILIES, load_family
from rlmaml_envs.rehearsal import NUM_COPIES, try_out
from rlmaml_envs.tasks import (
    Task,
    describe_task,
    repeat_tasks,
    stack_tasks,
    task_feature_names,
    task_features,
    validate_tasks,
)


class Transition(NamedTuple):
    """One control step of all copies. Every array is new and has a leading copy axis."""

    observation: Floats
    reward: Floats
    terminated: Bools
    truncated: Bools
    info: dict[str, npt.NDArray[Any]]
    """The reward terms by name and, in a step in which a simulation went unstable, ``"instability"``: the cause
    of each copy, ``""`` for the sound ones."""


def tried_out(family_id: str, make_family: FamilyMaker, *counts: Any, **options: Any) -> "Episodes":
    """:class:`Episodes` of a family that was tried out on a few copies; arguments, errors and attributes as there.

    A family of the table is tried out once in a process with the same options.

    Raises:
        ValueError: also what :func:`rlmaml_envs.rehearsal.try_out` finds.

    Warns:
        As it does.
    """
    episodes = Episodes(family_id, make_family, *counts, **options)
    own = {name: value for name, value in options.items() if name != "observe_task"}
    key, entry = repr(sorted(own.items())), FAMILIES.get(family_id)
    if entry is None or key not in entry.tried:
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
        family_options: passed to the family, e.g. ``variant``.

    Attributes:
        observation_space: one copy's observation.

    Raises:
        ValueError: unknown variant, or a count that is not a positive integer.
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
        self.family = make_family(num_copies, **family_options)
        self._options = family_options
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
        self.observation_space = self.family.observation_space
        self.task_size = task_features(self._tasks, self.family.wide_task_space).shape[1]
        """How many numbers a task's parameters add to an observation that ends in them."""
        if observe_task:
            self.observation_space = finite_box(self.observation_space.shape[0] + self.task_size)
        self._actions_shape = (num_copies, *self.family.action_space.shape)

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

    def reset(self, copies: Copies, generators: Mapping[int, np.random.Generator]) -> Floats:
        """Start a new episode in the listed copies and return the observations of all copies.

        Until tasks are assigned, each of these copies first draws a task from its own generator.
        """
        if self._assigned is None:
            sampled = stack_tasks([self.family.sample_task(generators[copy]) for copy in copies.tolist()])
            self._give(copies, sampled)
        else:
            changed = copies[self._changed[copies]]
            if changed.size:
                self._give(changed, {name: array[changed] for name, array in self._assigned.items()})
                self._changed[changed] = False
        self.family.reset(copies, generators)
        self._started[copies] = True
        self._elapsed[copies] = 0
        self._terminated[copies] = False
        self._truncated[copies] = False
        return self._observe()

    def step(self, actions: Any) -> Transition:
        """One control step of every copy whose episode is not over.

        Actions (num_copies, action) are clipped to [-1, 1]. A copy whose episode is over keeps its state,
        observation and flags, and gets zero for every reward term; so does one whose simulation went unstable
        in this step, which terminates its episode.

        Raises:
            RuntimeError: a copy was never reset.
            ValueError: actions of the wrong shape, or not finite.
            FloatingPointError: a reward term or an observation is not finite; the message names term and copy.
        """
        actions = self._legal_actions(actions)
        running = ~(self._terminated | self._truncated)
        terms, terminated, instability = self.family.step(actions, running)
        counted = running if instability is None else running & (instability == "")
        if not counted.all():
            terms = {name: np.where(counted, term, 0.0) for name, term in terms.items()}
            terminated = np.where(counted, terminated, running)
        self._elapsed += running
        self._terminated |= terminated
        self._truncated |= (self._elapsed >= self._horizon) & running & ~terminated
        reward = sum((terms[name] for name in self.family.reward_terms), start=np.zeros(self.num_copies))
        info: dict[str, npt.NDArray[Any]] = dict(terms) if instability is None else terms | {"instability": instability}
        observation = self._observe()
        if not (np.isfinite(reward).all() and np.isfinite(observation).all()):
            raise FloatingPointError(self._not_finite(terms, observation))
        return Transition(observation, reward, self._terminated.copy(), self._truncated.copy(), info)

    def _not_finite(self, terms: Mapping[str, Floats], observation: Floats) -> str:
        """Which number of which copy is not finite, in words."""
        columns = {
            f"number {column} of the observation": observation[:, column] for column in range(observation.shape[1])
        }
        named = {f'the reward term "{name}"': values for name, values in terms.items()} | columns
        what, values = next(((what, values) for what, values in named.items() if not np.isfinite(values).all()))
        copy = int(np.flatnonzero(~np.isfinite(values))[0])
        task = describe_task({name: values[copy] for name, values in self._tasks.items()}, self.family.task_units)
        return (
            f"{self.family_id}: {what} of copy {copy} is {values[copy]} in step {self._elapsed[copy]} of its episode, "
            f"with the task {task}"
        )

    def _observe(self) -> Floats:
        observation = self.family.observe()
        if not self._observe_task:
            return observation
        return np.concatenate([observation, task_features(self._tasks, self.family.wide_task_space)], axis=1)

    def _give(self, copies: Copies, tasks: Task) -> None:
        for name, array in tasks.items():
            self._tasks[name][copies] = array
        self.family.set_tasks(copies, tasks)

    def _legal_actions(self, actions: Any) -> Floats:
        if not self._started.all():
            raise RuntimeError(f"{self.family_id}: call reset() before step().")
        array = np.asarray(actions, np.float64)
        if array.shape != self._actions_shape:
            raise ValueError(f"{self.family_id} expects actions of shape {self._actions_shape}; got {array.shape}.")
        if not np.isfinite(array).all():
            copy = int(np.argwhere(~np.isfinite(array))[0, 0])
            raise ValueError(f"{self.family_id} expects finite actions; got {array[copy]} for copy {copy}.")
        return np.minimum(np.maximum(array, -1.0), 1.0)


def _require_positive(name: str, value: Any) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive integer; got {value!r}.")
