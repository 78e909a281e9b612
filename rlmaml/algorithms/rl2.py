"""RL² (arXiv 1611.02779): a policy with memory learns, over trials of several episodes, what to do with it.

    max over θ of E_task E_trial Σ_t γ^t r_t,   a_t ~ π_θ(· | everything seen, done and earned in the trial so far),

t the time in the trial, by :mod:`rlmaml.algorithms.ppo`. What adapts to a task is the memory; theta stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from rlmaml.algorithms.adam import init_adam
from rlmaml.algorithms.epochs import Schedule, adam_epochs, mean_of, own_blocks
from rlmaml.algorithms.meta_algorithm import Learner
from rlmaml.algorithms.ppo import RETURN_SCALE, judged, lived_trials, ppo_losses
from rlmaml.base.regions import region
from rlmaml.core.parameters import flatten
from rlmaml.core.task_sums import mean_over_usable
from rlmaml.core.types import Batch, Meta, Params
from rlmaml.settings.advantages import AdvantageSettings
from rlmaml.settings.methods.ppo import PpoSettings
from rlmaml.settings.whole import Settings


class Rl2Report(NamedTuple):
    """What happened in a meta-update; KL in nats."""

    loss_before: float = 0.0
    """Minus the objective in the first epoch."""
    loss_after: float = 0.0
    """In the last epoch, each part before its step."""
    value_error: float = 0.0
    """Root mean square of value minus return before the update, in units of reward."""
    kl: float = 0.0
    """Mean KL old to new in the last epoch."""
    gradient_norm: float = 0.0
    """Mean over the first epoch, before it is cut."""
    step_norm: float = 0.0
    replay_gap: float = 0.0
    tasks_left_out: int = 0

    def numbers(self) -> dict[str, float]:
        """All of them."""
        return {name: float(value) for name, value in self._asdict().items()}


@dataclass(frozen=True)
class Rl2:
    """The meta-algorithm; Adam's moments and the typical return are its state.

    Attributes:
        settings: of the epochs.
        advantages: discount, λ and scale.
        horizon: steps of time that an episode takes, however soon it ends; None for as many as its data have.
    """

    settings: PpoSettings
    advantages: AdvantageSettings
    horizon: int | None = None
    reads_last_stage: bool = True

    def init(self, meta: Meta) -> Params:
        """Moments of 0, and no typical return yet."""
        return init_adam(meta.params) | {RETURN_SCALE: torch.zeros(())}

    def update(
        self, learner: Learner, meta: Meta, state: Params, stages: Sequence[Batch]
    ) -> tuple[Meta, Params, Rl2Report]:
        """Epochs of Adam on the same trials.

        Raises:
            NonFiniteError: the loss or its gradient's norm is NaN or infinite.
        """
        settings, mean = self.settings, mean_over_usable(learner.sums, [batch.valid for batch in stages])
        if not mean.num_usable:
            return meta, state, Rl2Report(tasks_left_out=mean.num_left_out)

        blocks = own_blocks(learner, len(stages[0].valid), settings.blocks)
        with region("trials"):
            before = judged(
                learner,
                meta.params,
                lived_trials(learner, stages, self.horizon),
                state[RETURN_SCALE],
                mean=mean,
                blocks=blocks,
                settings=self.advantages,
            )
        rate = settings.outer_step_size * settings.length(learner.streams.iteration)
        learnt = adam_epochs(
            learner,
            meta.params,
            list(meta.params),
            {name: tensor for name, tensor in state.items() if name != RETURN_SCALE},
            ppo_losses(learner, before.lived, settings),
            mean=mean,
            blocks=blocks,
            schedule=Schedule(settings.epochs, settings.minibatches, rate, settings.largest_gradient),
        )
        report = Rl2Report(
            loss_before=mean_of(learnt.sums[0], lambda sums: sums.loss),
            loss_after=mean_of(learnt.sums[-1], lambda sums: sums.loss),
            value_error=before.value_error,
            kl=mean_of(learnt.sums[-1], lambda sums: sums.divergence),
            gradient_norm=mean_of(learnt.sums[0], lambda sums: float(sums.gradient.norm())),
            step_norm=float((flatten(learnt.params.values()) - flatten(meta.params.values())).norm()),
            replay_gap=before.replay_gap,
            tasks_left_out=mean.num_left_out,
        )
        return Meta(learnt.params, meta.rates), learnt.moments | {RETURN_SCALE: before.return_scale}, report


def meta_algorithm(settings: Settings) -> Rl2:
    """The meta-algorithm of a run."""
    return Rl2(settings.outer, settings.advantages, settings.run.horizon)
