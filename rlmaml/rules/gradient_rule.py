"""Gradient steps on a task's own loss: the place where the task axis meets a loss, and a gradient passes an update."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.base.random_streams import RandomStreams
from rlmaml.core.losses import POLICY_GRADIENTS, InnerLoss, policy_gradient
from rlmaml.core.policy import Policy
from rlmaml.core.types import Adaptation, Meta, Outputs, Params
from rlmaml.rules.inner_rule import StepJacobian
from rlmaml.settings.inner import InnerSettings


def task_losses(policy: Policy, params: Params, data: Any, loss: InnerLoss) -> Float[Tensor, " task"]:
    """``loss`` of every task on its own data, at its own parameters."""
    return losses_of(policy.unroll(params, data)[0], data, loss)


def losses_of(outputs: Outputs, data: Any, loss: InnerLoss) -> Float[Tensor, " task"]:
    """``loss`` of every task, from what its policy says to its data."""
    losses: Tensor = torch.func.vmap(loss)(outputs, data)
    return losses


@dataclass(frozen=True)
class GradientRule:
    """``φ_{k+1} = φ_k − α_k ∇L(φ_k)`` for every task (arXiv 1703.03400, equation 1).

    Where sizes are learned there is one per entry of the weights and step, as its logarithm, so that it stays positive
    (arXiv 1810.09502). Beyond the steps that were trained, the last one's size is used again.

    Attributes:
        steps: number of steps that are trained.
        step_sizes: α_k where none are learned; the last one serves all further steps.
        loss: L, of one task.
        learned: whether the sizes are learned, starting from ``step_sizes``.
        first_order: whether derivatives pass through the identity alone and not through ∇L (first-order MAML).
        entries: names of the weights that adapt; None for all.
    """

    steps: int
    step_sizes: tuple[float, ...]
    loss: InnerLoss
    learned: bool = False
    first_order: bool = False
    entries: tuple[str, ...] | None = None

    def rates(self, params: Params) -> Params:
        """Logarithms of the step sizes as they start, ``[step]`` for every entry that adapts; empty if not learned."""
        if not self.learned:
            return {}
        logs = torch.tensor([math.log(self._given(k)) for k in range(self.steps)])
        return {name: logs.to(params[name], copy=True) for name in self._adapting(params)}

    def begin(self, meta: Meta) -> Adaptation:
        """Every task starts at theta."""
        return Adaptation(meta.params)

    def step(
        self,
        policy: Policy,
        meta: Meta,
        adaptation: Adaptation,
        data: Any,
        k: int,
        streams: RandomStreams | None = None,  # noqa: ARG002 (nothing is drawn)
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
            gradients = torch.autograd.grad(
                losses_of(outputs, data, self.loss).sum(),
                [points[name] for name in names],
                create_graph=create_graph and not self.first_order,
                retain_graph=create_graph,
                materialize_grads=True,
            )
        moved = {
            name: params[name] - self._size(meta, params, name, k) * gradient
            for name, gradient in zip(names, gradients, strict=True)
        }
        return Adaptation(params | moved, outputs=outputs)

    def jacobian(
        self, policy: Policy, meta: Meta, before: Adaptation, after: Adaptation, k: int, *, bends_on: Any | None
    ) -> StepJacobian:
        """``dφ_{k+1} = (I − α H) dφ_k − g dα`` and its transpose, H and g being Hessian and gradient of every task's L.

        H is symmetric, so that both need its products alone: one backward pass each, through the graph of g. It is that
        of the loss on ``bends_on``; with first order it is left out, as where a gradient passes through the step.
        What a learned size moves, −α g, is the step itself.
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
        moves = {name: (after.params[name] - before.params[name]).detach() for name in meta.rates}

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
            for name, logs in rates.items():
                moved[name] = moved[name] + broadcastable(self._of_step(logs, k), moves[name]) * moves[name]
            return tangent | moved

        def transpose(cotangent: Params) -> tuple[Params, Params]:
            bent = hessian(
                {name: sizes[name] * c if name in sizes else torch.zeros_like(c) for name, c in cotangent.items()}
            )
            rates = {name: torch.zeros_like(logs) for name, logs in meta.rates.items()}
            for name, logs in rates.items():
                self._of_step(logs, k).copy_((moves[name] * cotangent[name]).flatten(1).sum(1))
            return {name: c - bent[name] for name, c in cotangent.items()}, rates

        return StepJacobian(forward, transpose, moves)

    def _adapting(self, params: Params) -> tuple[str, ...]:
        return tuple(params) if self.entries is None else self.entries

    def _given(self, k: int) -> float:
        return self.step_sizes[min(k, len(self.step_sizes) - 1)]

    @staticmethod
    def _of_step(logs: Float[Tensor, "*task step"], k: int) -> Float[Tensor, "*task"]:
        """The entry of step k, or the last one beyond the steps that were trained."""
        return logs[..., min(k, logs.shape[-1] - 1)]

    def _size(self, meta: Meta, params: Params, name: str, k: int) -> Tensor | float:
        """Size of step k for one entry, shaped to broadcast against it."""
        if not meta.rates:
            return self._given(k)
        return broadcastable(self._of_step(meta.rates[name], k).exp(), params[name])


def broadcastable(per_task: Float[Tensor, "*task"], values: Float[Tensor, "*axes"]) -> Float[Tensor, "*shape"]:
    """One number per task, shaped to broadcast against values with a leading task axis."""
    return per_task.view(*per_task.shape, *[1] * (values.dim() - per_task.dim()))


def gradient_rule(settings: InnerSettings) -> GradientRule:
    """The rule of some settings, with a policy-gradient loss."""
    return GradientRule(
        steps=settings.inner_steps,
        step_sizes=settings.inner_step_sizes,
        loss=policy_gradient(POLICY_GRADIENTS[settings.inner_loss]),
        learned=getattr(settings, "learn_step_sizes", False),
        first_order=getattr(settings, "first_order", False),
    )
