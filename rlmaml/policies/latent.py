"""A policy on a few numbers that say what a robot is like: a teacher tells them, or a student guesses from history."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.core.types import Carry, Memory, Params
from rlmaml.policies.gru import GruPolicy, seen_in
from rlmaml.policies.perceptron import init_perceptron, perceptron
from rlmaml.policies.sizes import Sizes
from rlmaml.settings.policy import LatentSettings

TEACHER, STUDENT, TOLD = "teacher.", "student.", "told"
SHIFT, LOWEST, HIGHEST = "latent.shift", "latent.lowest", "latent.highest"


class LatentPolicy(GruPolicy):
    """Kind ``latent`` (arXiv 2107.04034): Gaussian perceptron on the observation and a latent z.

    Its value reads these and the time, as that of :class:`GruPolicy` does.

    ``z = w μ(e) + (1 − w) φ(h)``: the teacher μ, a perceptron, reads the task's parameters e, which the observations of
    a training end in; the student φ, a linear layer, reads the memory h of a :class:`GruPolicy`. Both end in tanh. The
    weight w, the entry ``told``, is 1 where the teacher tells and 0 in theta: what is deployed guesses, and needs no
    parameters of the task. What a search finds on a robot is added to z, the entry ``latent.shift``, the context of
    this kind, and the sum is clamped between ``latent.lowest`` and ``latent.highest``; in theta these are 0, -1 and 1,
    and change nothing.

    Args:
        settings: of the network.
        sizes: of observations and actions.

    Raises:
        UserError: observations do not end in the task's parameters, the environment's actions are choices, or the
            scales do not fit its observations.
    """

    settings: LatentSettings

    def __init__(self, settings: LatentSettings, sizes: Sizes) -> None:
        super().__init__(settings, sizes)
        if not sizes.task:
            raise UserError("--policy latent has a teacher who reads the task's parameters; add --observe-task.")
        self.observed = sizes.observation - sizes.task
        self.told = TOLD
        self.context = (SHIFT,)
        self.bounds = (LOWEST, HIGHEST)

    def init(self, seed: int) -> Params:
        """Fresh theta."""
        latent = self.settings.latent
        teacher = init_perceptron((self.sizes.task, *self.settings.hidden, latent), seed + 1, output_scale=1.0)
        student = init_perceptron((self.settings.memory, latent), seed + 2, output_scale=1.0)
        return {
            **super().init(seed),
            **{TEACHER + name: tensor for name, tensor in teacher.items()},
            **{STUDENT + name: tensor for name, tensor in student.items()},
            TOLD: torch.zeros(()),
            SHIFT: torch.zeros(latent),
            LOWEST: -torch.ones(latent),
            HIGHEST: torch.ones(latent),
        }

    def teaching(self, params: Params) -> list[str]:
        """Names of the weights that are learned while the teacher tells."""
        return [name for name in params if name not in (*self.guessing(params), TOLD, *self.context, *self.bounds)]

    def guessing(self, params: Params) -> list[str]:
        """Names of the student's weights, its memory's among them."""
        return [name for name in params if name.startswith((STUDENT, "memory."))]

    def acting(self, params: Params) -> list[str]:
        """Names of all but the teacher's weights."""
        return [name for name in super().acting(params) if name != TOLD and not name.startswith(TEACHER)]

    def latents(
        self, params: Params, batch: Any, memory: Memory | None = None
    ) -> tuple[Float[Tensor, "*axes time latent"], Float[Tensor, "*axes time latent"]]:
        """The teacher's latent and the student's at every step of whole episodes or trials."""
        seen, raw = seen_in(batch, memory), self.raw(params)
        start = self.start(params, seen.observation.shape[:-2]) if memory is None else memory.carry
        memories = self._memories(raw, self._inputs(seen), start)
        return self._teacher(raw, seen.observation), self._student(raw, memories)

    def taught(self, params: Params, observations: Float[Tensor, "*axes obs"]) -> Float[Tensor, "*axes latent"]:
        """The teacher's latent at observations that end in the task's parameters."""
        return self._teacher(self.raw(params), observations)

    def describe(self) -> dict[str, Any]:
        """Memory, layers, scales and the size of the latent."""
        return {**super().describe(), "latent": self.settings.latent}

    def _width_read(self) -> int:
        return self.settings.latent

    def _read(self, raw: Params, observation: Tensor, memory: Carry) -> Tensor:
        """The observation without the task's parameters, and the latent."""
        latent = self._student(raw, memory)
        if TOLD in raw and observation.shape[-1] > self.observed:
            weight = raw[TOLD]
            weight = weight.view(-1, *[1] * (latent.dim() - 1)) if weight.dim() else weight
            latent = weight * self._teacher(raw, observation) + (1 - weight) * latent
        shift, lowest, highest = (broadcast_over_axes(raw[name], latent) for name in (SHIFT, LOWEST, HIGHEST))
        latent = torch.minimum(torch.maximum(latent + shift, lowest), highest)
        return torch.cat([observation[..., : self.observed], latent], -1)

    def _teacher(self, raw: Params, observation: Tensor) -> Tensor:
        return torch.tanh(self._part(raw, TEACHER)(observation[..., self.observed :]))

    def _student(self, raw: Params, memory: Tensor) -> Tensor:
        return torch.tanh(self._part(raw, STUDENT)(memory))

    def _part(self, raw: Params, prefix: str) -> Any:
        entries = {name.removeprefix(prefix): tensor for name, tensor in raw.items() if name.startswith(prefix)}
        return perceptron(entries, self.settings.activation)


def broadcast_over_axes(values: Float[Tensor, "*task latent"], latent: Float[Tensor, "*axes latent"]) -> Tensor:
    """One vector, or one for every task, so that it broadcasts over the axes between task and latent."""
    return values.view(len(values), *[1] * (latent.dim() - 2), -1) if values.dim() > 1 else values
