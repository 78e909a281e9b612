"""What adaptation changed in a policy: how far each layer moved, how far the actions, and how much still varies."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.core.parameters import detached, for_every_task
from rlmaml.core.policy import Policy
from rlmaml.core.types import Adaptation, Meta, Rollout
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.sampling.collect import to_batch
from rlmaml.settings.advantages import AdvantageSettings

MEMORY = "memory"


class Effects(NamedTuple):
    """Means over tasks; entry k belongs to the policy after k + 1 inner steps, of ``entropy`` to that after k."""

    layers: dict[str, Float[Tensor, " step"]]
    """Entry of the parameters -> ``‖φ_k − θ‖ / ‖θ‖``."""
    kl: Float[Tensor, " step"]
    """``KL(π_θ ‖ π_φk)`` per step in nats, on what the policy saw before it adapted."""
    entropy: Float[Tensor, " stage"]
    """Differential entropy of the policy's actions in nats."""
    from_zero: Mapping[str, Float[Tensor, " step"]] = {}
    """What begins at 0 on every task, a context by its entry and ``memory`` -> root mean square of its numbers."""


def adaptation_effects(
    policy: Policy, rule: InnerRule, meta: Meta, advantages: AdvantageSettings, rollouts: Sequence[Rollout]
) -> Effects:
    """What the steps of an evaluation did to the policy, computed again from its episodes.

    Args:
        policy: the policy.
        rule: how it adapted.
        meta: meta-parameters.
        advantages: how rewards became advantages.
        rollouts: the evaluation's, of every stage; two at least.
    """
    per_task = for_every_task(meta, len(rollouts[0].valid))
    adaptation = rule.begin(per_task)
    stages = [adaptation]
    for k, sampled in enumerate(rollouts[:-1]):
        adaptation = rule.step(policy, per_task, adaptation, to_batch(sampled, advantages), k)
        adaptation = adaptation._replace(params=detached(adaptation.params))
        stages.append(adaptation)
    with torch.no_grad():
        before, valid = rollouts[0], rollouts[0].valid
        distributions: list[Any] = [policy.unroll(one.params, before, one.memory)[0].distribution for one in stages]

        def mean(values: Tensor) -> Tensor:
            return (values * valid).sum() / valid.sum()

        return Effects(
            layers={
                name: torch.stack([_relative_change(one.params[name], start) for one in stages[1:]])
                for name, start in meta.params.items()
                if name not in rule.reset and not rule.remembers
            },
            kl=torch.stack([mean(distributions[0].kl(after)) for after in distributions[1:]]),
            entropy=torch.stack([mean(distribution.entropy()) for distribution in distributions]),
            from_zero={name: torch.stack([_size(one, name) for one in stages[1:]]) for name in begun_at_zero(rule)},
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


def _relative_change(adapted: Float[Tensor, "task *shape"], start: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    change = torch.linalg.vector_norm((adapted - start).flatten(1), dim=1).mean()
    relative: Tensor = change / torch.linalg.vector_norm(start).clamp(min=1e-12)
    return relative
