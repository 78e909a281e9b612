"""A policy as files that run on a robot: a ``torch.export`` program, ONNX, ONNX with 8-bit weights, and its weights.

All of them map observations (batch, obs) to the robot's controls (batch, control): the most likely action, clipped to
[-1, 1] and stretched to the range of each actuator, or put through the robot's own function from actions to controls. A
policy with a memory also takes the last reward (batch,) and a state (batch, state), and gives the next state, with
which the next step is called. The batch size is free. On the robot, ONNX needs onnxruntime alone, and the program torch
alone. With :func:`~rlmaml.deploy.robot.normalised_actuation` they give actions instead, which is what the ``step`` of
an environment takes. What must be known of the numbers is in the files: in ``custom_metadata_map`` of ONNX, in the
extra files of the program, each entry of the card as JSON. The program's graph is a function of its numbers and its
inputs::

    program = torch.export.load("policy.pt2")
    numbers = (*program.parameters(), *program.tensor_constants.values())
    (controls,) = program.graph_module(*numbers, observations)

``program.module()(observations)`` gives the same, but checks every input first, which takes longer than to act.

Nothing here reads a program's file: ``torch.export.load`` executes what one holds (pickled objects, expressions, code
of the graph), and torch has no other way. Load programs of your own alone. The other files are numbers and text.
"""

import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.export import ExportedProgram

from rlmaml.base.as_before import Held, held_filters, held_process
from rlmaml.base.errors import UserError
from rlmaml.base.files import replacing, write_atomically
from rlmaml.base.plain_data import as_json
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.deploy.adaptable import AdaptablePolicy
from rlmaml.deploy.carried_state import Controls, Driven, how_to_carry
from rlmaml.deploy.driver import Driver
from rlmaml.deploy.fit import goes_on, trial_ends
from rlmaml.deploy.robot import Actuation, Robot, described_interface
from rlmaml.sampling.rollout import TaskEnvironment
from rlmaml.settings.checks import without_folders

Drive: TypeAlias = Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Observations and last rewards of copies to their controls, step after step of an episode."""
NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""Variable of the environment, with which ONNX Runtime leaves no trace."""
LARGEST_DIFFERENCE = 1e-5
"""Between an exported policy's actions and the Python policy's, in normalised units."""


class Actor(torch.nn.Module):
    """The most likely action of a policy, in the robot's units.

    Args:
        policy: whose weights are taken.
        actuation: of the robot.

    Raises:
        UserError: the policy's actions are no vectors, or the robot's function cannot take tensors.
    """

    @ordinary_torch()
    def __init__(self, policy: AdaptablePolicy, actuation: Actuation) -> None:
        super().__init__()
        self.network = policy.network.deterministic(policy.weights)
        self.observation_size = policy.observed
        self.state_size = int(getattr(self.network, "state_size", 0))
        self.function, self.output, self.clipped = actuation.function, actuation.output, actuation.clipped
        if self.function is None:
            self.middle, self.half_width = (
                torch.nn.Parameter(torch.tensor(numbers, dtype=torch.float32))
                for numbers in (actuation.middle, actuation.half_width)
            )
        else:
            check_takes_tensors(self.function, policy.sizes.action)
        self.requires_grad_(False)

    def forward(self, observation: Tensor, *remembered: Tensor) -> Any:
        """Controls at each row of observations; given last rewards and states, the next states as well."""
        if not remembered:
            return self._controls(self.network(observation))
        actions, state = self.network(observation, *remembered)
        return self._controls(actions), state

    @ordinary_torch()
    def inputs(self, batch: int) -> dict[str, Tensor]:
        """Inputs by name, all 0: those of the first step of a trial."""
        named = {"observation": torch.zeros(batch, self.observation_size)}
        if self.state_size:
            named |= {"reward": torch.zeros(batch), "state": torch.zeros(batch, self.state_size)}
        return named

    def _controls(self, actions: Tensor) -> Tensor:
        taken = actions.clamp(-1.0, 1.0) if self.clipped else actions
        return self.middle + self.half_width * taken if self.function is None else self.function(torch, taken)


def check_takes_tensors(function: Callable[[Any, Any], Any], num_actions: int) -> None:
    """Refuse a robot's function from actions to controls that numpy can compute and torch cannot.

    Raises:
        UserError: says how it failed.
    """
    try:
        controls = function(torch, torch.zeros(2, num_actions))
        made = f"{type(controls).__name__} of {getattr(controls, 'dtype', 'no type')}"
    except Exception as error:
        controls, made = None, repr(error)
    if not (isinstance(controls, Tensor) and controls.dtype == torch.float32):
        raise UserError(
            "The robot's function from actions to controls cannot be exported: of torch's float32 tensors it makes "
            f"{made}. Write it with operators and functions of its first argument, xp, which is torch here, "
            "and arrays of its own as xp.asarray(numbers, dtype=actions.dtype)."
        )


def commanded_controls(actions: npt.NDArray[Any], actuation: Actuation) -> npt.NDArray[np.float64]:
    """What actions (batch, action) command, (batch, control)."""
    if actuation.function is None:
        return np.asarray(actuation.middle + actuation.half_width * actions)
    return np.asarray(actuation.function(np, actions.astype(np.float64)))


def as_metadata(card: dict[str, Any]) -> dict[str, str]:
    """A card as a file keeps it: each entry as JSON."""
    return {name: as_json(value) for name, value in card.items()}


@contextmanager
def _apart() -> Iterator[None]:
    """The process is as before after this block, and the disk: torch's compiler makes a folder when it is loaded.

    Files do not depend on the caller's torch: a default type, or automatic mixed precision, would be written into them.
    """
    with ordinary_torch(), held_process(), TemporaryDirectory() as folder:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", folder)
        yield


@_apart()
def export_program(actor: Actor) -> ExportedProgram:
    """The actor as a program for any batch size that needs none of this package, and does not say where it was made."""
    example, batch = tuple(actor.inputs(2).values()), torch.export.Dim("batch")
    first, *rest = ({0: batch} for _ in example)
    program = torch.export.export(actor, example, dynamic_shapes=(first, tuple(rest)) if rest else (first,))
    for node in program.graph.nodes:  # the files would hold paths of this machine
        node.meta.pop("stack_trace", None)
        modules = node.meta.get("nn_module_stack", {})  # a class of a user's own file is named by its whole path
        node.meta["nn_module_stack"] = {key: (name, without_folders(kind)) for key, (name, kind) in modules.items()}
    return program


@_apart()
def write_program(program: ExportedProgram, path: Path | str, metadata: Mapping[str, str]) -> Controls:
    """Write the program with its metadata, which ``torch.export.load(path, extra_files={name: ""})`` reads by name.

    Returns:
        What was written as a function, read back from the very bytes that went to the file, not from the file, which
        somebody else may have replaced.
    """
    written = io.BytesIO()
    torch.export.save(program, written, extra_files=dict(metadata))
    write_atomically(path, written.getvalue())
    written.seek(0)
    again = torch.export.load(written)
    graph, numbers = again.graph_module, (*again.parameters(), *again.tensor_constants.values())

    def controls(*inputs: npt.NDArray[np.float32]) -> Any:
        with ordinary_torch(), torch.no_grad():
            return _one_or_all(graph(*numbers, *map(torch.from_numpy, inputs)))

    return controls


@_apart()
def write_onnx(program: ExportedProgram, path: Path | str, actor: Actor, metadata: Mapping[str, str]) -> None:
    """Write the program as one ONNX file with the input ``observation`` and the output ``control``, or ``action``.

    Where it remembers, ``reward`` and ``state`` are inputs, and ``next_state`` is an output, too.

    Args:
        program: of the actor.
        path: the file.
        actor: whose inputs and outputs are named.
        metadata: text by name, which the file keeps; onnxruntime gives it as ``custom_metadata_map``.

    Raises:
        UserError: the packages for ONNX are not installed.
    """
    _onnx_module("onnxscript")
    remembers = bool(actor.state_size)
    with replacing(path) as target, _quiet():
        written = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=["observation", *["reward", "state"] * remembers],
            output_names=[actor.output, *["next_state"] * remembers],
        )
        assert written is not None
        written.model.metadata_props.update(metadata)
        written.save(target, external_data=False)


@_apart()
def write_int8(source: Path | str, target: Path | str) -> None:
    """Write an ONNX file again with its weights rounded to 8 bits.

    Raises:
        UserError: the packages for ONNX are not installed.
    """
    quantization = _onnx_module("onnxruntime.quantization")
    with replacing(target) as written, _quiet():
        quantization.quantize_dynamic(str(source), str(written), weight_type=quantization.QuantType.QInt8)


@_apart()
def load_onnx(path: Path | str) -> Controls:
    """An ONNX file as a function, on one thread.

    Raises:
        UserError: the packages for ONNX are not installed, or the file is missing, damaged or none of ONNX.
    """
    onnxruntime = _onnx_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is missing, damaged or no exported policy: {said}. Export it again.") from error
    names = [one.name for one in session.get_inputs()]

    def controls(*inputs: npt.NDArray[np.float32]) -> Any:
        return _one_or_all(session.run(None, dict(zip(names, inputs, strict=True))))

    return controls


def largest_difference(controls: Controls, policy: AdaptablePolicy, actuation: Actuation, seed: int = 0) -> float:
    """Between an exported policy and the Python one, on random observations of several scales.

    It is in normalised units: a share of half the range of each actuator.

    A policy that remembers is followed through a whole episode, and through the next one where it goes on into that.

    Raises:
        UserError: the policy remembers, and its settings do not say how long an episode is.
    """
    generator = np.random.default_rng(seed)
    steps = policy.settings.run.horizon if policy.remembers else 1
    if steps is None:
        raise UserError(
            "A policy that remembers is compared with its files over whole episodes, and its settings have --horizon "
            "None. Give it one: dataclasses.replace(policy, settings=policy.settings.changed(horizon=200))."
        )
    followed = 2 if goes_on(policy) and not trial_ends(policy, 1) else 1
    worst = 0.0
    for copies, scale in ((1, 1.0), (7, 0.1), (256, 1.0), (256, 10.0)):
        ours, theirs = Driven(controls, policy, copies), Driver(policy, copies)
        rewards = np.zeros(copies, np.float32)
        for step in range(followed * steps):
            if step == steps:
                ours.go_on()
                theirs.begin(go_on=True)
            seen = scale * generator.standard_normal((copies, policy.observed), dtype=np.float32)
            difference = ours(seen, rewards) - commanded_controls(theirs.act(seen, rewards), actuation)
            worst = max(worst, float(np.abs(difference / actuation.half_width).max()))
            rewards = generator.standard_normal(copies, dtype=np.float32)
    return worst


def returns_of(
    env: TaskEnvironment, drive: Drive, actuation: Actuation, horizon: int, seed: int
) -> npt.NDArray[np.float64]:
    """Return of an exported policy over one episode in each copy of an environment, (copy,).

    Raises:
        UserError: controls are a function of the actions, which says nothing of what actions a control comes from.
    """
    if actuation.function is not None:
        raise UserError("The return of files whose controls are a function of the actions cannot be measured.")
    observation, _ = env.reset(seed=RandomStreams(seed, Phase.EVALUATION).initial_state_seeds(0, [0], env.num_envs))
    returns, reward = np.zeros(env.num_envs), np.zeros(env.num_envs)
    for _ in range(horizon):
        controls = drive(np.asarray(observation, np.float32), reward.astype(np.float32))
        actions = (controls - actuation.middle) / actuation.half_width
        observation, reward, terminated, truncated, _ = env.step(actions)
        returns += reward
        if (terminated | truncated).all():
            break
    return returns


def card(policy: AdaptablePolicy, robot: Robot, made_with: dict[str, Any]) -> dict[str, Any]:
    """What a user of the files must know, as plain data."""
    run = policy.settings.run
    return {
        "family": run.env_id,
        "variant": run.variant,
        **described_interface(robot, policy.observed, policy.sizes.action),
        "horizon": run.horizon,
        "network": {"kind": without_folders(policy.settings.policy), **policy.network.describe()},
        "memory": how_to_carry(policy) if policy.remembers else None,
        "training": {
            "algorithm": policy.settings.algorithm,
            "variant": policy.family.get("sheet", {}).get("variant", run.variant),
            "meta_iterations": policy.iteration,
            "tasks": run.num_tasks,
            "episodes": run.num_episodes,
            "horizon": run.horizon,
            "seed": run.seed,
        },
        "steps_taken": policy.steps_taken,
        "adaptation": dict(policy.adaptation),
        **made_with,
    }


def _one_or_all(outputs: Sequence[Any]) -> Any:
    """Outputs as arrays; a single one by itself."""
    arrays = [np.asarray(output) for output in outputs]
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


def _onnx_module(name: str) -> Any:
    """A package for ONNX, which sends nothing about its use, and keeps nothing for that.

    ONNX Runtime looks at this variable when it is imported; what it offers to be called later comes too late.
    """
    try:
        with held_process():
            os.environ[NO_TELEMETRY] = "1"
            return import_module(name)
    except ImportError as error:
        raise UserError(f"ONNX needs: pip install onnx onnxruntime onnxscript ({error}).") from error


_no_remarks = Held(lambda: logging.root.manager.disable, logging.disable, lambda before: max(before, logging.WARNING))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks about itself."""
    with held_filters(), _no_remarks():
        warnings.simplefilter("ignore")
        yield
