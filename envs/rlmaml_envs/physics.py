"""The only file that steps MuJoCo: all copies of a robot as one ``mujoco.batch.Batch``.

The batch holds every copy's state in C++ and steps the copies on native threads, with the same bits as one
simulation after the other. Model fields that a task changes are kept per copy.
"""

import ctypes
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import numpy.typing as npt

from rlmaml_envs.family import Bools, Copies, Floats
from rlmaml_envs.model_values import check_commanded, check_effect, plain, see_to
from rlmaml_envs.reading import read_only
from rlmaml_envs.simulator import Batch, SimulationError, mujoco
from rlmaml_envs.speed_limits import READ, speed_limits

GYMNASIUM_MODELS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
"""Where Gymnasium keeps the robots' MJCF files."""

CAUSES = {
    int(mujoco.mjtWarning.mjWARN_INERTIA): "singular inertia",
    int(mujoco.mjtWarning.mjWARN_CONTACTFULL): "too many contacts",
    int(mujoco.mjtWarning.mjWARN_CNSTRFULL): "too many constraints",
    int(mujoco.mjtWarning.mjWARN_BADQPOS): "position diverged",
    int(mujoco.mjtWarning.mjWARN_BADQVEL): "velocity diverged",
    int(mujoco.mjtWarning.mjWARN_BADQACC): "acceleration diverged",
    int(mujoco.mjtWarning.mjWARN_BADCTRL): "control diverged",
}
"""MuJoCo's warnings, and what an episode that ends by one says of it."""

Fresh = Literal["nothing", "velocities", "forces"]
_STAGES = {
    "nothing": mujoco.mjtStage.mjSTAGE_NONE,
    "velocities": mujoco.mjtStage.mjSTAGE_VEL,
    "forces": mujoco.mjtStage.mjSTAGE_ACC,
}


@dataclass(frozen=True)
class Simulation:
    """How a model is stepped."""

    substeps: int
    """Physics steps per control step."""
    outputs: tuple[str, ...] = ()
    """MjData fields that are read besides qpos and qvel, e.g. ``"subtree_com"``."""
    fresh: Fresh = "nothing"
    """What is computed anew at the state after a step. With ``"nothing"``, outputs belong to the last evaluation
    inside the last physics step, as after ``mj_step``."""
    fastest: float | None = None
    """The speed, m/s or rad/s, above which a simulation has gone unstable; None for what follows from the robot, see
    :func:`rlmaml_envs.speed_limits.speed_limits`."""
    persistent: bool = False
    """Whether each copy keeps its own MjData: ``fresh="velocities"`` then costs next to nothing, and memory more."""

    def __post_init__(self) -> None:
        """Check what can be checked without the model.

        Raises:
            ValueError: ``substeps`` is not a positive integer, there is no such ``fresh``, or ``outputs`` is one text.
        """
        if not isinstance(self.substeps, int) or isinstance(self.substeps, bool) or self.substeps < 1:
            raise ValueError(f"substeps must be a positive integer; got {self.substeps!r}.")
        if self.fresh not in _STAGES:
            raise ValueError(f"fresh must be one of {', '.join(_STAGES)}; got {self.fresh!r}.")
        if isinstance(self.outputs, str):
            raise ValueError(f"outputs must be a tuple of names; got a text. Write ({self.outputs!r},).")

    def duration(self, model: mujoco.MjModel) -> float:
        """Seconds of a control step."""
        return float(self.substeps * model.opt.timestep)


class Outputs(dict[str, Floats]):
    """Field of MjData -> its live array, of those that the simulation was asked for."""

    def __missing__(self, name: str) -> Floats:
        """Say what to ask for.

        Raises:
            KeyError: always.
        """
        raise KeyError(f"The simulation does not read {name}: list it in Simulation(outputs=...).")


class Physics:
    """``num_copies`` simulations of one robot.

    Args:
        model: the robot, which nobody may write to from now on.
        num_copies: how many.
        simulation: how it is stepped.
        threads: native threads, the caller's included. They change no bit of any result.
        controls: lowest and highest of each that is ever commanded, (nu, 2); None for the actuators' own ranges.

    Attributes:
        qpos, qvel, act: live arrays (num_copies, nq), (num_copies, nv) and (num_copies, na), that cannot be written.
        outputs: field name -> live array (num_copies, ...), likewise.
        fields: model field -> live array (num_copies, ...), of those that were asked for, likewise.
        duration: seconds per control step.
        remarks: (model field, names) that tasks change -> what is to be said of it.
        sealed: whether model fields are given to be read alone, as to everybody but the changes of a task.
    """

    sealed = False

    def __init__(
        self,
        model: mujoco.MjModel,
        num_copies: int,
        simulation: Simulation,
        threads: int,
        controls: Floats | None = None,
    ) -> None:
        self._process = os.getpid()
        self.model = model
        self.duration = simulation.duration(model)
        self._simulation = simulation
        self._commanded = controls
        self._fastest = np.repeat(speed_limits(model, simulation.fastest, controls), num_copies, axis=0)
        self._stage = _STAGES[simulation.fresh].value
        self._batch = Batch(model, num_copies, threads, simulation.persistent)
        self._live: tuple[Floats, ...] = tuple(self._batch.bind(name) for name in ("qpos", "qvel", "act"))
        self.qpos, self.qvel, self.act = map(read_only, self._live)
        self.outputs = Outputs({name: self._batch.bind(name) for name in simulation.outputs})
        self.fields: dict[str, npt.NDArray[Any]] = {}
        self._fields: dict[str, npt.NDArray[Any]] = {}
        self.remarks: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        self._controls = self._batch.bind("ctrl")
        self._before = self._batch.state.copy()

    def __del__(self) -> None:
        """In a forked process the batch is left alone: it would wait for threads that did not come along."""
        if self._process != os.getpid():
            _leave_alone(self._batch)

    def snapshot(self) -> dict[str, Any]:
        """All that changes, as new arrays, for :meth:`restore`."""
        fields = {name: values.copy() for name, values in self.fields.items()}
        outputs = {name: values.copy() for name, values in self.outputs.items()}
        return {"state": self._batch.state.copy(), "fields": fields, "outputs": outputs}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on, bit for bit, as the simulations of a snapshot do; they are as many, of the same robot."""
        everybody = np.arange(len(self.qpos))
        for name, values in snapshot["fields"].items():
            self._kept_per_copy(name)[:] = values
        if snapshot["fields"]:
            self.settle(everybody)
        self._batch.state[:] = snapshot["state"]
        self._forward(everybody)
        self._batch.state[:] = snapshot["state"]
        for name, values in snapshot["outputs"].items():
            live = self.outputs[name]
            assert isinstance(live.base, np.ndarray)
            live.base.view(live.dtype).reshape(live.shape)[:] = values

    def reset(self, copies: Copies, qpos: Floats, qvel: Floats, act: Floats | float = 0.0) -> None:
        """Start the listed copies at rest in everything but ``qpos`` (n, nq), ``qvel`` (n, nv) and ``act`` (n, na)."""
        if self._process != os.getpid():
            self._renew()
        self._batch.reset(ids=copies, stage=_STAGES["nothing"].value)
        for live, values in zip(self._live, (qpos, qvel, act), strict=True):
            live[copies] = values
        self._forward(copies)

    def step(self, controls: Floats, running: Bools) -> npt.NDArray[np.str_] | None:
        """Advance the running copies by one control step under ``controls`` (num_copies, nu).

        Returns:
            None, or, where a simulation went unstable, the cause of each copy, ``""`` for the sound ones. An
            unstable copy keeps the state that it had before the step.
        """
        np.copyto(self._before, self._batch.state)
        causes: dict[int, str] = {}
        try:
            self.advance(controls, running)
        except SimulationError as error:
            causes = {int(copy): self._batch.error(int(copy)) for copy in error.ids}
        if not causes and self._all_sound():
            return None
        warned = self._batch.warning[:, :, 1].any(axis=1)
        sound = np.isfinite(self.qpos).all(axis=1) & (np.abs(self.qvel) <= self._fastest).all(axis=1)
        for copy in np.flatnonzero((warned | ~sound) & running).tolist():
            causes.setdefault(copy, self._cause(copy))
        if not causes:
            return None
        unstable = np.array(sorted(causes), np.intp)
        self._batch.state[unstable] = self._before[unstable]
        self._forward(unstable)
        return np.array([causes.get(copy, "") for copy in range(len(self.qpos))])

    def advance(self, controls: Floats, running: Bools) -> None:
        """The bare step, with no look at what became of it.

        Raises:
            SimulationError: MuJoCo failed in some copies; the others went on.
        """
        np.copyto(self._controls, controls, where=running[:, None])
        with _quiet_mujoco():
            self._batch.step(ids=running, nstep=self._simulation.substeps, stage=self._stage)

    def field(self, name: str) -> npt.NDArray[Any]:
        """A model field with one value per copy, (num_copies, ...), to be written; to be read alone while ``sealed``.

        Raises:
            ValueError: there is no such field, or it cannot differ between copies.
        """
        if name == "opt.timestep":
            raise ValueError("The time step is the same for all copies: speeds are by the control step's one duration.")
        values = self._kept_per_copy(name)
        return self.fields[name] if self.sealed else values

    def check_once(self, field: str, names: Sequence[str]) -> None:
        """Refuse, before the first change of a field of named objects alone, one that would have no effect.

        The model as it was built decides. Raises as :func:`rlmaml_envs.model_values.check_effect` does.
        """
        changed = field, tuple(names)
        if changed not in self.remarks:
            self.remarks[changed] = check_effect(self.model, field, names)

    def settle(self, copies: Copies) -> None:
        """Recompute, for the listed copies, what MuJoCo derives from model fields. Call it after writing them.

        Raises:
            ValueError: a number would not do what it says, see :func:`rlmaml_envs.model_values.see_to`; or MuJoCo does
                not take it in a model that was built otherwise.
        """
        see_to(self.model, self._fields, copies)
        if self._commanded is not None:
            check_commanded(self.model, self._fields, copies)
        own = {name: self._fields[name][copies] for name in READ if name in self._fields}
        if own:
            self._fastest[copies] = speed_limits(self.model, self._simulation.fastest, self._commanded, own)
        try:
            with _quiet_mujoco():
                self._batch.set_const(ids=copies)
        except SimulationError as error:
            raise ValueError(f"MuJoCo refuses a change of the robot: {plain(self.model, str(error))}") from error

    def model_of(self, copy: int) -> mujoco.MjModel:
        """A copy's own model, with its fields."""
        return self._batch.get_model(copy)

    def data_of(self, copy: int) -> mujoco.MjData:
        """A copy's state as an MjData of its own, with everything computed."""
        data = self._batch.get_data(copy)
        with _quiet_mujoco():
            mujoco.mj_forward(self.model_of(copy), data)
        return data

    def _kept_per_copy(self, name: str) -> npt.NDArray[Any]:
        if name not in self._fields:
            self._fields[name] = self._batch.expand(name)
            self.fields[name] = read_only(self._fields[name])
        return self._fields[name]

    def _forward(self, copies: Copies) -> None:
        """Compute everything that follows from the state of the listed copies."""
        with _quiet_mujoco():
            self._batch.forward(ids=copies)

    def _renew(self) -> None:
        """In a forked process, where the batch has no threads any more: another batch in the same state."""
        snapshot, old = self.snapshot(), self._batch
        _leave_alone(old)
        Physics.__init__(self, self.model, len(self.qpos), self._simulation, old.nthread, self._commanded)
        self.restore(snapshot)

    def _all_sound(self) -> bool:
        """Whether no copy at all is in trouble; nearly always true, and cheaper than to look at each."""
        calm = np.isfinite(self.qpos).all() and (np.abs(self.qvel) <= self._fastest).all()
        return bool(calm and not self._batch.warning[:, :, 1].any())

    def _cause(self, copy: int) -> str:
        found = np.flatnonzero(self._batch.warning[copy, :, 1]).tolist()
        return "; ".join(CAUSES.get(warning, f"MuJoCo warning {warning}") for warning in found) or "velocity diverged"


def compiled(build: Callable[[], mujoco.MjModel]) -> mujoco.MjModel:
    """The model that is built.

    Warns:
        MuJoCo has something to say of it, such as that its file uses what is deprecated.
    """
    heard: list[str] = []
    with _quiet_mujoco(heard.append):
        model = build()
    for message in dict.fromkeys(heard):
        warnings.warn(f"MuJoCo says of a robot: {message}", stacklevel=3)
    return model


def stored(model: mujoco.MjModel) -> bytes:
    """A model as it is in this moment, in MuJoCo's own format."""
    buffer = np.zeros(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer.tobytes()


def _leave_alone(batch: Batch) -> None:
    """Never take a batch down: its destructor would wait for threads that a fork did not bring along."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(batch._b))


class _Quiet:
    """MuJoCo has one handler of warnings in a process: several threads that step share the silence."""

    def __init__(self) -> None:
        self.lock, self.steps = threading.Lock(), 0
        self.handler: Any = None


_QUIET = _Quiet()


@contextmanager
def _quiet_mujoco(handler: Callable[[str], None] | None = None) -> Iterator[None]:
    """MuJoCo neither prints a warning nor keeps it in MUJOCO_LOG.TXT: the batch counts it, and ``step`` names it.

    Args:
        handler: is told of it, unless another thread began the silence.
    """
    with _QUIET.lock:
        if not _QUIET.steps:
            _QUIET.handler = mujoco.get_mju_user_warning()
            mujoco.set_mju_user_warning(handler or _ignore)
        _QUIET.steps += 1
    try:
        yield
    finally:
        with _QUIET.lock:
            _QUIET.steps -= 1
            if not _QUIET.steps:
                mujoco.set_mju_user_warning(_QUIET.handler)


def _ignore(message: str) -> None:
    """What is done with a warning."""
