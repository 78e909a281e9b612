"""Proximal policy optimisation of a policy with a value on whole trials (arXiv 1707.06347, equation 9).

    J(θ) = E[min(r A, clip(r, 1 − ε, 1 + ε) A)] − c_V ½ E[(v − G)²] + c_H E[H],   r = π_θ / π_old

over all steps of all trials. The advantages A and returns G pass from one episode of a trial to the next (arXiv
1506.02438), so that what is learned in the first one for the sake of later ones is credited. They are discounted by
time, of which every episode takes its whole horizon: otherwise the next one would be worth more the sooner a robot
falls.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.algorithms.epochs import Losses
from rlmaml.algorithms.meta_algorithm import Learner
from rlmaml.core.distributions import Distribution
from rlmaml.core.losses import mean_over_steps
from rlmaml.core.returns import advantages_over_time
from rlmaml.core.surrogate import clipped_losses, divergences, entropies, replay_gap
from rlmaml.core.task_sums import TaskMean, largest
from rlmaml.core.types import Batch, Params
from rlmaml.sampling.trials import Trials, as_trials
from rlmaml.settings.advantages import AdvantageSettings
from rlmaml.settings.methods.ppo import PpoSettings

RETURN_SCALE = "return_scale"
"""In a state: the typical return, 0 before the first update; see :class:`Judged`."""
KEPT = 0.9
"""Share of the typical return that is kept at an update; the rest is the trials' at hand."""


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


class Judged(NamedTuple):
    """What theta makes of trials before an update."""

    lived: Lived
    return_scale: Float[Tensor, ""]
    """Root mean square of the returns to come, of which values are multiples."""
    value_error: float
    """Root mean square of value minus return, in units of reward."""
    replay_gap: float


def judged(
    learner: Learner,
    params: Params,
    trials: Trials,
    before: Float[Tensor, ""],
    *,
    mean: TaskMean,
    blocks: Sequence[Tensor],
    settings: AdvantageSettings,
) -> Judged:
    """Trials with their advantages and targets.

    Args:
        learner: policy and sums over tasks.
        params: theta.
        trials: of this process's tasks.
        before: the typical return so far; 0 for none.
        mean: which tasks are usable.
        blocks: this process's tasks, block by block.
        settings: discount, λ and scale.
    """
    with torch.no_grad():
        each = [_of_block(learner, params, trials.of(tasks), before, settings) for tasks in blocks]
    order = torch.cat(list(blocks)).argsort()
    policy = _of_tasks(_joined([said for said, _, _ in each]), order)
    values, advantages = (torch.cat(part)[order] for part in zip(*[rest for _, *rest in each], strict=True))
    returns = advantages + values * trials.valid
    count = mean.of(per_task(torch.ones_like(returns), trials))
    here = (mean.of(per_task(returns.square(), trials)) / count).sqrt()
    scale = torch.where(before > 0, KEPT * before + (1 - KEPT) * here, here)
    error = (mean.of(per_task(advantages.square(), trials)) / count).sqrt()
    centred = (advantages - mean.of(per_task(advantages, trials)) / count) * trials.valid
    spread = (mean.of(per_task(centred.square(), trials)) / count).sqrt()
    divisor = spread + 1e-8 if settings.advantage_scale is None else settings.advantage_scale
    lived = Lived(trials, policy, centred / divisor, returns / (scale + 1e-8))
    return Judged(lived, scale, float(error), largest(learner.sums, replay_gap(policy, trials)))


def _of_block(
    learner: Learner, params: Params, trials: Trials, scale: Tensor, settings: AdvantageSettings
) -> tuple[Distribution, Tensor, Tensor]:
    """What theta says of the trials of a block, its values in units of reward, and their advantages."""
    outputs, _ = learner.policy.unroll(params, trials)
    values = outputs.value * scale
    advantages = advantages_over_time(
        trials.rewards, values, trials.valid, trials.time, settings.discount, settings.gae_lambda
    )
    return outputs.distribution, values, advantages


def ppo_losses(learner: Learner, lived: Lived, settings: PpoSettings) -> Losses:
    """Minus the objective of every task, and its policy's mean KL from before."""

    def losses(params: Params, tasks: Tensor) -> tuple[Tensor, Tensor]:
        own = lived.of(tasks)
        outputs, _ = learner.policy.unroll(params, own.trials)
        new, errors = outputs.distribution, 0.5 * (outputs.value - own.targets).square()
        each = clipped_losses(new, own.policy, own, settings.clip)
        each = each + settings.value_weight * torch.func.vmap(mean_over_steps)(errors, own.valid)
        if settings.entropy_bonus:
            each = each - settings.entropy_bonus * entropies(new, own)
        return each, divergences(own.policy, new, own)

    return losses


def lived_trials(learner: Learner, stages: Sequence[Batch], horizon: int | None) -> Trials:
    """The stages' trials, as long as the longest of all processes, one step at least."""
    trials = as_trials(stages, horizon)
    return trials.until(max(1, int(largest(learner.sums, trials.valid.sum(-1).amax(-1).double()))))


def per_task(values: Float[Tensor, "task trial time"], trials: Trials) -> Float[Tensor, " task"]:
    """Sums over the steps of every task's trials."""
    return torch.where(trials.valid, values, 0.0).sum((-2, -1))


def _joined(policies: Sequence[Distribution]) -> Distribution:
    """Distributions of consecutive tasks as one."""
    return type(policies[0])(*(torch.cat(fields) for fields in zip(*policies, strict=True)))


def _of_tasks(policy: Distribution, tasks: Tensor) -> Distribution:
    return type(policy)(*(field[tasks] for field in policy))
