"""What all robots share: a body, a task distribution and reward terms, put together as data.

``half_cheetah.py``, ``ant.py`` and the others are data sheets: each states its bodies, tasks and terms, and this
file runs them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, ClassVar, NamedTuple, TypeAlias, final

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rlmaml_envs.checks import check_names, check_numbers, check_words
from rlmaml_envs.control_units import control_names, control_units
from rlmaml_envs.controls import ControlFunction, Controlled, Mapped, commanded, control_ranges
from rlmaml_envs.family import (
    Bools,
    Copies,
    Floats,
    Outcome,
    PathDrawing,
    TaskFamily,
    finite_box,
    normalised_box,
    select_variant,
)
from rlmaml_envs.model_fields import is_looks
from rlmaml_envs.motion_drawing import MotionDrawing, height_of_root, moves_in_plane
from rlmaml_envs.observation_names import Entry
from rlmaml_envs.outputs import check_outputs
from rlmaml_envs.physics import Physics, Simulation, compiled, stored
from rlmaml_envs.published import Published
from rlmaml_envs.reading import read_only
from rlmaml_envs.robot_drawing import Marks, RobotCamera, RobotPictures, robot_body
from rlmaml_envs.simulator import mujoco
from rlmaml_envs.starts import said_of_start
from rlmaml_envs.switched_off import check_flags
from rlmaml_envs.tasks import Task, sample_uniform_task

State: TypeAlias = tuple[Floats, Floats] | tuple[Floats, Floats, Floats]
"""Positions (nq,) and velocities (nv,) of one copy, and activations (na,) of its actuators: without them, 0."""


class Motion(NamedTuple):
    """One control step of all copies, as the reward terms see it; nothing of it can be written."""

    velocity: Floats
    """Speed over the ground in x and y, (copy, 2) m/s."""
    position: Floats
    """Where the robot is after the step, (copy, 2) m."""
    actions: Floats
    """Normalised actions as the policy commands them, (copy, action)."""
    healthy: Bools
    """Whether the robot stands after the step, (copy,)."""
    physics: Physics
    """For terms that read more."""


@dataclass(frozen=True)
class Body:
    """A robot: its model and how it is started, stepped, observed and judged."""

    build: Callable[[], mujoco.MjModel]
    """Compiles the model."""
    simulation: Simulation
    initial_state: Callable[[mujoco.MjModel, np.random.Generator], State]
    """Draws the state in which an episode starts."""
    observe: Callable[[Physics], Floats]
    """The observations of all copies, (copy, observation)."""
    position: Callable[[Physics], Floats]
    """Where the robot is, (copy, 2) m."""
    observed: Callable[[mujoco.MjModel], Sequence[Entry]] | None = None
    """Name and unit of each number of an observation, for whoever builds one from sensors; None where nobody says.
    :mod:`rlmaml_envs.observation_names` has those of MuJoCo's state."""
    dict_space: spaces.Dict | None = None
    """Where an observation has several parts, the space whose flattened form ``observe`` gives; see
    :mod:`rlmaml_envs.parts`."""
    velocity: Callable[[Physics], Floats] | None = None
    """Its speed over the ground, (copy, 2) m/s; None for the change of ``position`` in a control step."""
    is_healthy: Callable[[Physics], Bools] | None = None
    """Whether the robot stands, (copy,); an episode in which it does not is terminated. None: always."""
    control_range: Controlled = None
    """What a full action commands, in the model's units and within each actuator's own ``ctrlrange``: one number, one
    per actuator, (control,), or lowest and highest, (control, 2); ``Around(offset, scale)`` a pose;
    ``Mapped(function, num_actions)``; None for each actuator's own whole range. See :mod:`rlmaml_envs.controls`."""
    control_units: Sequence[str] | None = None
    """Each control's unit; None for what follows from the model, :func:`rlmaml_envs.control_units.control_units`."""
    gymnasium_id: str | None = None
    """Gymnasium's environment with this robot, e.g. ``"Ant-v5"``, whose control step may be another; None for none."""
    camera: RobotCamera = field(default_factory=RobotCamera)


RewardTerm: TypeAlias = Callable[[Motion, Task], Floats]
"""A term of the reward, (copy,), from the step and the tasks of all copies.

Its numbers are kept in double precision; truth values and whole numbers are numbers, half precision is refused."""

ApplyChange: TypeAlias = Callable[[Physics, Copies, npt.NDArray[Any]], None]
"""Writes the values (n, ...) of a task parameter into the model fields of the listed copies."""

ChangeSignal: TypeAlias = Callable[[Floats, npt.NDArray[Any]], Floats]
"""A signal of all copies, (copy, n), and the values (copy, ...) of a task parameter -> the signal as it arrives."""


@dataclass(frozen=True)
class LocomotionVariant:
    """One exactly defined problem."""

    body: Body
    task_parameters: Mapping[str, spaces.Space[Any]]
    """Task parameter -> its values in training."""
    task_units: Mapping[str, str]
    """Task parameter -> its unit."""
    reward_terms: Mapping[str, RewardTerm]
    """Term name -> term; the reward is their sum in this order."""
    horizon: int = 200
    """Control steps until an episode is truncated; by default those of the robots of arXiv 1703.03400."""
    wide_task_parameters: Mapping[str, spaces.Space[Any]] = field(default_factory=dict)
    """Task parameter -> its values in tests beyond the training range, where they are wider."""
    sample_task: Callable[[spaces.Dict, np.random.Generator], Task] = sample_uniform_task
    """Draws one task of a space."""
    changes: Mapping[str, ApplyChange] = field(default_factory=dict)
    """Task parameter -> what it changes in the robot."""
    commands: Mapping[str, ChangeSignal] = field(default_factory=dict)
    """Task parameter -> what it does to the normalised actions on their way to the actuators, one after the other. The
    reward terms see the actions as the policy commands them."""
    readings: Mapping[str, ChangeSignal] = field(default_factory=dict)
    """Task parameter -> what it does to the observations on their way to the policy, one after the other."""
    task_labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Task parameter that is an index -> what its values 0, 1, ... mean."""
    task_elements: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    """Task parameter that is an array -> along each axis the names of its elements."""
    marks: Callable[[Task], Marks] = lambda task: Marks()
    """What a picture shows of one task."""
    published: Mapping[str, Published] = field(default_factory=dict)
    """What was trained -> its published returns, at this variant's own horizon alone. A problem derived from this one
    has none: ``replace(variant, ..., published={})``."""

    @cached_property
    def draw_episodes(self) -> PathDrawing:
        """How its episodes are drawn, with what the task asks."""
        model = compiled(self.body.build)
        return MotionDrawing(self.body.simulation.duration(model), self.marks, moves_in_plane(model))


@dataclass(frozen=True)
class LocomotionFamily:
    """An environment id's variants; called, it makes the worlds."""

    name: str
    variants: Mapping[str, LocomotionVariant]
    draw_episodes: ClassVar[PathDrawing | None] = None
    """That of its variants, which know what is asked."""

    def __call__(self, num_copies: int, variant: str | None = None, threads: int = 1) -> "Locomotion":
        """``num_copies`` robots of one variant, the first by default.

        Raises:
            ValueError: unknown variant, or a number of threads that is not positive.
        """
        chosen = select_variant(self.name, self.variants, variant)
        if not isinstance(threads, int) or threads < 1:
            raise ValueError(f"{self.name}: threads must be a positive integer; got {threads!r}.")
        return Locomotion(num_copies, chosen, threads)


LONGEST_TASK = 150
"""Characters of a task's parameters, above which the words of its marks say more."""
SHORTEST = 1e-6
"""Seconds of a control step below which there are none."""
STARTS = 32
"""Initial states that are looked at before a robot is one."""
SHORTEST_QUATERNION = 1e-6
"""Length below which MuJoCo takes a quaternion for that of no turn, whatever was meant."""
FARTHEST = 5.0
"""How far states are scattered while a family is tried out: m, rad, m/s and rad/s; the nearest are 100 times nearer."""


def check_body(body: Body, physics: Physics) -> None:
    """Refuse a robot whose functions do not give what :class:`Body` says, at the state that its model is built in.

    Initial states are drawn from several seeds, each twice.

    Raises:
        ValueError: names the function, what it gave and what is legal; or the model has no actuators, or not the body
            that the camera follows.
    """
    model, copies = physics.model, len(physics.qpos)
    if not model.nu:
        raise ValueError("The model has no actuators, so that nothing can be learned; add some to the MJCF file.")
    if not SHORTEST <= physics.duration < math.inf:
        raise ValueError(
            f"A control step of the model takes {physics.duration} s; it must be a finite time of at least {SHORTEST} "
            "s. Set the timestep in the option of the MJCF file."
        )
    robot_body(model, body.camera.body)
    check_outputs(model, body.simulation.outputs)
    built = stored(model)
    for seed in range(STARTS):
        check_start(body, model, seed)
    if stored(model) != built:
        raise ValueError("initial_state wrote into the model; let it change a copy, model.qpos0.copy().")
    if body.control_units is not None:
        check_words("control_units", body.control_units, model.nu, units=True)
    check_numbers("What observe gives", body.observe(physics), (copies, None), "(copy, observation)")
    if body.observed is not None:
        entries, size = body.observed(model), body.observe(physics).shape[1]
        if len(entries) != size or any(not isinstance(entry, tuple) or len(entry) != 2 for entry in entries):
            raise ValueError(
                f"observed must give a name and a unit, a tuple, for each of the {size} numbers that observe gives; "
                f"got {len(entries)}: {list(entries)!r:.200}."
            )
    check_numbers("What position gives", body.position(physics), (copies, 2), "(copy, 2)")
    if body.velocity is not None:
        check_numbers("What velocity gives", body.velocity(physics), (copies, 2), "(copy, 2)")
    if body.is_healthy is not None:
        check_numbers("What is_healthy gives", body.is_healthy(physics), (copies,), "(copy,)", kinds="b")


def drawn_state(body: Body, model: mujoco.MjModel, generator: np.random.Generator) -> State:
    """What the body's ``initial_state`` gives, as arrays of its own: it may fill the same ones anew each time."""
    state: Any = body.initial_state(model, generator)
    return tuple(np.array(part, subok=True) for part in state) if isinstance(state, tuple) else state


def check_start(body: Body, model: mujoco.MjModel, seed: int) -> None:
    """Refuse a state in which an episode cannot start, or that is not drawn from the generator alone.

    Raises:
        ValueError: names what was received and what is legal.
    """
    states = [drawn_state(body, model, np.random.default_rng(seed)) for _ in range(2)]
    for state in states:
        if not isinstance(state, tuple) or len(state) not in (2, 3):
            got = f"{len(state)} values" if isinstance(state, tuple) else type(state).__name__
            raise ValueError(f"initial_state must give (positions, velocities), or activations as well; got {got}.")
    sizes = {"positions": model.nq, "velocities": model.nv, "activations": model.na}
    for (part, size), first, second in zip(sizes.items(), *states, strict=False):
        axis = {"positions": "nq", "velocities": "nv", "activations": "na"}[part]
        check_numbers(f"The {part} of initial_state", first, (size,), f"({axis},)")
        if not np.array_equal(first, second):
            raise ValueError(
                f"initial_state gave the {part} {np.asarray(first)} and then {np.asarray(second)} for generators of "
                "the same seed. Draw from the generator that it is given, never from numpy.random, and keep nothing."
            )
    for name, place in quaternions(model).items():
        if np.linalg.norm(states[0][0][place]) < SHORTEST_QUATERNION:
            raise ValueError(
                f'The positions of initial_state hold the quaternion of the joint "{name}" at {place.start} to '
                f"{place.stop - 1}, which is 0 and no orientation. Begin with model.qpos0.copy()."
            )


def quaternions(model: mujoco.MjModel) -> dict[str, slice]:
    """Joint that turns freely, by name or number -> where its quaternion is among the positions."""
    starts = {int(mujoco.mjtJoint.mjJNT_FREE): 3, int(mujoco.mjtJoint.mjJNT_BALL): 0}
    free = [index for index in range(model.njnt) if int(model.jnt_type[index]) in starts]
    firsts = {index: int(model.jnt_qposadr[index]) + starts[int(model.jnt_type[index])] for index in free}
    return {model.joint(index).name or str(index): slice(first, first + 4) for index, first in firsts.items()}


@final
class Locomotion(TaskFamily):
    """``num_copies`` robots of one variant, stepped on ``threads`` threads."""

    physics: Physics

    def __init__(
        self, num_copies: int, variant: LocomotionVariant, threads: int, model: mujoco.MjModel | None = None
    ) -> None:
        self._variant = variant
        self._body = variant.body
        self._pictures: RobotPictures | None = None
        for what in ("changes", "commands", "readings"):
            check_names(what, getattr(variant, what), variant.task_parameters)
        check_names("wide_task_parameters", variant.wide_task_parameters, variant.task_parameters)
        known = model is not None
        model = compiled(self._body.build) if model is None else model
        check_flags(model, self._body.simulation.outputs)
        self._control_range = control_ranges(model, self._body.control_range)
        self.physics = Physics(model, num_copies, self._body.simulation, threads, self._control_range)
        if not known:
            check_body(self._body, self.physics)
        self.frames_per_second = max(1, round(1 / self.physics.duration))
        self.observation_space = finite_box(self._body.observe(self.physics).shape[1])
        self.dict_space = deepcopy(self._body.dict_space)
        asked = self._body.control_range
        self.action_space = normalised_box(asked.num_actions if isinstance(asked, Mapped) else model.nu)
        parameters = variant.task_parameters
        self.task_space = spaces.Dict(deepcopy(dict(parameters)))
        self.wide_task_space = spaces.Dict(deepcopy({**parameters, **variant.wide_task_parameters}))
        self.task_units = variant.task_units
        self.task_labels, self.task_elements = variant.task_labels, variant.task_elements
        self.reward_terms = tuple(variant.reward_terms)
        self._velocity = np.zeros((num_copies, 2))
        """Over the ground in the last step, m/s, for pictures."""
        self._height = height_of_root(model)
        self._tasks: Task = {
            name: np.zeros((num_copies, *(space.shape or ())), space.dtype) for name, space in parameters.items()
        }
        self.physics.sealed = True

    @property
    def control_range(self) -> Floats:
        """Lowest and highest control of each actuator, (control, 2), in the model's units."""
        return self._control_range.copy()

    @property
    def control_function(self) -> ControlFunction | None:
        """That of the body, where it has one."""
        asked = self._body.control_range
        return asked.function if isinstance(asked, Mapped) else None

    @property
    def control_names(self) -> tuple[str, ...]:
        """The actuators by name, or by number."""
        return control_names(self.physics.model)

    @property
    def control_units(self) -> tuple[str, ...]:
        """As the body says, or as follows from the model."""
        units = self._body.control_units
        return control_units(self.physics.model) if units is None else tuple(units)

    @property
    def observation_names(self) -> tuple[str, ...]:
        """As the body says, or by number."""
        observed = self._body.observed
        return (
            super().observation_names if observed is None else tuple(name for name, _ in observed(self.physics.model))
        )

    @property
    def observation_units(self) -> tuple[str, ...]:
        """As the body says, or none."""
        observed = self._body.observed
        return (
            super().observation_units if observed is None else tuple(unit for _, unit in observed(self.physics.model))
        )

    def few(self, num_copies: int) -> "Locomotion":
        """Robots of the same model."""
        return Locomotion(num_copies, self._variant, 1, self.physics.model)

    def changed_fields(self) -> Mapping[str, npt.NDArray[Any]]:
        """The model fields that tasks change, by name, without those that only pictures show."""
        return {name: values for name, values in self.physics.fields.items() if not is_looks(name)}

    def remarks(self) -> Sequence[str]:
        """What there is to say of changes of contacts, and of a start."""
        model = self.physics.model
        said = said_of_start(model, drawn_state(self._body, model, np.random.default_rng(0))[0])
        return (*dict.fromkeys(chain.from_iterable(self.physics.remarks.values())), *said)

    def built(self) -> bytes:
        """The model."""
        return stored(self.physics.model)

    def described(self) -> dict[str, Any]:
        """Seconds per control step, the joints by name, and what tasks change."""
        model, variant = self.physics.model, self._variant
        return {
            "seconds_per_step": self.physics.duration,
            "joints": [model.joint(index).name for index in range(model.njnt)],
            "changes": sorted(variant.changes),
            "commands": list(variant.commands),
            "readings": list(variant.readings),
        }

    def sample_task(self, generator: np.random.Generator, *, wide: bool = False) -> Task:
        """Draw from the variant's distribution over its task space, or over the wide one."""
        return self._variant.sample_task(self.wide_task_space if wide else self.task_space, generator)

    def set_tasks(self, copies: Copies, tasks: Task) -> None:
        """Keep the tasks for the reward, and change the robots as they say."""
        for name, values in tasks.items():
            self._tasks[name][copies] = values
        self.physics.sealed = False
        try:
            for name, change in self._variant.changes.items():
                change(self.physics, copies, tasks[name])
        finally:
            self.physics.sealed = True
        if self._variant.changes:
            self.physics.settle(copies)

    def reset(self, copies: Copies, generators: Mapping[int, np.random.Generator]) -> None:
        """Draw each copy's initial state from its own generator."""
        states = [drawn_state(self._body, self.physics.model, generators[copy]) for copy in copies.tolist()]
        self._velocity[copies] = 0.0
        self.physics.reset(copies, *(np.stack(rows) for rows in zip(*states, strict=True)))

    def scatter(self, copies: Copies, generators: Mapping[int, np.random.Generator]) -> None:
        """Each copy a distance of its own from an initial state, in every joint, and as fast: fallen, turned over."""
        model, states = self.physics.model, []
        for copy in copies.tolist():
            generator = generators[copy]
            qpos, qvel, *act = (part.astype(np.float64) for part in drawn_state(self._body, model, generator))
            size = FARTHEST * 10 ** generator.uniform(-2, 0)
            moved, faster = size * generator.normal(size=(2, model.nv))
            mujoco.mj_integratePos(model, qpos, moved, 1.0)
            states.append((qpos, qvel + faster, *act))
        self.physics.reset(copies, *(np.stack(rows) for rows in zip(*states, strict=True)))

    def readouts(self) -> Mapping[str, npt.NDArray[Any]]:
        """What the body says of the state besides observations."""
        body = self._body
        functions = {"position": body.position, "velocity": body.velocity, "is_healthy": body.is_healthy}
        return {
            f"What {name} gives": function(self.physics) for name, function in functions.items() if function is not None
        }

    def check_paths(self, actions: Floats) -> None:
        """Refuse a function of ``commands`` or ``readings`` that does not give a signal like the one it is given.

        Raises:
            ValueError: it gives another shape, which might be stretched unseen, or what is no finite number; or
                ``marks`` gives none.
        """
        marks = self._variant.marks(self._task_of(0))
        if not isinstance(marks, Marks):
            raise ValueError(f"marks must give what pictures show of a task, Marks(...); got {marks!r:.80}.")
        paths = {
            "commands": (self._variant.commands, actions, "(copy, action)"),
            "readings": (self._variant.readings, self._body.observe(self.physics), "(copy, observation)"),
        }
        for what, (path, given, axes) in paths.items():
            arriving = given
            for name, change in path.items():
                arriving = change(read_only(arriving), read_only(self._tasks[name]))
                check_numbers(f'What {what}["{name}"] gives', arriving, given.shape, axes)

    def step(self, actions: Floats, running: Bools) -> Outcome:
        """Step the physics, and judge where it led."""
        body, physics = self._body, self.physics
        before = np.array(body.position(physics))
        instability = physics.step(self.controls(actions), running)
        after = body.position(physics)
        motion = Motion(
            velocity=read_only(
                (after - before) / physics.duration if body.velocity is None else body.velocity(physics)
            ),
            position=read_only(after),
            actions=read_only(actions),
            healthy=read_only(np.ones(len(actions), np.bool_) if body.is_healthy is None else body.is_healthy(physics)),
            physics=physics,
        )
        tasks = {name: read_only(values) for name, values in self._tasks.items()}
        terms = {name: term(motion, dict(tasks)) for name, term in self._variant.reward_terms.items()}
        self._velocity = np.where(running[:, None], motion.velocity, self._velocity)
        return Outcome(terms, ~motion.healthy, instability)

    def controls(self, actions: Floats) -> Floats:
        """The actions, through what the tasks do to commands, in the units of the actuators."""
        arriving = self._arriving(actions, self._variant.commands)
        return commanded(arriving, self._control_range, self.control_function)

    def observe(self) -> Floats:
        """The observations of all copies, through what the tasks do to readings."""
        return np.array(self._arriving(self._body.observe(self.physics), self._variant.readings), np.float64)

    def tracked(self) -> Floats:
        """Position and speed over the ground, as the body says, and the height where its root goes up."""
        columns = [self._body.position(self.physics), self._velocity]
        if self._height is not None:
            place, below = self._height
            columns.append(self.physics.qpos[:, [place]] + below)
        return np.hstack(columns)

    def in_words(self, task: Task) -> str:
        """Every parameter with its unit, or, where these are many numbers, what pictures say of the task."""
        words = super().in_words(task)
        return self._variant.marks(task).text or words if len(words) > LONGEST_TASK else words

    def snapshot(self) -> dict[str, Any]:
        """The tasks, and the state of the physics."""
        own = {
            "tasks": {name: values.copy() for name, values in self._tasks.items()},
            "velocity": self._velocity.copy(),
        }
        return own | self.physics.snapshot()

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on as the robots of a snapshot do."""
        self._tasks, self._velocity = snapshot["tasks"], snapshot["velocity"]
        self.physics.restore(snapshot)

    def render(self, copy: int) -> npt.NDArray[np.uint8]:
        """The robot, followed by the camera, with what its task asks of it."""
        if self._pictures is None:
            self._pictures = RobotPictures(self.physics.model, self._body.camera)
        marks = self._variant.marks(self._task_of(copy))
        reached = marks.reached(self._body.position(self.physics)[copy], self._velocity[copy])
        return self._pictures.draw(self.physics.data_of(copy), marks, reached)

    def _task_of(self, copy: int) -> Task:
        return {name: values[copy].copy() for name, values in self._tasks.items()}

    def _arriving(self, signal: Floats, path: Mapping[str, ChangeSignal]) -> Floats:
        for name, change in path.items():
            signal = change(read_only(signal), read_only(self._tasks[name]))
        return signal
