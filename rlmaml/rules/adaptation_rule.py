"""How a trained policy adapts to a task of its own: by the trained rule, within a trust region, or by a search."""

import dataclasses

from rlmaml.base.errors import UserError
from rlmaml.core.losses import InnerLoss
from rlmaml.core.policy import Policy, TaughtPolicy
from rlmaml.core.types import Memory, Meta
from rlmaml.rules.gradient_rule import gradient_rule
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.rules.memory_rule import MemoryRule
from rlmaml.rules.search_rule import Search, search_rule
from rlmaml.rules.teacher_rule import TeacherRule
from rlmaml.rules.trust_region_rule import TrustRegionRule
from rlmaml.settings.inner import MemorySettings, TaughtSettings
from rlmaml.settings.trust_region import TrustRegionSettings, check_trust_region
from rlmaml.settings.whole import Settings


def trained_rule(settings: Settings, policy: Policy, loss: InnerLoss | None = None) -> InnerRule:
    """The inner rule with which a run adapts to tasks that are not its training's; supervised ones bring a loss."""
    inner = settings.inner
    if isinstance(inner, TaughtSettings):
        return MemoryRule(inner.trial_episodes - 1, forgets_after=inner.trial_episodes)
    if isinstance(inner, MemorySettings):
        return MemoryRule(inner.inner_steps)
    return gradient_rule(inner, policy, loss)


def training_rule(settings: Settings, policy: Policy, loss: InnerLoss | None = None) -> InnerRule:
    """The inner rule of a training itself: where there is a teacher, it acts first."""
    if isinstance(settings.inner, TaughtSettings):
        assert isinstance(policy, TaughtPolicy)
        return TeacherRule(settings.inner.trial_episodes, policy.told)
    return trained_rule(settings, policy, loss)


def meta_like(settings: Settings, policy: Policy) -> Meta:
    """Meta-parameters with the names, shapes and types that those of a run have."""
    params = policy.init(0)
    return Meta(params, trained_rule(settings, policy).rates(params))


def adaptation_rule(
    settings: Settings,
    policy: Policy,
    trust_region: float | None = None,
    search: Search | None = None,
    *,
    teacher: bool = False,
) -> InnerRule:
    """The inner rule of a run, trust-region steps, otherwise as its meta-updates, a search, or its teacher before it.

    Args:
        settings: of the run.
        policy: the policy.
        trust_region: largest KL in nats of a step; None for none.
        search: the search and its range; None for none.
        teacher: its teacher acts first, who is told the task, and then the student.

    Raises:
        UserError: the trust region is no finite number above 0, more than one of trust region, search and teacher is
            asked for, the policy has no teacher, or see :func:`rlmaml.rules.search_rule.search_rule`.
    """
    check_trust_region(trust_region)
    if teacher:
        if trust_region is not None or search is not None:
            raise UserError("A teacher does not adapt: --teacher excludes --trust-region and --search.")
        if not isinstance(policy, TaughtPolicy):
            raise UserError(
                f"--teacher judges who is told the task, and a policy of {settings.algorithm} has nobody who is; give "
                "a run of rma."
            )
        return training_rule(settings, policy)
    if search is not None:
        if trust_region is not None:
            raise UserError("--search and --trust-region exclude each other; give one of them.")
        return search_rule(search, policy)
    if trust_region is None:
        return trained_rule(settings, policy)
    names = {field.name for field in dataclasses.fields(TrustRegionSettings)}
    trained = {name: value for name, value in vars(settings.outer).items() if name in names}
    return TrustRegionRule(TrustRegionSettings(**trained | {"max_kl": trust_region}))


def check_goes_on(rule: InnerRule, memory: Memory | None) -> None:
    """Refuse to take steps of the parameters of a policy that has lived through episodes.

    Raises:
        UserError: it remembers some, and the rule has no use for a memory.
    """
    if memory is not None and not rule.remembers:
        raise UserError(
            "This policy has lived through episodes, and a trust-region step knows nothing of its memory. Take the "
            "step from the policy of the run."
        )
