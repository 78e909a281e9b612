"""RMA, rapid motor adaptation (arXiv 2107.04034): a teacher is told the task; a student guesses from history.

    max over π, μ of E Σ_t γ^t r_t,   a_t ~ π(· | s_t, μ(e)),   by PPO on the teacher's episodes;
    min over φ of E ‖φ(s_0, a_0, r_0, …, s_t) − μ(e)‖²,   on the student's own episodes,

both in every meta-iteration. What is deployed is π(· | s_t, φ(history)), which needs no parameters e of the task.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rlmaml.algorithms.adam import init_adam
from rlmaml.algorithms.epochs import Losses, Schedule, adam_epochs, mean_of, own_blocks
from rlmaml.algorithms.meta_algorithm import Learner
from rlmaml.algorithms.ppo import RETURN_SCALE, judged, lived_trials, ppo_losses
from rlmaml.base.errors import UserError
from rlmaml.base.regions import region
from rlmaml.core.losses import mean_over_steps
from rlmaml.core.parameters import flatten
from rlmaml.core.policy import TaughtPolicy
from rlmaml.core.surrogate import replay_gap
from rlmaml.core.task_sums import largest, mean_over_usable
from rlmaml.core.types import Batch, Meta, Params
from rlmaml.sampling.trials import Trials
from rlmaml.settings.advantages import AdvantageSettings
from rlmaml.settings.methods.rma import RmaSettings
from rlmaml.settings.whole import Settings

TEACHING, GUESSING = "teaching/", "guessing/"
"""Prefixes of the moments of either Adam."""


class RmaReport(NamedTuple):
    """What happened in a meta-update; KL in nats."""

    loss_before: float = 0.0
    """Minus the teacher's objective in the first epoch."""
    loss_after: float = 0.0
    """In the last epoch, each part before its step."""
    value_error: float = 0.0
    """Root mean square of value minus return before the update, in units of reward."""
    kl: float = 0.0
    """Mean KL old to new in the teacher's last epoch."""
    latent_error_before: float = 0.0
    """Mean squared error of the student's latent, per number of it, in the first epoch."""
    latent_error_after: float = 0.0
    """In the last epoch, each part before its step."""
    step_norm: float = 0.0
    replay_gap: float = 0.0
    tasks_left_out: int = 0

    def numbers(self) -> dict[str, float]:
        """All of them."""
        return {name: float(value) for name, value in self._asdict().items()}


@dataclass(frozen=True)
class Rma:
    """The meta-algorithm; the moments of two Adams and the typical return are its state.

    Attributes:
        settings: of the epochs.
        advantages: discount, λ and scale.
        horizon: steps of time that an episode takes, however soon it ends; None for as many as its data have.
    """

    settings: RmaSettings
    advantages: AdvantageSettings
    horizon: int | None = None
    reads_last_stage: bool = True

    def init(self, meta: Meta) -> Params:
        """Moments of 0, and no typical return yet."""
        moments = init_adam(meta.params)
        both = {prefix + name: tensor for prefix in (TEACHING, GUESSING) for name, tensor in moments.items()}
        return both | {RETURN_SCALE: torch.zeros(())}

    def update(
        self, learner: Learner, meta: Meta, state: Params, stages: Sequence[Batch]
    ) -> tuple[Meta, Params, RmaReport]:
        """Epochs of Adam on the teacher's episodes, then on the student's.

        Raises:
            NonFiniteError: a loss or its gradient's norm is NaN or infinite.
            UserError: the policy has no teacher.
        """
        policy, settings = learner.policy, self.settings
        if not isinstance(policy, TaughtPolicy):
            raise UserError("rma needs --policy latent.")
        mean = mean_over_usable(learner.sums, [batch.valid for batch in stages])
        if not mean.num_usable:
            return meta, state, RmaReport(tasks_left_out=mean.num_left_out)

        theta, told = meta.params, policy.told
        guessing = policy.guessing(theta)
        teaching = policy.teaching(theta)
        blocks = own_blocks(learner, len(stages[0].valid), settings.blocks)
        rate = settings.length(learner.streams.iteration)
        with region("trials"):
            taught, guessed = (lived_trials(learner, part, self.horizon) for part in (stages[:1], stages[1:]))
            with_teacher = theta | {told: torch.ones_like(theta[told])}
            before = judged(
                learner,
                with_teacher,
                taught,
                state[RETURN_SCALE],
                mean=mean,
                blocks=blocks,
                settings=self.advantages,
            )
            gap = max(before.replay_gap, largest_gap(learner, theta, guessed, blocks))
        teacher = adam_epochs(
            learner,
            with_teacher,
            teaching,
            moments_of(state, TEACHING, teaching),
            ppo_losses(learner, before.lived, settings),
            mean=mean,
            blocks=blocks,
            schedule=Schedule(
                settings.epochs, settings.minibatches, rate * settings.outer_step_size, settings.largest_gradient
            ),
        )
        student = adam_epochs(
            learner,
            teacher.params | {told: theta[told]},
            guessing,
            moments_of(state, GUESSING, guessing),
            latent_losses(policy, guessed),
            mean=mean,
            blocks=blocks,
            schedule=Schedule(
                settings.student_epochs, settings.minibatches, rate * settings.student_step_size, torch.inf
            ),
        )
        report = RmaReport(
            loss_before=mean_of(teacher.sums[0], lambda sums: sums.loss),
            loss_after=mean_of(teacher.sums[-1], lambda sums: sums.loss),
            value_error=before.value_error,
            kl=mean_of(teacher.sums[-1], lambda sums: sums.divergence),
            latent_error_before=mean_of(student.sums[0], lambda sums: sums.loss),
            latent_error_after=mean_of(student.sums[-1], lambda sums: sums.loss),
            step_norm=float((flatten(student.params.values()) - flatten(theta.values())).norm()),
            replay_gap=gap,
            tasks_left_out=mean.num_left_out,
        )
        after = {TEACHING + name: tensor for name, tensor in teacher.moments.items()}
        after |= {GUESSING + name: tensor for name, tensor in student.moments.items()}
        params = {name: student.params[name] for name in theta}
        return Meta(params, meta.rates), state | after | {RETURN_SCALE: before.return_scale}, report


def largest_gap(learner: Learner, params: Params, trials: Trials, blocks: Sequence[Tensor]) -> float:
    """Largest ``|log π_replayed − log π_sampled|`` over all tasks' trials, in nats."""
    gaps = trials.rewards.new_zeros(len(trials.valid))
    for tasks in blocks:
        own = trials.of(tasks)
        with torch.no_grad():
            gaps[tasks] = replay_gap(learner.policy.unroll(params, own)[0].distribution, own)
    return largest(learner.sums, gaps)


def moments_of(state: Params, prefix: str, names: Sequence[str]) -> Params:
    """The moments of one Adam, of some weights."""
    own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    return {name: tensor for name, tensor in own.items() if "/" not in name or name.split("/", 1)[1] in names}


def latent_losses(policy: TaughtPolicy, trials: Trials) -> Losses:
    """Mean squared error of every task's guessed latents; there is no divergence."""

    def losses(params: Params, tasks: Tensor) -> tuple[Tensor, Tensor]:
        own = trials.of(tasks)
        told, guessed = policy.latents(params, own)
        errors = (guessed - told.detach()).square().mean(-1)
        each = torch.func.vmap(mean_over_steps)(errors, own.valid)
        return each, torch.zeros_like(each)

    return losses


def meta_algorithm(settings: Settings) -> Rma:
    """The meta-algorithm of a run."""
    return Rma(settings.outer, settings.advantages, settings.run.horizon)
