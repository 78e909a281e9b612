"""Settings that nothing reads beside others, and what one of several methods takes of what all are given."""

import contextlib
import dataclasses
from collections.abc import Collection, Mapping
from itertools import combinations
from typing import Any

from rlmaml.base.errors import UserError
from rlmaml.settings.checks import option
from rlmaml.settings.inner import DifferentiatedInnerSettings, InnerSettings
from rlmaml.settings.methods.maml_trpo import MamlSettings, MamlTrpoSettings
from rlmaml.settings.methods.ppo import PpoSettings
from rlmaml.settings.methods.promp import ClippedSettings
from rlmaml.settings.methods.registry import find_method
from rlmaml.settings.objective import ObjectiveSettings
from rlmaml.settings.trust_region import TrustRegionSettings
from rlmaml.settings.whole import Settings

NO_OPTION_OF_IT = "there is no such option"
FROM_NOTHING = ("random", "oracle")
"""Methods that begin with a random network of their own, whatever others start from."""

OF_ADAM = ("adam_step_size", "max_gradient_norm")


def unread(settings: Settings) -> dict[str, str]:
    """Field -> why nothing reads it: another value would change no bit of a training, nor of what follows.

    A family's defaults may hold such values, for other settings that the command line may choose.
    """
    inner, outer, found = settings.inner, settings.outer, dict[str, str]()
    if find_method(settings.algorithm).stands_for.get("iterations") == 0:
        adapts_by = _names(TrustRegionSettings) - {"max_kl"}  # of an adaptation within a region, which is told its KL
        return dict.fromkeys(_names(type(outer)) - adapts_by, f"{settings.algorithm} is never trained")
    if isinstance(outer, MamlSettings):
        region = _names(MamlTrpoSettings) - _names(ObjectiveSettings)
        found |= dict.fromkeys(
            region if outer.outer_optimiser == "adam" else OF_ADAM, f"--outer-optimiser is {outer.outer_optimiser}"
        )
    if isinstance(outer, TrustRegionSettings) and outer.backtrack_tries == 1:
        found["backtrack"] = "--backtrack-tries is 1, and no step is shortened"
    if isinstance(outer, MamlTrpoSettings) and isinstance(inner, DifferentiatedInnerSettings):
        if not inner.inner_steps:
            found["jacobian_fraction"] = "there is no inner step to look through"
        elif inner.first_order:
            found["jacobian_fraction"] = "with first order the curvature does not see how inner steps bend"
    if isinstance(outer, ClippedSettings):
        if outer.epochs == 1:
            found["clip"] = "--epochs is 1, and before the first step all ratios are 1"
        if not inner.inner_steps:
            found["kl_penalty"] = "it is on the policies before inner steps, of which there are none"
    if isinstance(outer, PpoSettings) and outer.epochs == outer.minibatches == 1:
        found["clip"] = "with one epoch of one minibatch all ratios are 1"
    if isinstance(outer, ObjectiveSettings):
        annealed = dataclasses.replace(outer, anneal_stage_weights=1)
        if not inner.inner_steps:
            found["stage_weights"] = "there are no inner steps, and a single stage"
        elif annealed.weights(inner.inner_steps, 0) == annealed.weights(inner.inner_steps, 1):
            found["anneal_stage_weights"] = "stage weights are equal ones after every inner step already"
    if isinstance(inner, InnerSettings) and inner.adapt_std and not hasattr(settings.network, "initial_std"):
        found["adapt_std"] = "this policy has no standard deviation"
    if getattr(settings.network, "memory", None) == 0:
        found["reward_scale"] = "there is no memory to read rewards"
    return found


def check_read(settings: Settings, start: Settings, given: Collection[str], cure: str = "") -> None:
    """Refuse options that were given and that nothing reads, unless they switch something off or change nothing.

    Args:
        settings: that came of them.
        start: what they would have been without.
        given: the options, as they are spelled.
        cure: what is to be done about it, but for leaving them out.

    Raises:
        UserError: names the first one, with why nothing reads it.
    """
    received, without = settings.flat(), start.flat()
    for name, why in sorted(unread(settings).items()):
        value = received[name]
        if option(name) in given and value and value != without[name]:
            raise UserError(f"{option(name)} is {value!r}, and nothing would read it: {why}. Leave it out.{cure}")


def sharing(settings: Settings, shared: Mapping[str, Any]) -> tuple[Settings, set[str]]:
    """A method's settings with what all methods are given, and the names of what of it this one has taken.

    What it stands for stays, and so does what it could not have together with the rest: stage weights, say, where there
    are no inner steps.

    Args:
        settings: of the method.
        shared: field -> value.
    """
    own = find_method(settings.algorithm).stands_for
    anew = settings.algorithm in FROM_NOTHING
    may = [n for n in shared if settings.has(n) and n not in own and not (anew and n == "start_from")]
    for number in range(len(may), 0, -1):
        for taken in combinations(may, number):
            with contextlib.suppress(UserError):
                return with_all({name: shared[name] for name in taken}, settings), {*taken}
    return settings, set()


def with_all(values: Mapping[str, Any], settings: Settings) -> Settings:
    """The settings with typed values, all of which are to count.

    Raises:
        UserError: one is illegal, alone or beside others.
    """
    changed = settings.changed(**values)
    if "stage_weights" in values:
        changed.outer.check_all_count(changed.inner)
    return changed


def why_left(settings: Settings, shared: Mapping[str, Any], name: str) -> str:
    """Why a method does not take, or does not read, one of the settings that all methods are given."""
    if not settings.has(name):
        return NO_OPTION_OF_IT
    changed, taken = sharing(settings, shared)
    try:
        with_all({one: shared[one] for one in (*taken, name)}, settings)
    except UserError as error:
        return str(error)
    return unread(changed).get(name, "it begins from nothing")


def _names(kind: type[Any]) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}
