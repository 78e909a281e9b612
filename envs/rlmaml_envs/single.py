"""The ordinary single environment of every family: a batch of one."""

from typing import Any, ClassVar, final

import gymnasium
import numpy as np
import numpy.typing as npt

from rlmaml_envs.episodes import tried_out
from rlmaml_envs.family import Floats
from rlmaml_envs.own_code import Blamed
from rlmaml_envs.registry import load_family
from rlmaml_envs.tasks import validate_task
from rlmaml_envs.window import Window


@final
class TaskEnv(gymnasium.Env[npt.NDArray[Any], npt.NDArray[Any]]):
    """One copy of a family as a ``gymnasium.Env``.

    ``reset``'s info holds the task of the episode; ``step``'s info holds the reward terms by name, whose sum
    is the reward, and ``"instability"``, the cause, in a step in which the simulation went unstable or a number was not
    finite. Where a family's observations have several parts, ``dict_space`` is the space whose flattened form they are;
    :func:`rlmaml_envs.parts.with_dict_observations` gives them in parts. The time limit is Gymnasium's
    ``TimeLimit`` wrapper, added by ``gymnasium.make``: the horizon of the family's default variant unless ``make`` is
    told another.

    Args:
        family: environment id, e.g. ``"Navigation2D-v0"``.
        max_episode_steps: control steps until an episode is truncated by this environment itself; None for never.
        render_mode: None, ``"rgb_array"`` or ``"human"`` (a window that follows every reset and step).
        family_options: options of the family, e.g. ``variant="finn2017"``, or ``"finn2017-beyond"`` for its tasks
            outside of the training range, where it has such; and ``observe_task`` for observations
            that end in the task's parameters, scaled: what an oracle sees.

    Raises:
        ValueError: unknown id, variant or render mode; ``max_episode_steps`` not positive.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"]}  # noqa: RUF012 (as Gymnasium reads it)
    _only_copy: ClassVar = np.arange(1)

    def __init__(
        self,
        family: str,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        **family_options: Any,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f'{family}: render_mode is None, "human" or "rgb_array"; got {render_mode!r}.')
        self._episodes = tried_out(family, load_family(family), 1, max_episode_steps, **family_options)
        self._window = Window() if render_mode == "human" else None
        world = self._episodes.family
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": world.frames_per_second}
        self.observation_space = self._episodes.observation_space
        self.dict_space = world.dict_space
        self.action_space = world.action_space
        self.task_space = self._episodes.task_space
        self.wide_task_space = world.wide_task_space
        self.task_units = dict(world.task_units)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Floats, dict[str, Any]]:
        """Start an episode and return its first observation and ``{"task": its task}``.

        Args:
            seed: restarts ``np_random``; None lets it run on.
            options: ``{"task": {name: value}}`` (no task axis) sets the task of this and all later episodes.
                Until a task is set, every reset draws a new one from ``np_random``.

        Raises:
            TypeError, ValueError: an unknown option, or a task that is not legal.
        """
        super().reset(seed=seed)
        options = options or {}
        if not set(options) <= {"task"}:
            raise ValueError(f"reset takes the option 'task'; got {list(options)}.")
        if "task" in options:
            family = self._episodes.family
            task = validate_task(options["task"], family.wide_task_space, family.task_units, self._episodes.family_id)
            self._episodes.assign({name: value[None] for name, value in task.items()})
        observation = self._episodes.reset(self._only_copy, {0: self.np_random})[0]
        self._show()
        return observation, {"task": {name: array[0, ...] for name, array in self._episodes.tasks.items()}}

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """Advance by one control step; the action is clipped to [-1, 1].

        Raises:
            RuntimeError: before the first reset.
            ValueError: an action of the wrong shape, or not finite.
        """
        now = self._episodes.step(np.asarray(action)[None])
        self._show()
        info = {name: values[0].item() for name, values in now.info.items()}
        return (
            now.observation[0],
            float(now.reward[0]),
            bool(now.terminated[0]),
            bool(now.truncated[0]),
            info,
        )

    def render(self) -> Any:
        """The picture, uint8 (height, width, 3); in mode ``"human"`` it is shown and None returned.

        Raises:
            ValueError: the environment was made without a render mode.
        """
        if self.render_mode is None:
            raise ValueError('render() needs an environment made with render_mode="rgb_array" or "human".')
        if self.render_mode == "rgb_array":
            return self._picture()
        self._show()
        return None

    def close(self) -> None:
        """Close the window, if there is one. May be called more than once."""
        if self._window is not None:
            self._window.close()

    def _show(self) -> None:
        if self._window is not None:
            self._window.show(self._picture(), self.metadata["render_fps"])

    def _picture(self) -> npt.NDArray[np.uint8]:
        with Blamed(self._episodes.family_id, "its function render"):
            return self._episodes.family.render(0)
