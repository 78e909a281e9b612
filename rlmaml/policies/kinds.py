"""The registry of policy kinds: from the name and settings that a checkpoint holds to a policy."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from rlmaml.base.errors import UserError
from rlmaml.base.memory import check_memory
from rlmaml.core.policy import Policy
from rlmaml.policies.categorical import CategoricalPolicy
from rlmaml.policies.convolutional import ConvolutionalPolicy
from rlmaml.policies.embedded import EmbeddedPolicy
from rlmaml.policies.gaussian import GaussianPolicy
from rlmaml.policies.gru import GruPolicy
from rlmaml.policies.latent import LatentPolicy
from rlmaml.policies.module import MakeModule, ModulePolicy, module_maker
from rlmaml.policies.multimodal import MultimodalPolicy
from rlmaml.policies.reduced import ReducedPolicy
from rlmaml.policies.sizes import Sizes
from rlmaml.settings.checks import without_folders
from rlmaml.settings.memory_needed import network_bytes
from rlmaml.settings.policy import POLICIES

MakePolicy: TypeAlias = Callable[[Any, Sizes], Policy]
"""``make(settings, sizes)``."""

KINDS: dict[str, MakePolicy] = {
    "gaussian": GaussianPolicy,
    "categorical": CategoricalPolicy,
    "gru": GruPolicy,
    "latent": LatentPolicy,
    "conv4": ConvolutionalPolicy,
    "embedded": EmbeddedPolicy,
    "multimodal": MultimodalPolicy,
}
"""Name of a kind -> what makes it; modules of the user's own are added by :func:`register_module`."""
READ_FACTORS = ("gaussian",)
"""Kinds that multiply by the factors of a matrix one after the other; others read their product."""


def register_module(kind: str, make: MakeModule | None = None) -> None:
    """Make a torch module of the user's own known under its name FILE.py:NAME, in this process.

    A checkpoint names its kind, without folders, but nothing that it says runs code: only this call does, for a name
    that the user gave. Of several files of one name, the last one counts.

    Args:
        kind: FILE.py:NAME.
        make: what the name stands for; None to run the file and look there.

    Raises:
        UserError: there is no such file or name, or it takes no two sizes.
    """
    if kind not in POLICIES:
        KINDS[without_folders(kind)] = partial(ModulePolicy, module_maker(kind) if make is None else make)


def make_policy(kind: str, settings: Any, sizes: Sizes) -> Policy:
    """The policy of a kind.

    Args:
        kind: its name.
        settings: the kind's own.
        sizes: of observations and actions.

    Raises:
        UserError: the kind is not known here, or it does not fit the sizes.
    """
    name = without_folders(kind)
    if name not in KINDS:
        raise UserError(
            f"The policy is a module of your own, {kind}. Say that its code may be run: --policy {kind}, or "
            "rlmaml.policies.kinds.register_module."
        )
    check_memory(network_bytes(settings), f"A policy of kind {name}", "Take a smaller network.")
    policy = KINDS[name](settings, sizes)
    if name in READ_FACTORS or not (settings.rank or settings.kept):
        return policy
    return ReducedPolicy(policy, settings, sizes)
