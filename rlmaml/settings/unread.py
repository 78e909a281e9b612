"""Settings that nothing reads beside others: to type one would be a slip, or a misunderstanding."""

import dataclasses
from collections.abc import Collection
from typing import Any

from rlmaml.base.errors import UserError
from rlmaml.settings.checks import option
from rlmaml.settings.inner import DifferentiatedInnerSettings
from rlmaml.settings.methods.maml_trpo import MamlSettings, MamlTrpoSettings
from rlmaml.settings.methods.ppo import PpoSettings
from rlmaml.settings.methods.promp import ClippedSettings
from rlmaml.settings.methods.registry import find_method
from rlmaml.settings.objective import ObjectiveSettings
from rlmaml.settings.whole import Settings

OF_ADAM = ("adam_step_size", "max_gradient_norm")


def unread(settings: Settings) -> dict[str, str]:
    """Field -> why nothing reads it: another value would change no bit of a training, nor of what follows.

    A family's defaults may hold such values, for other settings that the command line may choose.
    """
    inner, outer = settings.inner, settings.outer
    if find_method(settings.algorithm).stands_for.get("iterations") == 0:
        return dict.fromkeys(_names(type(outer)), f"{settings.algorithm} is never trained")
    found: dict[str, str] = {}
    if isinstance(outer, MamlSettings):
        region = _names(MamlTrpoSettings) - _names(ObjectiveSettings)
        found |= dict.fromkeys(
            region if outer.outer_optimiser == "adam" else OF_ADAM, f"--outer-optimiser is {outer.outer_optimiser}"
        )
    if isinstance(outer, MamlTrpoSettings) and isinstance(inner, DifferentiatedInnerSettings):
        if not inner.inner_steps:
            found["jacobian_fraction"] = "there is no inner step to look through"
        elif inner.first_order:
            found["jacobian_fraction"] = "with first order the curvature does not see how inner steps bend"
    if isinstance(outer, ClippedSettings):
        if outer.epochs == 1:
            found |= dict.fromkeys(
                ("clip", "kl_penalty", "kl_target"), "--epochs is 1, and before the first step all ratios are 1"
            )
        elif not inner.inner_steps:
            found["kl_penalty"] = "it is on the policies before inner steps, of which there are none"
    if isinstance(outer, PpoSettings) and outer.epochs == outer.minibatches == 1:
        found["clip"] = "with one epoch of one minibatch all ratios are 1"
    if isinstance(outer, ObjectiveSettings) and inner.inner_steps:
        annealed = dataclasses.replace(outer, anneal_stage_weights=1)
        if annealed.weights(inner.inner_steps, 0) == annealed.weights(inner.inner_steps, 1):
            found["anneal_stage_weights"] = "stage weights are equal ones after every inner step already"
    if getattr(settings.network, "memory", None) == 0:
        found["reward_scale"] = "there is no memory to read rewards"
    return found


def check_read(settings: Settings, given: Collection[str]) -> None:
    """Refuse options that were given and that nothing reads.

    Args:
        settings: that came of them.
        given: the options, as they are spelled.

    Raises:
        UserError: names the first one, with why nothing reads it.
    """
    for name, why in unread(settings).items():
        if option(name) in given:
            raise UserError(f"{option(name)} is {settings.flat()[name]!r}, and nothing would read it: {why}. Leave it.")


def _names(kind: type[Any]) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}
