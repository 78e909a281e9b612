"""A trained policy made smaller: pruned, or with factored weight matrices; and the learned rates that go with it."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar, cast

from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.core.policy import Policy
from rlmaml.core.types import Params
from rlmaml.policies.gaussian import GaussianPolicy
from rlmaml.policies.matrices import Kept, factorised, filled, is_factored, left_of, multiplied, pruned, size_in_words
from rlmaml.policies.reduced import ReducedPolicy
from rlmaml.policies.sizes import Sizes

Reducible: TypeAlias = GaussianPolicy | ReducedPolicy
"""A policy that knows what is left of its matrices."""
ReducibleT = TypeVar("ReducibleT", bound=Reducible)


def reducible(policy: Policy, settings: Any, sizes: Sizes) -> Reducible:
    """A policy of any kind as one that may be reduced.

    Args:
        policy: the policy.
        settings: of its kind.
        sizes: of observations and actions.

    Raises:
        UserError: its kind cannot be.
    """
    if isinstance(policy, GaussianPolicy | ReducedPolicy):
        return policy
    return ReducedPolicy(policy, settings, sizes)


def pruned_policy(policy: ReducibleT, params: Params, share: float) -> tuple[ReducibleT, Params]:
    """The policy without a share of the entries of every weight matrix, and what is left of its theta.

    See :func:`rlmaml.policies.matrices.largest_entries`. What was pruned before stays pruned, and counts.

    Raises:
        UserError: nothing more would be pruned.
    """
    whole = filled(params, policy.kept)
    texts = pruned(whole, share)
    smaller = _with(policy, kept=texts)
    before, after = numbers_in(params), numbers_in(left := left_of(whole, smaller.kept))
    if after >= before or any(left[name].numel() > params[name].numel() for name in smaller.kept):
        raise UserError(
            f"--prune is {share}, which leaves {after} numbers of the {before} of this policy: give a larger share."
        )
    return smaller, left


def factored_policy(policy: ReducibleT, params: Params, rank: int) -> tuple[ReducibleT, Params]:
    """The policy with the nearest products of two factors in place of its weight matrices, and their theta.

    Only of matrices that are smaller so; see :func:`rlmaml.policies.matrices.factorised`.

    Raises:
        UserError: none is smaller so, the policy has factors of no higher rank already, or it is pruned.
    """
    settings = policy.settings
    if policy.kept:
        raise UserError(
            "--low-rank factors of a pruned policy would be as many numbers as of a whole one. Factor the run that was "
            "pruned, and prune that."
        )
    whole = multiplied(params)
    shapes = {name: tensor.shape for name, tensor in whole.items() if tensor.dim() == 2}
    most = max(((rows * columns - 1) // (rows + columns) for rows, columns in shapes.values()), default=0)
    most = min(most, settings.rank - 1) if settings.rank else most
    if not 1 <= rank <= most or not any(is_factored(shape, rank) for shape in shapes.values()):
        listed = ", ".join(size_in_words(shape) for shape in shapes.values())
        has = f", factored with rank {settings.rank}" * bool(settings.rank)
        legal = f"legal is 1 to {most}" if most else "none can be"
        raise UserError(
            f"--low-rank is {rank}; a product of two factors must be smaller than the matrix. The policy's are "
            f"{listed}{has}: {legal}."
        )
    return _with(policy, rank=rank), factorised(whole, rank)


def _with(policy: ReducibleT, **reduced: Any) -> ReducibleT:
    settings = replace(policy.settings, **reduced)
    kind = policy.policy if isinstance(policy, ReducedPolicy) else None
    smaller = GaussianPolicy(settings, policy.sizes) if kind is None else ReducedPolicy(kind, settings, policy.sizes)
    return cast(ReducibleT, smaller)


def carried_rates(
    trained: Params, fresh: Params, before: Mapping[str, Kept], after: Mapping[str, Kept]
) -> dict[str, Tensor]:
    """Learned rates of a smaller policy: those of the weights that are still there, as they were.

    A factor has those of its matrix; where each weight had its own, their mean in every step.

    Args:
        trained: rates by the weights they belong to, ``[step, ...]``.
        fresh: those of the smaller policy, as they start.
        before: what was left of its pruned matrices.
        after: what is left of them now.
    """
    return {name: _carried(name, trained, start, before, after) for name, start in fresh.items()}


def _carried(
    name: str, trained: Params, start: Tensor, before: Mapping[str, Kept], after: Mapping[str, Kept]
) -> Tensor:
    own = trained.get(name, trained.get(name.rpartition(".")[0]))
    if own is None:
        return start
    if own.shape == start.shape:
        return own
    if name in trained and name in after:
        whole = filled({name: own}, {name: before[name]} if name in before else {})
        return left_of(whole, {name: after[name]})[name]
    means = own.reshape(len(own), -1).mean(1)
    return means.view(-1, *[1] * (start.dim() - 1)).expand_as(start).clone()


def numbers_in(params: Params) -> int:
    """How many numbers parameters are."""
    return sum(tensor.numel() for tensor in params.values())


def change_in_words(policy: Policy) -> str:
    """What was done to a policy to make it smaller."""
    if not isinstance(policy, GaussianPolicy | ReducedPolicy):
        return "whole"
    parts = [f"rank {policy.settings.rank}"] if policy.settings.rank else []
    if policy.kept:
        whole = sum(math.prod(own.shape) for own in policy.kept.values())
        left = sum(len(own.entries) for own in policy.kept.values())
        parts.append(f"{100 * (1 - left / whole):.3g} % pruned")
    return ", ".join(parts) or "whole"
