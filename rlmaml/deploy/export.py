"""A policy as files that run on a robot: a ``torch.export`` program, ONNX, ONNX with 8-bit weights, and its weights.

All of them map observations (batch, obs) to the robot's controls (batch, action): the most likely action, clipped to
[-1, 1] and stretched to the range of each actuator. The batch size is free. On the robot, ONNX needs onnxruntime alone,
and the program torch alone. The program's graph is a function of its weights and the observations::

    program = torch.export.load("policy.pt2")
    weights = tuple(program.parameters())
    (controls,) = program.graph_module(*weights, observations)

``program.module()(observations)`` gives the same, but checks every input first, which takes longer than to act.
"""

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.deploy.adaptable import AdaptablePolicy
from rlmaml.sampling.rollout import TaskEnvironment

ControlRange: TypeAlias = npt.NDArray[np.float64]
"""What the actions -1 and 1 command, (action, 2), in the units of the robot's actuators."""

Controls: TypeAlias = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Observations (batch, obs) to controls (batch, action)."""

LARGEST_DIFFERENCE = 1e-5
"""Between an exported policy's actions and the Python policy's, in normalised units."""


class Actor(torch.nn.Module):
    """The most likely action of a policy, in the robot's units.

    Args:
        policy: whose weights are taken.
        control_range: of each actuator.

    Raises:
        UserError: the policy's kind cannot be a function of observations alone.
    """

    def __init__(self, policy: AdaptablePolicy, control_range: ControlRange) -> None:
        super().__init__()
        self.network = policy.network.deterministic(policy.weights)
        self.observation_size = policy.sizes.observation
        middle, half = (torch.tensor(numbers, dtype=torch.float32) for numbers in middle_and_half(control_range))
        self.middle, self.half_width = torch.nn.Parameter(middle), torch.nn.Parameter(half)
        self.requires_grad_(False)

    def forward(self, observation: Tensor) -> Tensor:
        """Controls at each row of observations."""
        controls: Tensor = self.middle + self.half_width * self.network(observation).clamp(-1.0, 1.0)
        return controls


def middle_and_half(control_range: ControlRange) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What no action commands, and how much more a full one does, (action,) each."""
    low, high = np.asarray(control_range, np.float64).T
    return (high + low) / 2, (high - low) / 2


def to_actions(controls: npt.NDArray[np.float32], control_range: ControlRange) -> npt.NDArray[np.float64]:
    """The actions that command some controls, (batch, action) both."""
    middle, half = middle_and_half(control_range)
    return np.asarray((controls - middle) / half)


def export_program(actor: Actor) -> torch.export.ExportedProgram:
    """The actor as a program that needs none of this package, for any batch size."""
    example = torch.zeros(2, actor.observation_size)
    return torch.export.export(actor, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def write_onnx(program: torch.export.ExportedProgram, path: Path) -> None:
    """Write the program as one ONNX file with the input ``observation`` and the output ``control``.

    Raises:
        UserError: the packages for ONNX are not installed.
    """
    _onnx_module("onnxscript")
    with _quiet():
        torch.onnx.export(
            program,
            f=str(path),
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=["observation"],
            output_names=["control"],
        )


def write_int8(source: Path, target: Path) -> None:
    """Write an ONNX file again with its weights rounded to 8 bits.

    Raises:
        UserError: the packages for ONNX are not installed.
    """
    quantization = _onnx_module("onnxruntime.quantization")
    with _quiet():
        quantization.quantize_dynamic(str(source), str(target), weight_type=quantization.QuantType.QInt8)


def load_onnx(path: Path) -> Controls:
    """An ONNX file as a function, on one thread.

    Raises:
        UserError: the packages for ONNX are not installed.
    """
    onnxruntime = _onnx_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def controls(observations: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        (output,) = session.run(None, {"observation": observations})
        return np.asarray(output)

    return controls


def load_program(path: Path) -> Controls:
    """A ``torch.export`` program as a function; it is called as the top of this file says."""
    program = torch.export.load(path)
    graph, weights = program.graph_module, tuple(program.parameters())

    def controls(observations: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            (output,) = graph(*weights, torch.from_numpy(observations))
        return np.asarray(output)

    return controls


def largest_difference(
    controls: Controls, policy: AdaptablePolicy, control_range: ControlRange, seed: int = 0
) -> float:
    """Between an exported policy and the Python one, in normalised units, on random observations of several scales."""
    generator = np.random.default_rng(seed)
    worst = 0.0
    for batch, scale in ((1, 1.0), (7, 0.1), (256, 1.0), (256, 10.0)):
        seen = scale * generator.standard_normal((batch, policy.sizes.observation), dtype=np.float32)
        worst = max(worst, float(np.abs(to_actions(controls(seen), control_range) - policy.act(seen)).max()))
    return worst


def latency(controls: Controls, observation_size: int, repeats: int = 2000) -> float:
    """Median seconds per action for a single observation, after a tenth as many calls that do not count."""
    seen = np.zeros((1, observation_size), np.float32)
    times = []
    for _ in range(repeats + repeats // 10):
        start = time.perf_counter()
        controls(seen)
        times.append(time.perf_counter() - start)
    return float(np.median(times[repeats // 10 :]))


def mean_return(
    env: TaskEnvironment, controls: Controls, control_range: ControlRange, horizon: int, seed: int
) -> float:
    """Mean return of an exported policy over one episode in each copy of an environment."""
    observation, _ = env.reset(seed=[seed + copy for copy in range(env.num_envs)])
    returns = np.zeros(env.num_envs)
    for _ in range(horizon):
        actions = to_actions(controls(np.asarray(observation, np.float32)), control_range)
        observation, reward, terminated, truncated, _ = env.step(actions)
        returns += reward
        if (terminated | truncated).all():
            break
    return float(returns.mean())


def card(
    policy: AdaptablePolicy, control_range: ControlRange, task_units: dict[str, str], made_with: dict[str, Any]
) -> Any:
    """What a user of the files must know, as plain data."""
    run = policy.settings.run
    return {
        "family": run.env_id,
        "variant": run.variant,
        "task_units": task_units,
        "observation": {"size": policy.sizes.observation, "units": "as in the data sheet"},
        "control": {
            "size": policy.sizes.action,
            "range": control_range.tolist(),
            "units": "as in the data sheet",
            "meaning": "most likely action, clipped to [-1, 1], of which -1 and 1 are the ends of each control's range",
        },
        "network": {"kind": policy.settings.policy, **policy.network.describe()},
        "training": {
            "algorithm": policy.settings.algorithm,
            "meta_iterations": policy.iteration,
            "tasks": run.num_tasks,
            "episodes": run.num_episodes,
            "horizon": run.horizon,
            "seed": run.seed,
        },
        "steps_taken": policy.steps_taken,
        **made_with,
    }


def _onnx_module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(f"ONNX needs: pip install onnx onnxruntime onnxscript ({error}).") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks about itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
