"""The interface between a family of tasks and the Gymnasium environments built on it.

A family is ``num_copies`` worlds that share one body and differ in their task. It knows physics, rewards and
termination. It does not know episodes, time limits, seeds or autoreset: ``episodes.py`` keeps those, so that
every family is finished by the same code.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rlmaml_envs.controls import ControlFunction, commanded
from rlmaml_envs.tasks import Task, describe_task

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Copies = npt.NDArray[np.intp]
VariantT = TypeVar("VariantT")

BEYOND = "-beyond"
"""Ends the name of a variant's tasks beyond its training range, which are a distribution of tasks as well."""


class Outcome(NamedTuple):
    """What one control step led to; every array is new and has a leading copy axis."""

    terms: dict[str, Floats]
    """The reward terms by name."""
    terminated: Bools
    """Which episodes ended."""
    instability: npt.NDArray[np.str_] | None = None
    """Where a simulation went unstable, the cause of each copy, ``""`` for the sound ones. Such a copy is as it
    was before the step, its terms mean nothing, and its episode is over."""


class BarePhysics(Protocol):
    """What moves the copies of a family, with nothing around it."""

    def advance(self, controls: Floats, running: Bools) -> None:
        """One control step of the running copies, (num_copies,), under ``controls`` (num_copies, control)."""


class PathDrawing(Protocol):
    """Draws episodes of one task as paths into matplotlib axes."""

    def __call__(self, axes: Any, task: Task, paths: Sequence[Floats], *, color: str, label: str | None = None) -> None:
        """Draw; call it once for each set of episodes, such as those before and those after adaptation.

        Args:
            axes: matplotlib axes. What they show besides, their aspect and their frame are the drawing's.
            task: the task, without task axis.
            paths: per episode what the family has ``tracked``, (steps + 1, 4 or 5), from the initial state on; of one
                that tracks nothing, its observations.
            color: matplotlib colour of the paths.
            label: entry of the legend; the caller draws the legend.
        """


class TaskFamily(ABC):
    """``num_copies`` worlds as arrays with a leading copy axis; every method acts on all or on listed copies.

    A family is final: its variants are data. The name of a reward term ends in ``_cost`` (its values are
    never positive) or in ``_reward``.
    """

    frames_per_second: int
    """Control steps shown per second of video."""

    observation_space: spaces.Box
    """One copy's observation, float64."""

    dict_space: spaces.Dict | None = None
    """Where an observation has several parts, such as ranges and a picture: the space that it is the flattened form of,
    :mod:`rlmaml_envs.parts`; None where it is one vector."""

    action_space: spaces.Box
    """One copy's action: normalised, [-1, 1] in every dimension, float32."""

    task_space: spaces.Dict
    """The tasks of training: named ``Box`` and ``Discrete`` parameters."""

    wide_task_space: spaces.Dict
    """Every legal task: the same parameters with the same or wider bounds, for tests beyond the training range."""

    task_units: Mapping[str, str]
    """Unit of each task parameter, "" for dimensionless ones."""

    task_labels: Mapping[str, Sequence[str]] = MappingProxyType({})
    """Task parameter that is an index -> what its values 0, 1, ... mean, where they have names."""

    task_elements: Mapping[str, Sequence[Sequence[str]]] = MappingProxyType({})
    """Task parameter that is an array -> along each axis the names of its elements, where they have some."""

    reward_terms: tuple[str, ...]
    """Names of the reward terms; the reward is their sum in this order."""

    physics: BarePhysics | None = None
    """What moves the copies, where that can be timed by itself; None where it cannot."""

    draw_episodes: ClassVar[PathDrawing | None] = None
    """How episodes are drawn as paths; None where they are none."""

    @abstractmethod
    def __init__(self, num_copies: int, **options: Any) -> None:
        """Build the worlds. Options of every family are ``variant`` and ``threads``, those that step physics."""

    @property
    def control_range(self) -> Floats:
        """Lowest and highest control of each actuator, (control, 2), in ``control_units``.

        They are what the actions -1 and 1 command, unless there is a ``control_function``.
        """
        return np.tile((-1.0, 1.0), (*self.action_space.shape, 1))

    @property
    def control_function(self) -> ControlFunction | None:
        """What makes controls of actions, where that is not from end to end of ``control_range``; else None."""
        return None

    @property
    def control_names(self) -> tuple[str, ...]:
        """The actuators by name, or by number."""
        return tuple(map(str, range(len(self.control_range))))

    @property
    def control_units(self) -> tuple[str, ...]:
        """The unit of each control, "" where it has none or nobody said."""
        return ("",) * len(self.control_range)

    @property
    def observation_names(self) -> tuple[str, ...]:
        """What each number of an observation is; its number where nobody said."""
        return tuple(map(str, range(*self.observation_space.shape)))

    @property
    def observation_units(self) -> tuple[str, ...]:
        """The unit of each number of an observation, "" where it has none or nobody said."""
        return ("",) * self.observation_space.shape[0]

    def few(self, num_copies: int) -> "TaskFamily | None":
        """Other worlds like these, on which the family is tried out; None where they are made as these were."""
        return None

    @abstractmethod
    def sample_task(self, generator: np.random.Generator, *, wide: bool = False) -> Task:
        """Draw one task (no leading axis), from ``generator`` alone.

        Args:
            generator: where the randomness comes from.
            wide: draw from ``wide_task_space`` instead of the distribution of training.
        """

    @abstractmethod
    def set_tasks(self, copies: Copies, tasks: Task) -> None:
        """Give the listed copies their tasks.

        It is called before the ``reset`` of these copies, and only when their task changed.

        Args:
            copies: indices of the copies, (n,).
            tasks: valid tasks with leading axis n. The family must not keep references to these arrays.
        """

    @abstractmethod
    def reset(self, copies: Copies, generators: Mapping[int, np.random.Generator]) -> None:
        """Put the listed copies into an initial state; the others must not change.

        Args:
            copies: indices of the copies, (n,).
            generators: copy index -> generator of that copy. A generator is made when first looked up, so a
                family whose initial state is fixed should not look one up.
        """

    def scatter(self, copies: Copies, generators: Mapping[int, np.random.Generator]) -> None:
        """Put the listed copies, while the family is tried out, into states far apart; by default as ``reset`` does."""
        self.reset(copies, generators)

    def readouts(self) -> Mapping[str, npt.NDArray[Any]]:
        """What is read of each copy's state besides observations and reward, (num_copies, ...) by name."""
        return {}

    def check_paths(self, actions: Floats) -> None:
        """Refuse, while the family is tried out, what tasks make of actions and observations; by default nothing.

        Args:
            actions: (num_copies, action), those of the next step.

        Raises:
            ValueError: names what gave something else than numbers of the right shape that are finite.
        """
        return

    @abstractmethod
    def step(self, actions: Floats, running: Bools) -> Outcome:
        """Advance the running copies by one control step. The others must not move.

        Args:
            actions: (num_copies, action), finite and already clipped to [-1, 1]; they cannot be written.
            running: (num_copies,), true where the episode is not over; likewise.

        Returns:
            Reward terms and ends of episodes; the caller overrules the entries of copies that are not running.
        """

    def controls(self, actions: Floats) -> Floats:
        """What actions (num_copies, action) in [-1, 1] make of the actuators' inputs, (num_copies, control)."""
        return commanded(actions, self.control_range, self.control_function)

    def changed_fields(self) -> Mapping[str, npt.NDArray[Any]]:
        """What tasks have changed in the models of the copies, (num_copies, ...) by name; empty for none."""
        return {}

    def remarks(self) -> Sequence[str]:
        """What is to be said, once the family was tried out, of what tasks change; by default nothing."""
        return ()

    def built(self) -> bytes:
        """What all copies begin from, which nobody may change; by default nothing that could be."""
        return b""

    def described(self) -> dict[str, Any]:
        """What a data sheet says of these worlds besides their spaces, as JSON's types; :mod:`rlmaml_envs.sheets`."""
        return {}

    def snapshot(self) -> dict[str, Any]:
        """All that changes, for :meth:`restore` of as many worlds that were made alike: by default every attribute."""
        return dict(vars(self))

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on, bit for bit, as the worlds of a snapshot do."""
        vars(self).update(snapshot)

    @abstractmethod
    def observe(self) -> Floats:
        """The observations of all copies as a new array, (num_copies, observation)."""

    def tracked(self) -> Floats | None:
        """Where the robots are and how fast, for figures of episodes; None where observations are enough for these.

        Returns:
            (num_copies, 4 or 5): x and y, m; the speeds along them in the last step, m/s; and the height, m, of robots
            that have one.
        """
        return None

    def in_words(self, task: Task) -> str:
        """One task in a few words, with units."""
        return describe_task(task, self.task_units)

    @abstractmethod
    def render(self, copy: int) -> npt.NDArray[np.uint8]:
        """A picture of one copy, (height, width, 3)."""


class FamilyMaker(Protocol):
    """What the table of families points to: a family class, or a data sheet that makes one."""

    @property
    def variants(self) -> Mapping[str, Any]:
        """Variant name -> its constants, among them ``horizon``. The first one is the default."""

    @property
    def draw_episodes(self) -> PathDrawing | None:
        """How episodes are drawn as paths; None where they are none."""

    def __call__(self, num_copies: int, *_: Any, **options: Any) -> TaskFamily:
        """Build the worlds; an unknown ``variant`` is a ValueError."""


def select_variant(family: str, variants: Mapping[str, VariantT], variant: str | None) -> VariantT:
    """The constants of a variant; None is the first one.

    Raises:
        ValueError: the family has no such variant; the message lists those it has.
    """
    if variant is None:
        return next(iter(variants.values()))
    if variant not in variants:
        raise ValueError(f'{family} has no variant "{variant}". Choose one of: {", ".join(variants)}.')
    return variants[variant]


def named_range(variants: Mapping[str, Any], variant: str | None) -> tuple[str | None, bool]:
    """The variant that a name is of, and whether it names the tasks beyond its training range: ``"finn2017-beyond"``.

    Args:
        variants: those of the family, whose own names come first.
        variant: the name; None for the first variant.
    """
    if variant is None or variant in variants or not variant.endswith(BEYOND):
        return variant, False
    return variant.removesuffix(BEYOND), True


def finite_box(size: int) -> spaces.Box:
    """Observations without physical bounds: every vector of ``size`` finite float32 numbers, kept as float64.

    The bounds are those of float32, the precision of the policies, rather than infinity.
    """
    largest = float(np.finfo(np.float32).max)
    return spaces.Box(-largest, largest, (size,), np.float64)


def normalised_box(size: int) -> spaces.Box:
    """Actions: ``size`` float32 numbers in [-1, 1]."""
    return spaces.Box(-1.0, 1.0, (size,), np.float32)
