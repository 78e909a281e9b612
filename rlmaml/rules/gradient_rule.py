"""Gradient steps on a task's own loss: the place where the task axis meets a loss, and a gradient passes an update."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.core.losses import POLICY_GRADIENTS, InnerLoss, policy_gradient
from rlmaml.core.policy import Policy
from rlmaml.core.surrogate import divergences
from rlmaml.core.types import Adaptation, Meta, Outputs, Params
from rlmaml.rules.inner_rule import StepJacobian
from rlmaml.rules.rates import PerEntry, PerParameter, Rates, broadcastable, of_step
from rlmaml.settings.inner import InnerSettings


def task_losses(policy: Policy, params: Params, data: Any, loss: InnerLoss) -> Float[Tensor, " task"]:
    """``loss`` of every task on its own data, at its own parameters."""
    return losses_of(policy.unroll(params, data)[0], data, loss)


def losses_of(outputs: Outputs, data: Any, loss: InnerLoss) -> Float[Tensor, "task *part"]:
    """``loss`` of every task, from what its policy says to its data; several numbers of one that gives several."""
    losses: Tensor = torch.func.vmap(loss)(outputs, data)
    return losses


@dataclass(frozen=True)
class Towards:
    """Terms of an inner loss that hold task parameters near theta, and noise that shakes them.

    Attributes:
        l2: factor of ``½ ‖φ − θ‖²``.
        kl: factor of ``mean_steps KL(π_θ ‖ π_φ)`` on the task's own episodes.
        noise: standard deviation of normal noise that is added to every parameter after every step of a training.
    """

    l2: float = 0.0
    kl: float = 0.0
    noise: float = 0.0


@dataclass(frozen=True)
class GradientRule:
    """``φ_{k+1} = φ_k − α_k ∇L(φ_k)`` for every task (arXiv 1703.03400, equation 1).

    Beyond the steps that were trained, the last one's size is used again.

    Attributes:
        steps: number of steps that are trained.
        step_sizes: α_k where none are learned, and where learning begins; the last one serves all further steps.
        loss: L, of one task.
        learned: how sizes are learned; None for sizes that are as given.
        first_order: whether derivatives pass through the identity alone and not through ∇L (first-order MAML).
        first_order_until: meta-iteration from which they pass through ∇L as well.
        entries: names of the weights that adapt; None for all.
        reset: names of the weights that every task begins with at 0, whatever theta says (CAVIA's context).
        towards: further terms.
    """

    steps: int
    step_sizes: tuple[float, ...]
    loss: InnerLoss
    learned: Rates | None = None
    first_order: bool = False
    first_order_until: int = 0
    entries: tuple[str, ...] | None = None
    reset: tuple[str, ...] = ()
    towards: Towards = Towards()

    @property
    def remembers(self) -> bool:
        """It adapts by its parameters."""
        return False

    def during(self, iteration: int) -> "GradientRule":
        """First order before ``first_order_until``."""
        return dataclasses.replace(self, first_order=True) if iteration < self.first_order_until else self

    def rates(self, params: Params) -> Params:
        """Rates as they start, ``[step, ...]`` for every entry that adapts; empty if no sizes are learned."""
        if self.learned is None:
            return {}
        sizes = [self._given(k) for k in range(self.steps)]
        return {name: self.learned.start(sizes, params[name]) for name in self._adapting(params)}

    def begin(self, meta: Meta) -> Adaptation:
        """Every task starts at theta, but for what is reset."""
        zeros = {name: torch.zeros_like(meta.params[name]) for name in self.reset}
        return Adaptation(
            meta.params | {name: zero.requires_grad_(meta.params[name].requires_grad) for name, zero in zeros.items()}
        )

    def step(
        self,
        policy: Policy,
        meta: Meta,
        adaptation: Adaptation,
        data: Any,
        k: int,
        streams: RandomStreams | None = None,
        *,
        create_graph: bool = False,
    ) -> Adaptation:
        """One step for every task.

        One backward pass serves all tasks, because task i's loss depends on row i of the parameters alone.
        """
        params = adaptation.params
        points = params if create_graph else {name: p.detach().requires_grad_() for name, p in params.items()}
        names = self._adapting(params)
        with torch.enable_grad():
            outputs, _ = policy.unroll(points, data)
            losses = losses_of(outputs, data, self.loss) + self._held(policy, meta, points, outputs, data, k)
            gradients = torch.autograd.grad(
                losses.sum(),
                [points[name] for name in names],
                create_graph=create_graph and not self.first_order,
                retain_graph=create_graph,
                materialize_grads=True,
            )
        moved = {
            name: params[name] - self._size(meta, params, name, k) * gradient
            for name, gradient in zip(names, gradients, strict=True)
        }
        if self.towards.noise and streams is not None and streams.phase == Phase.TRAINING:
            moved = shaken(moved, self.towards.noise, k, streams)
        return Adaptation(params | moved, outputs=outputs, gradients=dict(zip(names, gradients, strict=True)))

    def jacobian(
        self, policy: Policy, meta: Meta, before: Adaptation, after: Adaptation, k: int, *, bends_on: Any | None
    ) -> StepJacobian:
        """``dφ_{k+1} = (I − α H) dφ_k − g dα`` and its transpose, H and g being Hessian and gradient of every task's L.

        H is symmetric, so that both need its products alone: one backward pass each, through the graph of g. It is that
        of the loss on ``bends_on``; with first order it is left out, as where a gradient passes through the step.
        What a learned size moves follows from the step's own gradient. Terms that hold φ near θ are left out.
        """
        points = {name: p.detach().requires_grad_() for name, p in before.params.items()}
        bends = bends_on is not None and not self.first_order
        bending: tuple[Tensor, ...] = ()
        if bends:
            with torch.enable_grad():
                total = task_losses(policy, points, bends_on, self.loss).sum()
                bending = torch.autograd.grad(total, list(points.values()), create_graph=True, materialize_grads=True)
        sizes = {
            name: torch.as_tensor(self._size(meta, points, name, k), dtype=points[name].dtype).detach()
            for name in self._adapting(points)
        }
        moves = {
            name: self.learned.move(after.gradients[name].detach(), sizes[name])
            for name in meta.rates
            if self.learned is not None
        }

        def hessian(vectors: Params) -> Params:
            if not bends:
                return {name: torch.zeros_like(vector) for name, vector in vectors.items()}
            read = [(g, v) for g, v in zip(bending, vectors.values(), strict=True) if g.requires_grad]  # by the loss
            images = torch.autograd.grad(
                [g for g, _ in read],
                list(points.values()),
                [v for _, v in read],
                retain_graph=True,
                materialize_grads=True,
            )
            return dict(zip(points, images, strict=True))

        def forward(tangent: Params, rates: Params) -> Params:
            bent = hessian(tangent)
            moved = {name: tangent[name] - size * bent[name] for name, size in sizes.items()}
            for name, rate in rates.items():
                moved[name] = moved[name] + broadcastable(of_step(rate, k), moves[name]) * moves[name]
            return tangent | moved

        def transpose(cotangent: Params) -> tuple[Params, Params]:
            bent = hessian(
                {name: sizes[name] * c if name in sizes else torch.zeros_like(c) for name, c in cotangent.items()}
            )
            rates = {name: torch.zeros_like(rate) for name, rate in meta.rates.items()}
            for name, rate in rates.items():
                assert self.learned is not None
                of_step(rate, k).copy_(self.learned.gathered(moves[name] * cotangent[name]))
            return {name: c - bent[name] for name, c in cotangent.items()}, rates

        return StepJacobian(forward, transpose, moves)

    def _adapting(self, params: Params) -> tuple[str, ...]:
        return tuple(params) if self.entries is None else self.entries

    def _given(self, k: int) -> float:
        return self.step_sizes[min(k, len(self.step_sizes) - 1)]

    def _size(self, meta: Meta, params: Params, name: str, k: int) -> Tensor | float:
        """Size of step k for one entry, shaped to broadcast against it."""
        if self.learned is None or not meta.rates:
            return self._given(k)
        return self.learned.size(of_step(meta.rates[name], k), params[name])

    def _held(self, policy: Policy, meta: Meta, params: Params, outputs: Outputs, data: Any, k: int) -> Tensor | float:
        """What holds φ near θ. In the first step, where both are the same, it is 0, and so is its derivative."""
        if k == 0:
            return 0.0
        held, start = torch.zeros(()), self.begin(meta).params
        if self.towards.l2:
            distances = [(params[name] - start[name]).square().flatten(1).sum(1) for name in params]
            held = held + 0.5 * self.towards.l2 * torch.stack(distances).sum(0)
        if self.towards.kl:
            theta, _ = policy.unroll(start, data)
            held = held + self.towards.kl * divergences(theta.distribution, outputs.distribution, data)
        return held


def shaken(params: Params, std: float, k: int, streams: RandomStreams) -> Params:
    """Task parameters with normal noise, each task's from its own stream."""
    generators = streams.parameter_noise_generators(k)
    noise = {
        name: torch.from_numpy(
            np.stack([generator.standard_normal(tensor.shape[1:], dtype=np.float32) for generator in generators])
        )
        for name, tensor in params.items()
    }
    return {name: tensor + std * noise[name].to(tensor) for name, tensor in params.items()}


def gradient_rule(settings: InnerSettings, policy: Policy, loss: InnerLoss | None = None) -> GradientRule:
    """The rule of some settings for a policy, with the policy-gradient loss that they name, or another loss."""
    learned: Rates = PerParameter() if getattr(settings, "step_sizes_per", "layer") == "parameter" else PerEntry()
    head = (*policy.head, *policy.exploration) if settings.adapt_std else policy.head
    entries = {"all": None, "head": head, "context": policy.context}[settings.adapt]
    return GradientRule(
        steps=settings.inner_steps,
        step_sizes=settings.inner_step_sizes,
        loss=loss or policy_gradient(POLICY_GRADIENTS[settings.inner_loss]),
        learned=learned if getattr(settings, "learn_step_sizes", False) else None,
        first_order=getattr(settings, "first_order", False),
        first_order_until=getattr(settings, "first_order_until", 0),
        entries=entries,
        reset=policy.context,
        towards=Towards(settings.inner_l2, settings.inner_kl, settings.parameter_noise),
    )
