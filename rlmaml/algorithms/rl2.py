"""RL² (arXiv 1611.02779): a policy with memory learns, over trials of several episodes, what to do with it.

    J(θ) = E[min(r A, clip(r, 1 − ε, 1 + ε) A)] − c_V ½ E[(v − G)²] + c_H E[H],   r = π_θ / π_old   (arXiv 1707.06347)

over all steps of all trials, where π, the value v and the entropy H are of what was seen so far in the *trial*. The
advantages A and returns G pass from one episode of a trial to the next (arXiv 1506.02438), so that what is learned in
the first one for the sake of later ones is credited. One theta serves all tasks: gradients are those of whole blocks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlmaml.algorithms.adam import adam, init_adam
from rlmaml.algorithms.meta_algorithm import Learner
from rlmaml.base.errors import NonFiniteError
from rlmaml.base.regions import region
from rlmaml.core.distributions import Distribution
from rlmaml.core.losses import mean_over_steps
from rlmaml.core.parameters import flatten, unflatten
from rlmaml.core.returns import generalised_advantages
from rlmaml.core.surrogate import clipped_losses, divergences, entropies, replay_gap
from rlmaml.core.task_sums import TaskMean, largest, mean_over_usable, shares
from rlmaml.core.types import Batch, Meta, Params
from rlmaml.sampling.trials import Trials, as_trials
from rlmaml.settings.advantages import AdvantageSettings
from rlmaml.settings.methods.rl2 import Rl2Settings
from rlmaml.settings.whole import Settings

RETURN_SCALE = "return_scale"
"""Root mean square of the returns to come, of which values are multiples; 0 before the first update."""
KEPT = 0.9
"""Share of the typical return that is kept at an update; the rest is the trials' at hand."""


class Rl2Report(NamedTuple):
    """What happened in a meta-update; KL in nats."""

    loss_before: float
    """Minus the objective in the first epoch."""
    loss_after: float
    """In the last epoch, each part before its step."""
    value_error: float
    """Root mean square of value minus return before the update, in units of reward."""
    kl: float
    """Mean KL old to new in the last epoch."""
    gradient_norm: float
    """Mean over the first epoch, before it is cut."""
    step_norm: float
    replay_gap: float
    tasks_left_out: int

    def numbers(self) -> dict[str, float]:
        """All of them."""
        return {name: float(value) for name, value in self._asdict().items()}


class Lived(NamedTuple):
    """Trials, and what is held fixed while they are learned from."""

    trials: Trials
    policy: Distribution
    """Of the actions, before the update."""
    advantages: Float[Tensor, "task trial time"]
    """Centred and scaled over all trials."""
    targets: Float[Tensor, "task trial time"]
    """Returns to come, in units of the typical return."""

    @property
    def actions(self) -> Tensor:
        """Of the trials."""
        return self.trials.actions

    @property
    def valid(self) -> Tensor:
        """Of the trials."""
        return self.trials.valid

    def of(self, tasks: Tensor) -> "Lived":
        """Those of some tasks."""
        return Lived(self.trials.of(tasks), _of_tasks(self.policy, tasks), self.advantages[tasks], self.targets[tasks])


class Sums(NamedTuple):
    """Of one minibatch, over all tasks."""

    loss: float
    kl: float
    gradient: Float[Tensor, " parameter"]


@dataclass(frozen=True)
class Rl2:
    """The meta-algorithm; Adam's moments and the typical return are its state.

    Attributes:
        settings: of the epochs.
        advantages: discount, λ and scale.
    """

    settings: Rl2Settings
    advantages: AdvantageSettings
    reads_last_stage: bool = True

    def init(self, meta: Meta) -> Params:
        """Moments of 0, and no typical return yet."""
        return init_adam(meta.params) | {RETURN_SCALE: torch.zeros(())}

    def update(
        self, learner: Learner, meta: Meta, state: Params, stages: Sequence[Batch]
    ) -> tuple[Meta, Params, Rl2Report]:
        """Epochs of Adam on the same trials.

        Raises:
            NonFiniteError: the loss or its gradient is NaN or infinite.
        """
        mean = mean_over_usable(learner.sums, [batch.valid for batch in stages])
        if not mean.num_usable:
            return meta, state, Rl2Report(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, mean.num_left_out)

        blocks = own_blocks(learner, len(stages[0].valid), self.settings.blocks)
        with region("trials"):
            lived, scale, value_error, gap = self._lived(learner, meta, state[RETURN_SCALE], stages, mean, blocks)
        moments = {name: tensor for name, tensor in state.items() if name != RETURN_SCALE}
        rate = self.settings.outer_step_size * self.settings.length(learner.streams.iteration)
        params, epochs = meta.params, list[list[Sums]]()
        for epoch in range(self.settings.epochs):
            epochs.append([])
            for chosen in minibatches(learner, mean, epoch, self.settings.minibatches):
                with region("gradient"):
                    found = self._sums(learner, params, lived, mean, [own[chosen[own]] for own in blocks])
                epochs[-1].append(found)
                with region("outer_step"):
                    cut = min(1.0, self.settings.largest_gradient / (float(found.gradient.norm()) + 1e-12))
                    params, moments = adam(params, unflatten(cut * found.gradient, params), moments, rate)
        first, last = epochs[0], epochs[-1]
        report = Rl2Report(
            loss_before=mean_of([sums.loss for sums in first]),
            loss_after=mean_of([sums.loss for sums in last]),
            value_error=value_error,
            kl=mean_of([sums.kl for sums in last]),
            gradient_norm=mean_of([float(sums.gradient.norm()) for sums in first]),
            step_norm=float((flatten(params.values()) - flatten(meta.params.values())).norm()),
            replay_gap=gap,
            tasks_left_out=mean.num_left_out,
        )
        return Meta(params, meta.rates), moments | {RETURN_SCALE: scale}, report

    def _lived(
        self,
        learner: Learner,
        meta: Meta,
        before: Tensor,
        stages: Sequence[Batch],
        mean: TaskMean,
        blocks: Sequence[Tensor],
    ) -> tuple[Lived, Tensor, float, float]:
        """Trials with their advantages and targets; the new typical return; the value's error; the replay gap."""
        trials = as_trials(stages)
        trials = trials.until(max(1, int(largest(learner.sums, trials.valid.sum(-1).amax(-1).double()))))
        with torch.no_grad():
            judged = [self._judged(learner, meta.params, trials.of(tasks), before) for tasks in blocks]
        order = torch.cat(list(blocks)).argsort()
        policy = _of_tasks(_joined([said for said, _, _ in judged]), order)
        values, advantages = (torch.cat(part)[order] for part in zip(*[rest for _, *rest in judged], strict=True))
        gaps = replay_gap(policy, trials)
        returns = advantages + values * trials.valid
        count = mean.of(per_task(torch.ones_like(returns), trials))
        here = (mean.of(per_task(returns.square(), trials)) / count).sqrt()
        scale = torch.where(before > 0, KEPT * before + (1 - KEPT) * here, here)
        error = (mean.of(per_task(advantages.square(), trials)) / count).sqrt()
        centred = (advantages - mean.of(per_task(advantages, trials)) / count) * trials.valid
        spread = (mean.of(per_task(centred.square(), trials)) / count).sqrt()
        divisor = spread + 1e-8 if self.advantages.advantage_scale is None else self.advantages.advantage_scale
        lived = Lived(trials, policy, centred / divisor, returns / (scale + 1e-8))
        return lived, scale, float(error), largest(learner.sums, gaps)

    def _judged(
        self, learner: Learner, params: Params, trials: Trials, scale: Tensor
    ) -> tuple[Distribution, Tensor, Tensor]:
        """What theta says of the trials of a block, its values in units of reward, and their advantages."""
        outputs, _ = learner.policy.unroll(params, trials)
        values = outputs.value * scale
        discount, gae_lambda = self.advantages.discount, self.advantages.gae_lambda
        end = torch.zeros_like(values[..., 0])
        advantages = generalised_advantages(trials.rewards, values, end, trials.valid, discount, gae_lambda)
        return outputs.distribution, values, advantages

    def _sums(self, learner: Learner, params: Params, lived: Lived, mean: TaskMean, chosen: list[Tensor]) -> Sums:
        """Loss, divergence and gradient of a minibatch: means over its tasks.

        Args:
            learner: policy and sums.
            params: theta.
            lived: of all own tasks.
            mean: adds over the blocks of all processes.
            chosen: this process's tasks of the minibatch, block by block.
        """
        every = mean.total([torch.stack([self._of_block(learner, params, lived, tasks) for tasks in chosen])])
        if not every.isfinite().all():
            raise NonFiniteError("The loss or its gradient", "the rewards or the values of the trials are not usable")
        counted, loss, kl, gradient = every[0], every[1], every[2], every[3:]
        return Sums(float(loss / counted), float(kl / counted), gradient / counted)

    def _of_block(self, learner: Learner, params: Params, lived: Lived, tasks: Tensor) -> Float[Tensor, " number"]:
        """Number of tasks, sum of their losses, of their divergences, and the gradient of the losses' sum."""
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in params.items()}
        if not len(tasks):
            return torch.zeros_like(torch.cat([lived.targets.new_zeros(3), flatten(params.values())]))
        own = lived.of(tasks)
        outputs, _ = learner.policy.unroll(leaves, own.trials)
        losses = self._losses(outputs.distribution, outputs.value, own)
        gradient = torch.autograd.grad(losses.sum(), list(leaves.values()))
        kl = divergences(own.policy, outputs.distribution, own).detach().sum()
        numbers = torch.stack([torch.full_like(kl, len(tasks)), losses.detach().sum(), kl])
        return torch.cat([numbers, flatten(gradient)])

    def _losses(self, new: Distribution, values: Tensor, own: Lived) -> Float[Tensor, " task"]:
        """Minus the objective of every task."""
        settings = self.settings
        errors = torch.func.vmap(mean_over_steps)(0.5 * (values - own.targets).square(), own.valid)
        losses = clipped_losses(new, own.policy, own, settings.clip) + settings.value_weight * errors
        return losses - settings.entropy_bonus * entropies(new, own) if settings.entropy_bonus else losses


def own_blocks(learner: Learner, num_own: int, blocks: int) -> list[Tensor]:
    """This process's tasks block by block, as indices among its own; see :func:`rlmaml.core.task_sums.shares`."""
    (every,) = learner.sums.gather([torch.zeros(num_own)])
    ends = torch.tensor([block.stop for block in shares(len(every), blocks)])
    block = torch.bucketize(torch.tensor([*learner.streams.tasks]), ends, right=True)
    return [torch.nonzero(block == one).flatten() for one in sorted(set(block.tolist()))]


def minibatches(learner: Learner, mean: TaskMean, epoch: int, most: int) -> list[Bool[Tensor, " task"]]:
    """Which of this process's usable tasks are in every minibatch of an epoch.

    Which tasks are together follows from random numbers of the tasks' own, so that it depends neither on how many
    processes there are nor on the order of the tasks. There are no more minibatches than usable tasks.
    """
    keys = torch.tensor(learner.streams.minibatch_keys(epoch), dtype=torch.float64)
    keys = torch.where(mean.usable.cpu(), keys, torch.inf)
    (every,) = learner.sums.gather([keys])
    count = min(most, mean.num_usable)
    minibatch = torch.searchsorted(every.sort().values, keys) * count // mean.num_usable
    return [minibatch == index for index in range(count)]


def _joined(policies: Sequence[Distribution]) -> Distribution:
    """Distributions of consecutive tasks as one."""
    return type(policies[0])(*(torch.cat(fields) for fields in zip(*policies, strict=True)))


def _of_tasks(policy: Distribution, tasks: Tensor) -> Distribution:
    return type(policy)(*(field[tasks] for field in policy))


def per_task(values: Float[Tensor, "task trial time"], trials: Trials) -> Float[Tensor, " task"]:
    """Sums over the steps of every task's trials."""
    return torch.where(trials.valid, values, 0.0).sum((-2, -1))


def mean_of(numbers: Sequence[float]) -> float:
    """Their mean; 0 where there are none."""
    return math.fsum(numbers) / len(numbers) if numbers else 0.0


def meta_algorithm(settings: Settings) -> Rl2:
    """The meta-algorithm of a run."""
    return Rl2(settings.outer, settings.advantages)
