"""Whether a policy fits what it is given: an environment, or episodes that somebody recorded."""

from typing import Any

import numpy as np
import torch

from rlmaml.base.errors import UserError
from rlmaml.core.distributions import Gaussian
from rlmaml.core.policy import Policy
from rlmaml.families.imitation import DEMONSTRATIONS
from rlmaml.policies.kinds import make_policy
from rlmaml.policies.sizes import Sizes, sizes_of
from rlmaml.rules.adaptation_rule import adaptation_rule, meta_like
from rlmaml.rules.memory_rule import MemoryRule
from rlmaml.sampling.recorded import RecordedEpisodes, as_rollout
from rlmaml.storage.checkpoint import Checkpoint, check_fits, check_sizes_fit
from rlmaml.storage.family_record import check_same_family

LIVED = "lived"
"""Where the record of an adaptation has the episodes since what is remembered began."""
LARGEST_LOG_RATIO = 0.5
"""Mean |log importance ratio| in nats above which episodes count as another policy's."""
LEGAL_SPREAD = (0.5, 2.0)
"""Mean squared standardised action noise; 1 for the policy's own episodes."""

MOST_AT_THE_LIMIT = 0.01
"""Share of action entries at exactly -1 or 1 above which they count as clipped; a Gaussian draws none."""


def check_acts_in(policy: Any, env: Any) -> None:
    """Refuse an environment in which a policy was not trained and cannot act.

    Raises:
        UserError: its observations or actions are others than those of the training, or its family has changed since.
    """
    check_same_family(policy.family, env)
    sizes = sizes_of(env, extended=policy.sizes.extended)
    if sizes != policy.sizes:
        sheet = getattr(env, "sheet", {"family": "the environment", "variant": "as it is here"})
        observed = f"{sheet['family']}, {sheet['variant']}"
        fitting_policy(policy.checkpoint, sizes, observed)


def fitting_policy(checkpoint: Checkpoint, sizes: Sizes, observed: str) -> Policy:
    """Who acts by a checkpoint's parameters where observations and actions are of some sizes.

    Args:
        checkpoint: what was learned.
        sizes: of observations and actions.
        observed: where that is, for messages.

    Raises:
        UserError: the sizes are others than the training's, or the parameters are not those of its policy and rule.
    """
    settings = checkpoint.settings
    check_sizes_fit(checkpoint.sizes, sizes, observed)
    policy = make_policy(settings.policy, settings.network, sizes)
    check_fits(checkpoint, meta_like(settings, policy), observed)
    return policy


def adapts_from_demonstrations(policy: Any) -> bool:
    """Whether a policy was trained on demonstrations."""
    return bool(policy.family.get("sheet", {}).get("adapts_from") == DEMONSTRATIONS)


def check_remembers(policy: Any, episodes: int) -> None:
    """Refuse to let a policy that adapts by its memory live through episodes of which it would remember nothing.

    Args:
        policy: any.
        episodes: how many more.

    Raises:
        UserError: a student's trial ends with them, and it begins anew.
    """
    if not trial_ends(policy, episodes):
        return
    if begins_anew(policy):
        raise UserError(
            "This policy adapts within every episode, by what it sees and does in it, and begins anew after each: "
            "nothing is kept of an episode. It is ready for a robot as it is, and evaluate.py says what it earns. "
            "What changes it for a task are steps within a trust region, --trust-region 0.05, and in simulation a "
            "search around what it guesses, --online --search cmaes."
        )
    raise UserError(
        f"This policy begins anew after every {forgets_after(policy)} episodes, and would remember nothing of these "
        f"{episodes}. Let it live through one more, or one fewer."
    )


def begins_anew(policy: Any) -> bool:
    """Whether a policy adapts within every episode, of which nothing is kept."""
    return forgets_after(policy) == 1


def goes_on(policy: Any) -> bool:
    """Whether a policy keeps what it lives through in an episode for the next one on the same robot."""
    return bool(policy.adapts_by_memory) and not begins_anew(policy)


def trial_ends(policy: Any, episodes: int) -> bool:
    """Whether a policy that adapts by its memory has forgotten everything after so many more episodes."""
    trial = forgets_after(policy)
    return trial > 0 and (lived_through(policy) + episodes) % trial == 0


def lived_through(policy: Any) -> int:
    """Episodes since what a policy remembers began, whatever steps of its parameters came before."""
    return 0 if policy.memory is None else int(policy.adaptation.get(LIVED, policy.steps_taken))


def forgets_after(policy: Any) -> int:
    """Episodes after which a policy begins anew; 0 for one that does not."""
    rule = adaptation_rule(policy.settings, policy.network)
    return rule.forgets_after if isinstance(rule, MemoryRule) else 0


def check_adapts_from_rewards(policy: Any) -> None:
    """Refuse a policy whose inner steps go down another loss than that of episodes with rewards.

    Raises:
        UserError: it was trained on demonstrations.
    """
    if adapts_from_demonstrations(policy):
        raise UserError("This policy was trained on demonstrations, and adapts from these: give --demonstrations FILE.")


def off_policy_reason(policy: Any, episodes: RecordedEpisodes) -> str | None:
    """Why recorded episodes cannot be this policy's own, or None if they may be.

    With recorded log-probabilities, the importance ratio ``π(a|o) / π_recorded(a|o)`` is 1 for the policy's own
    episodes. Without them, ``((a − μ(o)) / σ)²`` has mean 1 for these. Actions drawn from a Gaussian are never exactly
    -1 or 1.
    """
    if np.mean(np.abs(episodes.actions) == 1.0) > MOST_AT_THE_LIMIT:
        return "its actions were clipped to [-1, 1]; record them as they were drawn."
    sampled = as_rollout(episodes)
    with torch.no_grad():
        distribution = policy.network.unroll(
            {name: tensor.unsqueeze(0) for name, tensor in policy.weights.items()}, sampled
        )[0].distribution
        if episodes.log_probs is not None:
            log_ratio = distribution.log_prob(sampled.actions) - sampled.log_probs
            typical = float(log_ratio[sampled.valid].abs().mean())
            if typical > LARGEST_LOG_RATIO:
                return f"the importance ratio is far from 1 (mean |log ratio| {typical:.2f} nats)."
            return None
        if not isinstance(distribution, Gaussian):
            return None
        standardised = (sampled.actions - distribution.mean) * torch.exp(-distribution.log_std)
        spread = float(standardised[sampled.valid].square().mean())
    low, high = LEGAL_SPREAD
    if low <= spread <= high:
        return None
    kind = "less" if spread < low else "more"
    return f"its actions vary {kind} than the policy's exploration (mean squared deviation {spread:.2f}, not about 1)."
