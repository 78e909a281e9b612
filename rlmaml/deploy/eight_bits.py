"""Policies and models with weights of 8 bits on many tasks: each task's are rounded after they have adapted."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from rlmaml.core.distributions import Gaussian
from rlmaml.core.policy import Act
from rlmaml.core.types import Carry, Examples, Memory, Meta, Outputs, Params
from rlmaml.deploy.adaptable import AdaptablePolicy
from rlmaml.deploy.carried_state import Controls
from rlmaml.deploy.export import Actor, export_program, load_onnx, write_int8, write_onnx
from rlmaml.deploy.robot import Actuation, normalised_actuation


class InEightBits:
    """Who acts or predicts by the 8-bit files of a policy (:func:`rlmaml.deploy.export.write_int8`), one for each task.

    They differ in their numbers alone: a pattern is exported once, and written again with those of each.

    Args:
        policy: as trained or adapted; it remembers nothing.
        folder: for files, which are kept no longer than they are needed.
        actuation: what the files give: by default actions within [-1, 1].

    Raises:
        UserError: the packages for ONNX are not installed, or the policy's actions are no vectors.
    """

    def __init__(self, policy: AdaptablePolicy, folder: Path, actuation: Actuation | None = None) -> None:
        self.policy, self.pattern = policy, folder / "pattern.onnx"
        self.actuation = actuation or normalised_actuation(policy.sizes.action)
        actor = patterned(policy, self.actuation)
        write_onnx(export_program(actor), self.pattern, actor, {})

    def start(self, params: Params, shape: tuple[int, ...]) -> Carry:  # noqa: ARG002
        """Nothing is remembered."""
        return ()

    def act(self, params: Params) -> Act:
        """The most likely actions under task parameters, without exploration."""
        mean = self.mean_of(params)
        return lambda seen, carry: (exactly(mean(seen.observation)), carry)

    def unroll(self, params: Params, batch: Examples) -> tuple[Outputs, Memory | None]:
        """What the model says of every task's examples, with the means of its files."""
        outputs, memory = self.policy.network.unroll(params, batch)
        means = self.mean_of(params)(batch.observations)
        return outputs._replace(distribution=outputs.distribution._replace(mean=means)), memory

    def mean_of(self, params: Params) -> Callable[[torch.Tensor], torch.Tensor]:
        """What the files of every task give, as a function of observations ``[task, ..., obs]``."""
        tasks = range(len(next(iter(params.values()))))
        alone = [Meta({name: tensor[task] for name, tensor in params.items()}, {}) for task in tasks]
        files = [self._rounded(replace(self.policy, meta=meta)) for meta in alone]

        def mean(observations: torch.Tensor) -> torch.Tensor:
            rows = observations.float().numpy()
            said = [file(own.reshape(-1, own.shape[-1])) for file, own in zip(files, rows, strict=True)]
            return torch.from_numpy(np.stack(said)).view(*observations.shape[:-1], -1)

        return mean

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """As the policy itself draws it, so that the same streams give the same initial states."""
        return self.policy.network.draw_noise(generator, shape)

    def _rounded(self, policy: AdaptablePolicy) -> Controls:
        """A policy as an 8-bit file, loaded."""
        exact, small = (self.pattern.with_name(f"{name}.onnx") for name in ("exact", "small"))
        write_with_numbers(self.pattern, exact, Actor(policy, self.actuation))
        write_int8(exact, small)
        return load_onnx(small)


def exactly(mean: torch.Tensor) -> Gaussian:
    """A distribution that hardly varies."""
    return Gaussian(mean, torch.full_like(mean, -10.0))


def patterned(policy: AdaptablePolicy, actuation: Actuation) -> Actor:
    """A policy's actor with random numbers in all places: of equal ones an exporter keeps a single copy."""
    actor, generator = Actor(policy, actuation), torch.Generator().manual_seed(0)
    for own in actor.parameters():
        own.copy_(torch.randn(own.shape, generator=generator))
    return actor


def write_with_numbers(source: Path, target: Path, actor: Actor) -> None:
    """Write the ONNX file of a :func:`patterned` actor again with the numbers of another one of the same kind.

    Raises:
        ValueError: its numbers are others than those of the file.
    """
    onnx = import_module("onnx")
    model, numbers = onnx.load(str(source)), dict(actor.named_parameters())
    for own in model.graph.initializer:
        if (tensor := numbers.pop(own.name, None)) is not None:
            if list(own.dims) != list(tensor.shape):
                raise ValueError(f"{own.name} is of shape {list(own.dims)}, and not {list(tensor.shape)}")
            own.CopyFrom(onnx.numpy_helper.from_array(tensor.detach().numpy(), own.name))
    if numbers:
        raise ValueError(f"the file has no {', '.join(numbers)}")
    onnx.save(model, str(target))
