"""The batched environment of every family."""

from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rlmaml_envs.episodes import Transition, tried_out
from rlmaml_envs.family import Bools, Copies, Floats, TaskFamily
from rlmaml_envs.generators import CopyGenerators, copy_seeds
from rlmaml_envs.own_code import Blamed
from rlmaml_envs.parts import part_shapes
from rlmaml_envs.registry import horizon_of, load_family, origin_of
from rlmaml_envs.sheets import family_sheet
from rlmaml_envs.tasks import Task

REST = "rest"
"""The mode in which copies whose episode is over wait until they are reset by hand."""


@final
class TaskVectorEnv(VectorEnv[Floats, Floats, Any]):
    """``num_envs`` copies of one family, each with its own task.

    What becomes of a copy whose episode is over says ``autoreset_mode``. In Gymnasium's modes it is reset by the next
    step, which takes no action (``NEXT_STEP``, the default, as in Gymnasium's own vector environments), or by the very
    step that ended it (``SAME_STEP``: info holds ``"final_obs"`` and ``"final_info"``), or must be reset by hand before
    any other step (``DISABLED``). In ``"rest"``, for meta-training and by :func:`rlmaml_envs.make_tasks_env` gives,
    it stays as it is until it is reset by hand: its observation repeats, its reward is 0 and its ``terminated`` and
    ``truncated`` flags stay. A step that resets copies has their new tasks in its info, as ``reset`` has.

    The two flags are never both set. ``step``'s info
    carries the reward terms by name, (num_envs,) each; their sum is the reward. In a step in which a simulation
    went unstable, or gave a number that is not finite, info also carries ``"instability"``: the cause of each copy,
    ``""`` for the sound ones. The episode of such a copy is terminated, the copy is as it was before the step (or its
    observation, where that is not finite), and its reward is 0.
    Every returned array is new.

    Args:
        family: environment id, e.g. ``"Navigation2D-v0"``.
        num_envs: number of copies.
        max_episode_steps: control steps until an episode is truncated; None takes the variant's horizon.
        render_mode: None or ``"rgb_array"``.
        autoreset_mode: one of Gymnasium's ``AutoresetMode``, or its name; or ``"rest"``.
        family_options: options of the family, e.g. ``variant="finn2017"``, or ``"finn2017-beyond"`` for its tasks
            outside of the training range, where it has such; and ``observe_task`` for observations
            that end in the task's parameters, scaled: what an oracle sees.

    Attributes:
        control_range: what the actions -1 and 1 command, (control, 2), in ``control_units``.
        control_function: what makes controls of actions instead, where that is a function; else None.
        control_names, control_units: of each actuator's control.
        observation_names, observation_units: of each number of an observation.
        has_physics: whether the copies are moved by physics that can be timed by itself, ``worlds.physics``.
        dict_space: the space whose flattened form an observation is, before the task's parameters; None for none.
        observation_parts: its parts' shapes in a flat observation, by name and in their order; empty without any.
        horizon: the largest number of control steps of an episode, ``max_episode_steps``.
        task_size: how many numbers a task's parameters add to an observation that ends in them.
        origin: where the family came from, :func:`rlmaml_envs.registry.origin_of`.
        sheet: what it is, as plain data, :func:`rlmaml_envs.sheets.family_sheet`.

    Raises:
        ValueError: unknown id, variant, render mode or autoreset mode; ``num_envs`` or ``max_episode_steps`` not
            positive.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (Gymnasium reads this attribute from the class)
        "render_modes": ["rgb_array"],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }
    _options: ClassVar[tuple[str, ...]] = ("reset_mask", "tasks")

    def __init__(
        self,
        family: str,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **family_options: Any,
    ) -> None:
        self._mode = None if autoreset_mode == REST else named_mode(autoreset_mode)
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f'{family}: render_mode must be None or "rgb_array"; got {render_mode!r}.')
        steps = horizon_of(family, family_options.get("variant")) if max_episode_steps is None else max_episode_steps
        self._episodes = tried_out(family, load_family(family), num_envs, steps, **family_options)
        self._generators = CopyGenerators(num_envs)
        world = self._episodes.family
        self.num_envs = num_envs
        self.horizon = self.max_episode_steps = steps
        self.render_mode = render_mode
        told = AutoresetMode.DISABLED if self._mode is None else self._mode
        self.metadata = {**self.metadata, "autoreset_mode": told, "render_fps": world.frames_per_second}
        self.single_observation_space = self._episodes.observation_space
        self.single_action_space = world.action_space
        self.control_range = world.control_range
        self.task_size = self._episodes.task_size
        self.control_function = world.control_function
        self.control_names, self.control_units = world.control_names, world.control_units
        self.observation_names, self.observation_units = self._episodes.observation_entries
        self.dict_space = world.dict_space
        self.observation_parts = part_shapes(world.dict_space) if world.dict_space else {}
        self.observation_space = batch_space(self._episodes.observation_space, num_envs)
        self.action_space = batch_space(world.action_space, num_envs)
        self.task_space = self._episodes.task_space
        self.wide_task_space = world.wide_task_space
        self.task_units = dict(world.task_units)
        self.task_labels, self.task_elements = dict(world.task_labels), dict(world.task_elements)
        self.reward_terms = world.reward_terms
        self.has_physics = world.physics is not None
        self.origin = origin_of(family)
        variant = family_options.get("variant") or next(iter(load_family(family).variants))
        self.sheet = family_sheet(family, variant, world, self.task_space)

    @property
    def worlds(self) -> TaskFamily:
        """The worlds in which the copies live."""
        return self._episodes.family

    def sample_tasks(self, num_tasks: int, seeds: Sequence[int] | None = None, *, beyond: bool = False) -> Task:
        """Draw ``num_tasks`` tasks, with a leading task axis, without assigning them.

        Args:
            num_tasks: how many.
            seeds: one int per task; task i depends on ``seeds[i]`` alone. None draws from ``np_random``.
            beyond: draw legal tasks outside of the training range instead of those of training.

        Raises:
            ValueError: ``num_tasks`` is not positive, the number of seeds differs from it, or every legal task
                is in the training range.
        """
        if num_tasks < 1:
            raise ValueError(f"num_tasks must be positive; got {num_tasks}.")
        if seeds is None:
            generators = [self.np_random] * num_tasks
        elif len(seeds) == num_tasks:
            generators = [np.random.default_rng(seed) for seed in seeds]
        else:
            raise ValueError(f"sample_tasks needs one seed per task, {num_tasks} here; got {len(seeds)}.")
        if beyond and self.wide_task_space == self.task_space:
            raise ValueError(f"{self._episodes.family_id}: every legal task is in the training range already.")
        return self._episodes.draw(generators, beyond=beyond)

    def set_tasks(self, tasks: Task) -> None:
        """Assign tasks: copy i gets task ``i // (num_envs // num_tasks)``, from its next reset on.

        Args:
            tasks: (num_tasks, ...) arrays by name. They are copied; num_envs must be a multiple of num_tasks.

        Raises:
            TypeError, ValueError: tasks that are not legal, or too many for ``num_envs``.
        """
        self._episodes.assign(tasks)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Floats, dict[str, Any]]:
        """Start new episodes and return all observations and ``{"task": the tasks of all copies}``.

        If tasks were never set, each reset draws a new task for each copy from the copy's own generator.

        Args:
            seed: an int s seeds copy i with s + i (and ``np_random`` with s); a list seeds copy by copy; None
                lets the generators run on.
            options: ``"reset_mask"``, bool (num_envs,): reset these copies only; ``"tasks"``: call
                ``set_tasks`` first.

        Raises:
            TypeError, ValueError: an unknown option, an unsuitable mask or seed, or tasks that are not legal.
        """
        options = options or {}
        if not set(options) <= set(self._options):
            raise ValueError(f"reset takes the options {list(self._options)}; got {list(options)}.")
        copies = self._copies(options.get("reset_mask"))
        seeds = copy_seeds(seed, self.num_envs)
        if "tasks" in options:
            self.set_tasks(options["tasks"])
        if isinstance(seed, int | np.integer):
            super().reset(seed=int(seed))
            (self._np_random,) = self.np_random.spawn(1)
        self._generators.seed(copies, seeds)
        observation = self._episodes.reset(copies, self._generators)
        return observation, {"task": self._episodes.tasks}

    def step(self, actions: Floats) -> tuple[Floats, Floats, Bools, Bools, dict[str, Any]]:
        """Advance every copy whose episode is not over; actions (num_envs, action) are clipped to [-1, 1].

        Raises:
            RuntimeError: before the first reset.
            gymnasium.error.ResetNeeded: an episode is over, and the mode is ``DISABLED``.
            ValueError: actions of the wrong shape, or not finite.
        """
        if self._mode is None:
            return self._episodes.step(actions)
        over = self._episodes.over
        if self._mode is AutoresetMode.DISABLED and over.any():
            raise ResetNeeded(
                f"{self._episodes.family_id}: the episode of copy {int(np.argmax(over))} is over, and autoreset is "
                "disabled. Reset such copies first, with options={'reset_mask': terminated | truncated}, or choose the "
                'autoreset_mode "NextStep" or "SameStep", or "rest" to let them wait for the others.'
            )
        now = self._episodes.step(actions)
        if self._mode is AutoresetMode.SAME_STEP:
            over = now.terminated | now.truncated
        elif self._mode is AutoresetMode.NEXT_STEP:
            now.terminated[over], now.truncated[over] = False, False
        if self._mode is AutoresetMode.DISABLED or not over.any():
            return now
        observation = self._episodes.reset(np.flatnonzero(over), self._generators)
        info = now.info | {"task": self._episodes.tasks}
        if self._mode is AutoresetMode.SAME_STEP:
            info |= finals(now, over)
        return observation, now.reward, now.terminated, now.truncated, info

    def tracked(self) -> Floats | None:
        """Where the robots are and how fast, :meth:`rlmaml_envs.family.TaskFamily.tracked`; None where nobody says."""
        with Blamed(self._episodes.family_id, "its function tracked"):
            return self._episodes.family.tracked()

    def in_words(self, tasks: Task) -> list[str]:
        """Tasks (num_tasks, ...) in words with units, one after the other."""
        with Blamed(self._episodes.family_id, "what it says of a task"):
            count = len(next(iter(tasks.values())))
            single = ({name: values[i] for name, values in tasks.items()} for i in range(count))
            return [self._episodes.family.in_words(task) for task in single]

    def render(self) -> tuple[Any, ...]:
        """One uint8 picture (height, width, 3) per copy.

        Raises:
            ValueError: the environment was made without ``render_mode="rgb_array"``.
        """
        if self.render_mode is None:
            raise ValueError('render() needs an environment made with render_mode="rgb_array".')
        with Blamed(self._episodes.family_id, "its function render"):
            return tuple(self._episodes.family.render(copy) for copy in range(self.num_envs))

    def _copies(self, reset_mask: Any) -> Copies:
        if reset_mask is None:
            return np.arange(self.num_envs)
        if not isinstance(reset_mask, np.ndarray) or reset_mask.dtype != np.bool_:
            raise TypeError(f"options['reset_mask'] must be a bool array; got {reset_mask!r}.")
        if reset_mask.shape != (self.num_envs,) or not reset_mask.any():
            raise ValueError(
                f"options['reset_mask'] needs shape ({self.num_envs},) and a true entry; got {reset_mask}."
            )
        return np.flatnonzero(reset_mask)


def named_mode(mode: AutoresetMode | str) -> AutoresetMode:
    """Gymnasium's mode of a name, ``"NextStep"`` or ``"NEXT_STEP"``.

    Raises:
        ValueError: there is no such mode; the message lists those there are.
    """
    for known in AutoresetMode:
        if mode in (known, known.name, known.value):
            return known
    names = ", ".join([*(known.value for known in AutoresetMode), REST])
    raise ValueError(f"autoreset_mode must be one of {names}; got {mode!r}.")


def finals(ended: Transition, over: Bools) -> dict[str, Any]:
    """Last observations and info of the episodes that a step ended, as Gymnasium's own environments give them."""
    last = np.full(len(over), None, object)
    for copy in np.flatnonzero(over).tolist():
        last[copy] = ended.observation[copy]
    info = {name: np.where(over, values, np.zeros((), values.dtype)) for name, values in ended.info.items()}
    masks = {f"_{name}": over.copy() for name in info}
    return {"final_obs": last, "_final_obs": over.copy(), "final_info": info | masks, "_final_info": over.copy()}
