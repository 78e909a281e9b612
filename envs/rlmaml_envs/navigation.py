"""Navigation2D-v0: a point in the plane that must find a goal, or learn how its actuators work.

Observation (float64, 2)
    ===  =====================  ====
    0    x position             m
    1    y position             m
    ===  =====================  ====
    The policy never sees the goal, the corner, the wind, the gain or the rotation: it must adapt to them.

Action (float32, 2; clipped to [-1, 1])
    ===  =====================  ==============================
    0    commanded x velocity   ``max_displacement`` m per step
    1    commanded y velocity   ``max_displacement`` m per step
    ===  =====================  ==============================
    The point moves by ``gain * R(rotation) @ (max_displacement * action) + wind`` in one step; the gain is 1,
    the rotation 0 and the wind 0 unless they belong to the task.

Variants
    ``finn2017`` (default). One step moves at most 0.1 m per axis.
        Task: ``goal`` ~ U[-0.5, 0.5]^2 m; beyond the training range, within [-0.75, 0.75]^2 m.
        Initial state: the origin.
        Reward: ``distance_cost`` = -|position - goal| (m), after the move. (The paper's text says squared;
        its code and published rollouts use the distance.)
        Terminated: |x - goal_x| < 0.01 m and |y - goal_y| < 0.01 m.
    ``rothfuss2019``. One step moves at most 0.2 m per axis.
        Task: ``corner`` ~ U{0, 1, 2, 3}, indexing (2, 2), (-2, 2), (-2, -2), (2, -2) m.
        Initial state: U[-0.2, 0.2]^2 m.
        Reward: ``progress_reward`` = decrease of the distance to the corner in this step (m), but 0 while
        |x| + |y| < 0.5 m or while another corner is nearer, both judged after the move.
        Terminated: never.
    ``dynamics``. One step moves at most 0.1 m per axis before the gain. All tasks share the goal
        (0.3, 0.4) m and hence the reward function, so what distinguishes them is the dynamics alone.
        Task: ``wind`` ~ U[-0.02, 0.02]^2 m per step, ``gain`` ~ U[0.5, 1.5],
        ``rotation`` ~ U[-pi, pi] rad, counter-clockwise; beyond the training range, gains within [0.4, 2].
        Initial state, reward and termination: those of ``finn2017``.
        The goal can be reached in every task: the weakest actuation moves 0.05 m in any direction and the
        strongest wind is 0.0283 m. A fixed feedback policy can only cope with rotations below a quarter turn,
        so no single policy solves all tasks.

Horizon of each variant: 100 steps.

Version history
    v0: first version.

Sources
    Finn, Abbeel, Levine 2017, arXiv:1703.03400 (``finn2017``); Rothfuss et al. 2019, arXiv:1810.06784
    (``rothfuss2019``); ``dynamics`` is our own.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rlmaml_envs.family import Bools, Copies, Floats, Outcome, TaskFamily, finite_box, normalised_box, select_variant
from rlmaml_envs.navigation_drawing import draw_frame, draw_paths
from rlmaml_envs.navigation_goals import CORNERS, goal_position
from rlmaml_envs.published import Published
from rlmaml_envs.tasks import Task, sample_uniform_task

SPARSE_RADIUS = 0.5
"""``progress_reward`` is 0 nearer to the origin than this, metres in the 1-norm."""


def distance(position: Floats, goal: Floats) -> Floats:
    """Euclidean distance, metres: (..., 2) and (..., 2) to (...)."""
    offset = position - goal
    return np.asarray(np.sqrt(offset[..., 0] ** 2 + offset[..., 1] ** 2))


def distance_cost(before: Floats, after: Floats, goal: Floats) -> Floats:
    """The negative distance to the goal after the move, metres: (..., 2) each to (...)."""
    return -distance(after, goal)


def progress_reward(before: Floats, after: Floats, goal: Floats) -> Floats:
    """Decrease of the distance to a corner, metres; 0 near the origin and where another corner is nearer.

    ``before``, ``after``, ``goal`` are (..., 2), ``goal`` one of ``CORNERS``; the result is (...). A corner
    is the nearest one in its quadrant, whose edges count.
    """
    has_left = np.abs(after[..., 0]) + np.abs(after[..., 1]) >= SPARSE_RADIUS
    is_nearest = (after[..., 0] * goal[..., 0] >= 0) & (after[..., 1] * goal[..., 1] >= 0)
    return np.where(has_left & is_nearest, distance(before, goal) - distance(after, goal), 0.0)


def is_reached(position: Floats, goal: Floats, half_width: float) -> Bools:
    """Whether a position is in the open square around the goal, half-width in metres: (..., 2) to (...)."""
    offset = np.abs(position - goal)
    return np.asarray((offset[..., 0] < half_width) & (offset[..., 1] < half_width))


def actuation(gain: Floats, rotation: Floats, max_displacement: float) -> Floats:
    """The matrix from action to displacement, metres: gain (...) and rotation (...) rad to (..., 2, 2)."""
    cos, sin = np.cos(rotation), np.sin(rotation)
    matrix = np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)
    return np.asarray(max_displacement * gain[..., None, None] * matrix)


@dataclass(frozen=True)
class NavigationVariant:
    """The constants of a variant."""

    max_displacement: float
    """Metres per axis and control step that a full action moves at gain 1."""
    start_half_width: float
    """The start is uniform over a square of this half-width around the origin, metres; 0 is the origin."""
    goal_half_width: float
    """Half-width of the square around the goal that terminates an episode, metres; 0 terminates none."""
    reward_terms: Mapping[str, Callable[[Floats, Floats, Floats], Floats]]
    """Term name -> function of the positions before and after the move and the goal."""
    task_parameters: Mapping[str, spaces.Space[Any]]
    """Task parameter -> its values."""
    wide_task_parameters: Mapping[str, spaces.Space[Any]]
    """Task parameter -> its values in tests beyond the training range, where they are wider."""
    task_units: Mapping[str, str]
    """Task parameter -> its unit."""
    task_elements: Mapping[str, Sequence[Sequence[str]]]
    """Task parameter that is an array -> along each axis the names of its elements."""
    horizon: int
    """Control steps until an episode is truncated."""
    view_half_width: float
    """Half-width of the pictures, metres."""
    published: Mapping[str, Published] = field(default_factory=dict)
    """What was trained -> its published returns, at this variant's own horizon alone. A problem derived from this one
    has none: ``replace(variant, ..., published={})``."""


FINN2017_RETURNS: Mapping[str, Published] = {
    "MAML, published": Published((-40.41, -11.68, -3.33, -3.23), episodes=40),
    "task given (context), published": Published((-42.42, -13.90, -5.17, -3.18), episodes=40),
    "random initialisation, published": Published((-82.66, -57.96, -53.84, -46.81), episodes=40),
    "oracle, published": Published((-2.29,), episodes=40),
}
"""Of arXiv 1703.03400, with its published result files."""


VARIANTS = {
    "finn2017": NavigationVariant(
        max_displacement=0.1,
        start_half_width=0.0,
        goal_half_width=0.01,
        reward_terms={"distance_cost": distance_cost},
        task_parameters={"goal": spaces.Box(-0.5, 0.5, (2,), np.float64)},
        wide_task_parameters={"goal": spaces.Box(-0.75, 0.75, (2,), np.float64)},
        task_units={"goal": "m"},
        task_elements={"goal": (("x", "y"),)},
        horizon=100,
        view_half_width=0.8,
        published=FINN2017_RETURNS,
    ),
    "rothfuss2019": NavigationVariant(
        max_displacement=0.2,
        start_half_width=0.2,
        goal_half_width=0.0,
        reward_terms={"progress_reward": progress_reward},
        task_parameters={"corner": spaces.Discrete(4)},
        wide_task_parameters={},
        task_units={"corner": ""},
        task_elements={},
        horizon=100,
        view_half_width=3.0,
    ),
    "dynamics": NavigationVariant(
        max_displacement=0.1,
        start_half_width=0.0,
        goal_half_width=0.01,
        reward_terms={"distance_cost": distance_cost},
        task_parameters={
            "wind": spaces.Box(-0.02, 0.02, (2,), np.float64),
            "gain": spaces.Box(0.5, 1.5, (), np.float64),
            "rotation": spaces.Box(-np.pi, np.pi, (), np.float64),
        },
        wide_task_parameters={"gain": spaces.Box(0.4, 2.0, (), np.float64)},
        task_units={"wind": "m/step", "gain": "", "rotation": "rad"},
        task_elements={"wind": (("x", "y"),)},
        horizon=100,
        view_half_width=0.8,
    ),
}


@final
class Navigation2D(TaskFamily):
    """``num_copies`` points in the plane. See the data sheet at the top of this file.

    Raises:
        ValueError: unknown variant.
    """

    variants: ClassVar[Mapping[str, NavigationVariant]] = VARIANTS
    frames_per_second = 10
    draw_episodes = staticmethod(draw_paths)

    def __init__(self, num_copies: int, variant: str | None = None, threads: int = 1) -> None:
        self._variant = select_variant("Navigation2D", VARIANTS, variant)
        self.observation_space = finite_box(2)
        self.action_space = normalised_box(2)
        parameters = self._variant.task_parameters
        self.task_space = spaces.Dict(deepcopy(dict(parameters)))
        self.wide_task_space = spaces.Dict(deepcopy({**parameters, **self._variant.wide_task_parameters}))
        self.task_units = self._variant.task_units
        self.task_elements = self._variant.task_elements
        self.reward_terms = tuple(self._variant.reward_terms)
        self._position = np.zeros((num_copies, 2))
        self._goal = np.zeros((num_copies, 2))
        self._actuation = np.zeros((num_copies, 2, 2))
        self._wind = np.zeros((num_copies, 2))
        self._history: list[Floats] = []
        self._began = np.zeros(num_copies, np.int64)

    @property
    def observation_names(self) -> tuple[str, ...]:
        """Where the point is."""
        return "x", "y"

    @property
    def observation_units(self) -> tuple[str, ...]:
        """Of both."""
        return "m", "m"

    def sample_task(self, generator: np.random.Generator, *, wide: bool = False) -> Task:
        """Draw every parameter uniformly."""
        return sample_uniform_task(self.wide_task_space if wide else self.task_space, generator)

    def set_tasks(self, copies: Copies, tasks: Task) -> None:
        """Keep the tasks as goals, actuation matrices and wind."""
        self._goal[copies] = goal_position(tasks)
        neutral = np.ones(len(copies))
        gain, rotation = tasks.get("gain", neutral), tasks.get("rotation", 0.0 * neutral)
        self._actuation[copies] = actuation(gain, rotation, self._variant.max_displacement)
        self._wind[copies] = tasks.get("wind", 0.0)

    def reset(self, copies: Copies, generators: Mapping[int, np.random.Generator]) -> None:
        """Put the copies at the origin, or at random around it."""
        half_width = self._variant.start_half_width
        self._position = self._position.copy()
        self._position[copies] = 0.0
        for copy in copies.tolist() if half_width else ():
            self._position[copy] = generators[copy].uniform(-half_width, half_width, 2)
        self._began[copies] = len(self._history)
        oldest = int(self._began.min())
        self._history = [*self._history[oldest:], self._position]
        self._began -= oldest

    def step(self, actions: Floats, running: Bools) -> Outcome:
        """Move by the actuated action and the wind; reward and termination are those of the new position."""
        before = self._position
        commanded = self._actuation[..., 0] * actions[:, 0:1] + self._actuation[..., 1] * actions[:, 1:2]
        self._position = np.where(running[:, None], before + commanded + self._wind, before)
        self._history.append(self._position)
        terms = {name: term(before, self._position, self._goal) for name, term in self._variant.reward_terms.items()}
        return Outcome(terms, is_reached(self._position, self._goal, self._variant.goal_half_width))

    def observe(self) -> Floats:
        """The positions, (num_copies, 2), metres."""
        return self._position.copy()

    def render(self, copy: int) -> npt.NDArray[np.uint8]:
        """The goal, and where this copy has been since its reset."""
        trail = [position[copy] for position in self._history[self._began[copy] :]]
        landmarks = CORNERS if "corner" in self.task_space.spaces else self._goal[copy, None]
        return draw_frame(np.array(trail), self._goal[copy], landmarks, self._variant.view_half_width)
