"""Adapting a policy to demonstrations, without a simulator and without rewards."""

from dataclasses import replace

from rlmaml.base.errors import NonFiniteError, UserError
from rlmaml.base.threads import torch_threads
from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.core.devices import move
from rlmaml.core.losses import squared_error
from rlmaml.core.parameters import for_every_task
from rlmaml.core.types import Adaptation, Meta
from rlmaml.deploy.adaptable import AdaptablePolicy
from rlmaml.deploy.fit import adapts_from_demonstrations
from rlmaml.families.imitation import check_same_robot, sizes_of_recording, steps_of
from rlmaml.rules.adaptation_rule import trained_rule
from rlmaml.rules.gradient_rule import losses_of
from rlmaml.sampling.recorded import RecordedEpisodes, check_episodes


@ordinary_torch()
def imitate(
    policy: AdaptablePolicy,
    demonstrations: RecordedEpisodes,
    *,
    steps: int | None = None,
    source: str = "The recording",
) -> AdaptablePolicy:
    """The policy after inner steps down the squared error to what was demonstrated.

    Args:
        policy: of a training on demonstrations.
        demonstrations: of the robot's task, by anybody; their rewards are not read.
        steps: how many; None for as many as were trained.
        source: where the demonstrations are from, for error messages.

    Raises:
        UserError: the policy was not trained on demonstrations, these are of another robot, or adaptation diverged.
    """
    if not adapts_from_demonstrations(policy):
        raise UserError(
            "This policy was not trained on demonstrations, and steps towards them would have any size. Train one with "
            "train_imitation.py, or give --episodes with rewards."
        )
    received = sizes_of_recording(check_episodes(demonstrations, source))
    check_same_robot(received, policy.sizes, source, "this policy's has")
    rule = trained_rule(policy.settings, policy.network, squared_error)
    per_task = for_every_task(policy.meta, 1)
    adaptation = rule.begin(per_task) if not policy.steps_taken else Adaptation(per_task.params)
    here = move((per_task, adaptation, steps_of(demonstrations)), policy.settings.run.device)
    count = rule.steps if steps is None else steps
    try:
        with torch_threads(policy.settings.run.threads):
            per_task, adaptation, data = here
            for k in range(count):
                adaptation = rule.step(policy.network, per_task, adaptation, data, policy.steps_taken + k)
    except NonFiniteError as error:
        raise UserError(f"Adaptation failed: {error}") from error
    adapted = {name: tensor[0].detach() for name, tensor in move(adaptation.params, "cpu").items()}
    if not all(bool(tensor.isfinite().all()) for tensor in adapted.values()):
        raise UserError("Adaptation failed: the adapted parameters are not finite. Take fewer --steps.")
    lived = policy.adaptation.get("episodes", 0) + len(demonstrations.ends)
    return replace(
        policy,
        meta=Meta(adapted, policy.meta.rates),
        steps_taken=policy.steps_taken + count,
        adaptation={"episodes": lived},
    )


@ordinary_torch()
def imitation_error(policy: AdaptablePolicy, demonstrations: RecordedEpisodes) -> float:
    """Mean squared error of the policy's most likely actions to what was demonstrated."""
    data = steps_of(demonstrations)
    params = for_every_task(policy.meta, 1).params
    return float(losses_of(policy.network.unroll(params, data)[0], data, squared_error).detach())
