"""What adaptation changed in a policy: how far each layer moved, how far the actions, and how much still varies."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.core.adapt import adapt_in_steps
from rlmaml.core.losses import INNER_LOSSES
from rlmaml.core.parameters import detach, policy_parameters, with_task_axis
from rlmaml.core.types import Params
from rlmaml.evaluation.evaluate import Evaluation
from rlmaml.policies.policy import Policy
from rlmaml.sampling.episodes import to_batch
from rlmaml.settings.config import TrainConfig


class Effects(NamedTuple):
    """Means over tasks; entry k belongs to the policy after k + 1 inner steps, of ``entropy`` to that after k."""

    layers: dict[str, Float[Tensor, " step"]]
    """Entry of the parameters -> ``‖φ_k − θ‖ / ‖θ‖``."""
    kl: Float[Tensor, " step"]
    """``KL(π_θ ‖ π_φk)`` per step in nats, on what the policy saw before it adapted."""
    entropy: Float[Tensor, " stage"]
    """Differential entropy of the policy's actions in nats."""


def adaptation_effects(policy: Policy, theta: Params, config: TrainConfig, evaluation: Evaluation) -> Effects:
    """What the inner steps of an evaluation did to the policy, computed again from its episodes.

    Args:
        policy: the policy.
        theta: meta-parameters.
        config: settings of the inner steps, as evaluated.
        evaluation: with at least one inner step.
    """
    rollouts = evaluation.rollouts
    steps = len(rollouts) - 1
    stages = adapt_in_steps(
        policy,
        detach(with_task_axis(theta, len(evaluation.returns))),
        [to_batch(sampled, config) for sampled in rollouts[:-1]],
        loss=INNER_LOSSES[config.inner_loss],
        step_sizes=config.step_sizes(steps),
    )
    with torch.no_grad():
        seen, valid = rollouts[0].observations, rollouts[0].valid
        distributions: list[Any] = [policy(params, seen) for params in stages]

        def mean(values: Tensor) -> Tensor:
            return (values * valid).sum() / valid.sum()

        return Effects(
            layers={
                name: torch.stack([_relative_change(params[name], start) for params in stages[1:]])
                for name, start in policy_parameters(theta).items()
            },
            kl=torch.stack([mean(distributions[0].kl(after)) for after in distributions[1:]]),
            entropy=torch.stack([mean(distribution.entropy()) for distribution in distributions]),
        )


def _relative_change(adapted: Float[Tensor, "task *shape"], start: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    change = torch.linalg.vector_norm((adapted - start).flatten(1), dim=1).mean()
    relative: Tensor = change / torch.linalg.vector_norm(start).clamp(min=1e-12)
    return relative
