"""How well a recommender does for users never seen: errors and orders of what they rate, after every step or rating."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.base.threads import torch_threads
from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.core.devices import move
from rlmaml.core.parameters import for_every_task
from rlmaml.core.policy import Policy
from rlmaml.core.types import Adaptation, Examples, Meta, Outputs
from rlmaml.evaluation.query_scores import QueryScores
from rlmaml.evaluation.rankings import best_ndcg, best_precision, ndcg
from rlmaml.families.cold_start import ColdStart
from rlmaml.rules.gradient_rule import losses_of
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.settings.whole import Settings

METRICS = ("mae", "ndcg@1", "ndcg@3", "ndcg@5", "ndcg@5 of the best five", "precision@5 of the best five")
"""What :func:`judge_of` gives, in its order. Of the first nDCGs the gain is 2^rating − 1; of the best five, 1 for the
five items of the query that the user rated highest, which are the relevant ones."""
ASKED_TOGETHER = 5
"""Ratings of a user that are asked for at once, while they come one by one."""


def judge_of(family: ColdStart) -> Callable[[Outputs, Examples], Float[Tensor, " metric"]]:
    """Every metric of ONE user, from what the model says of his query set."""

    def judge(outputs: Outputs, data: Examples) -> Float[Tensor, " metric"]:
        predicted = outputs.distribution.mean.squeeze(-1)
        ratings = torch.round(1e4 * family.in_stars(data.targets).squeeze(-1)) / 1e4
        valid = data.valid
        orders = [ndcg(predicted, ratings, valid, k) for k in (1, 3, 5)]
        orders += [best_ndcg(predicted, ratings, valid, 5), best_precision(predicted, ratings, valid, 5)]
        return torch.stack([family.score(outputs, data), *orders])

    return judge


def ndcg_of(family: ColdStart) -> Callable[[Outputs, Examples], Float[Tensor, ""]]:
    """nDCG@5 of ONE user with the gain 2^rating − 1, from what the model says of his query set."""
    judge, index = judge_of(family), METRICS.index("ndcg@5")
    return lambda outputs, data: judge(outputs, data)[index]


def by_metric(judged: Float[Tensor, "task stage metric"]) -> dict[str, dict[str, list[Any]]]:
    """Means over users with their 95 % intervals after every step, by metric."""
    return {name: QueryScores(judged[..., index]).summary() for index, name in enumerate(METRICS)}


class Histories(NamedTuple):
    """Users whose ratings come one by one, and whose taste turns round half way."""

    ratings: Examples
    """``[user, rating]``, each as the user gave it or, from the turn on, mirrored in the middle of the scale."""
    turn: int
    """The first rating of the other taste."""


def turned_histories(family: ColdStart, length: int) -> Histories:
    """The first ``length`` ratings of every user who has so many; half way what he liked becomes what he dislikes.

    From then on a rating r is ``lowest + highest − r``.

    Raises:
        UserError: nobody has so many.
    """
    chosen = [person.known[:length] for person in family.people if len(person.known) >= length]
    if not chosen:
        most = max(len(person.known) for person in family.people)
        raise UserError(f"--online-ratings is {length}; no user of the test has more than {most}.")
    mean, deviation, lowest, highest = family.scale
    examples = family.examples(chosen)
    turn = length // 2
    mirrored = (lowest + highest - 2 * mean) / deviation - examples.targets
    later = torch.arange(length) >= turn
    return Histories(examples._replace(targets=torch.where(later.view(1, -1, 1), mirrored, examples.targets)), turn)


@ordinary_torch()
def online(
    family: ColdStart,
    histories: Histories,
    policy: Policy,
    rule: InnerRule,
    meta: Meta,
    settings: Settings,
    *,
    remembered: int,
    adapts: bool = True,
) -> Float[Tensor, "user time metric"]:
    """Predict every rating before it is given, and take a step on the last ones as soon as it is.

    At time t the parameters have taken t steps. They are judged by the rating t and those that follow it, five
    together, in the taste that the user has at the time.

    Args:
        family: of the ratings.
        histories: of the users.
        policy: the model.
        rule: how it adapts; the size of its last trained step serves all later ones.
        meta: meta-parameters.
        settings: of device and threads.
        remembered: how many of the last ratings a step is taken on.
        adapts: whether steps are taken.
    """
    device = settings.run.device
    given = move(histories.ratings, device)
    num_users, length = given.valid.shape
    mean, deviation, lowest, highest = family.scale
    mirrored = (lowest + highest - 2 * mean) / deviation
    judge = judge_of(family)
    per_user = for_every_task(move(meta, device), num_users)
    adaptation: Adaptation = rule.begin(per_user)
    judged = []
    with torch_threads(settings.run.threads):
        for t in range(length):
            asked = part_of(given, t, t + ASKED_TOGETHER)
            turned = (torch.arange(length) >= histories.turn)[t : t + ASKED_TOGETHER].to(device)
            other = turned != bool(t >= histories.turn)
            asked = asked._replace(targets=torch.where(other.view(1, -1, 1), mirrored - asked.targets, asked.targets))
            with torch.no_grad():
                outputs = policy.unroll(adaptation.params, asked)[0]
                judged.append(losses_of(outputs, asked, judge).cpu())
            if adapts:
                recent = part_of(given, max(0, t + 1 - remembered), t + 1)
                adaptation = rule.step(policy, per_user, adaptation, recent, t)
                adaptation = Adaptation({name: p.detach() for name, p in adaptation.params.items()})
    return torch.stack(judged, 1)


def part_of(examples: Examples, first: int, end: int) -> Examples:
    """The examples of every task from a first one on up to another."""
    observations, targets, valid = (field[:, first:end] for field in examples[:3])
    return Examples(observations, targets, valid, examples.references)


def shown_times(histories: Histories) -> list[int]:
    """Times that a table of a history has room for: evenly through both halves, and both sides of the turn."""
    turn, length = histories.turn, histories.ratings.valid.shape[1]
    half = np.linspace(0, turn - 1, 4).round().astype(int)
    return sorted({*half.tolist(), *(turn + half).tolist()} & set(range(length)))
