"""What adaptation changed in a policy: how far each layer moved, how far the actions, and how much still varies."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.core.policy import Policy
from rlmaml.core.types import Adaptation, Rollout
from rlmaml.rules.inner_rule import InnerRule

MEMORY = "memory"


class Effects(NamedTuple):
    """Means over tasks; entry k belongs to the policy after k + 1 inner steps, in ``stage`` arrays to that after k."""

    layers: dict[str, Float[Tensor, " step"]]
    """Entry of the parameters -> ``‖φ_k − θ‖ / ‖θ‖``."""
    kl: Float[Tensor, " step"]
    """``KL(π_θ ‖ π_φk)`` per step in nats, on what the policy saw before it adapted."""
    entropy: Float[Tensor, " stage"]
    """Differential entropy of the policy's actions in nats."""
    from_zero: Mapping[str, Float[Tensor, " stage"]] = {}
    """What began at 0 on every task in the training -> root mean square of its numbers: a context by its entry,
    ``memory``, and what is 0 in theta, as biases are before a training."""


def adaptation_effects(policy: Policy, rule: InnerRule, stages: Sequence[Adaptation], before: Rollout) -> Effects:
    """What the steps of an evaluation did to the policy.

    Args:
        policy: the policy.
        rule: how it adapted.
        stages: every task's adaptation at each stage of the evaluation; two at least.
        before: what was sampled at the first one.
    """
    start, valid = stages[0].params, before.valid
    zeros = begun_at_zero(rule)
    zeros += tuple(name for name in start if name not in zeros and not rule.remembers and not start[name].any())
    with torch.no_grad():
        distributions: list[Any] = [policy.unroll(one.params, before, one.memory)[0].distribution for one in stages]

        def mean(values: Tensor) -> Tensor:
            return (values * valid).sum() / valid.sum()

        return Effects(
            layers={
                name: torch.stack([_relative_change(one.params[name], start[name]) for one in stages[1:]])
                for name in start
                if name not in zeros and not rule.remembers
            },
            kl=torch.stack([mean(distributions[0].kl(after)) for after in distributions[1:]]),
            entropy=torch.stack([mean(distribution.entropy()) for distribution in distributions]),
            from_zero={name: torch.stack([_size(one, name) for one in stages]) for name in zeros},
        )


def begun_at_zero(rule: InnerRule) -> tuple[str, ...]:
    """What every task begins with at 0: entries of the parameters, and a memory where there is one."""
    return (*rule.reset, *([MEMORY] if rule.remembers else []))


def _size(stage: Adaptation, name: str) -> Float[Tensor, ""]:
    """Root mean square over tasks of an entry of the parameters, or of what is remembered; 0 for nothing."""
    if name != MEMORY:
        return stage.params[name].square().mean().sqrt()
    carry = () if stage.memory is None else stage.memory.carry
    parts = [carry] if isinstance(carry, Tensor) else list(carry)
    return torch.cat([part.flatten() for part in parts] or [torch.zeros(1)]).square().mean().sqrt()


def _relative_change(adapted: Float[Tensor, "task *shape"], start: Float[Tensor, "task *shape"]) -> Float[Tensor, ""]:
    change, size = (torch.linalg.vector_norm(each.flatten(1), dim=1) for each in (adapted - start, start))
    relative: Tensor = (change / size).mean()
    return relative
