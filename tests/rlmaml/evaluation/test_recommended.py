from dataclasses import replace

import numpy as np
import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.core.distributions import Gaussian
from rlmaml.core.parameters import for_every_task
from rlmaml.core.types import Examples, Outputs
from rlmaml.evaluation.rankings import ndcg
from rlmaml.evaluation.recommended import METRICS, by_metric, judge_of, online, part_of, shown_times, turned_histories
from rlmaml.families.cold_start import ColdStart, Division, divided_ratings
from rlmaml.families.made_ratings import made_ratings
from rlmaml.rules.gradient_rule import losses_of
from rlmaml.settings.whole import Settings, configure
from rlmaml.training.begin import begin, make_method

PARTS = divided_ratings(made_ratings(40, 40), Division(least=13))
FAMILY: ColdStart = PARTS.scenarios["new users, existing items"]


def settings() -> Settings:
    counts, flags = PARTS.vocabulary.counts, len(PARTS.vocabulary.flags)
    network = {"categories": counts, "flags": flags, "embedding": 2, "hidden": (4,)}
    sizes = {"inner_step_sizes": (0.3,), "adapt": "head", "threads": 1}
    return configure("maml-trpo", "embedded", outer_optimiser="adam", **network, **sizes)


def test_every_metric_is_of_the_ratings_in_stars() -> None:
    support, _ = FAMILY.sets(FAMILY.every_task(), range(len(FAMILY.people)))
    data = Examples(*(field[0] for field in support))
    said = torch.linspace(-1, 1, len(data.targets)).unsqueeze(-1)
    outputs = Outputs(Gaussian(said, torch.zeros_like(said)))
    judged = judge_of(FAMILY)(outputs, data)
    assert judged.shape == (len(METRICS),)
    assert float(judged[0]) == pytest.approx(float(FAMILY.score(outputs, data)))
    stars = torch.round(FAMILY.in_stars(data.targets).squeeze(-1))
    assert float(judged[3]) == pytest.approx(float(ndcg(said.squeeze(-1), stars, data.valid, 5)))
    summary = by_metric(torch.stack([judged, judged + 1]).unsqueeze(1))
    assert [summary[name]["mean"][0] for name in METRICS] == pytest.approx((judged + 0.5).tolist())


def test_half_way_a_history_is_mirrored_in_the_middle_of_the_scale() -> None:
    histories = turned_histories(FAMILY, 12)
    stars = torch.round(FAMILY.in_stars(histories.ratings.targets[..., 0]))
    for row, person in zip(stars, FAMILY.people, strict=True):
        given = FAMILY.ratings[person.known[:12]]
        assert torch.equal(row[:6], given[:6])
        assert torch.equal(row[6:], 6 - given[6:])
    assert histories.turn == 6
    assert shown_times(histories) == [0, 2, 3, 5, 6, 8, 9, 11]
    with pytest.raises(UserError, match="--online-ratings is 99; no user of the test has more than"):
        turned_histories(FAMILY, 99)


def test_online_every_rating_is_predicted_before_it_is_learned_from() -> None:
    made = settings()
    method, histories = make_method(made, FAMILY), turned_histories(FAMILY, 8)
    meta = begin(made, method).meta

    def found(given: object = histories, **options: object) -> torch.Tensor:
        return online(FAMILY, given, method.policy, method.rule, meta, made, remembered=3, **options)  # type: ignore[arg-type]

    adapted, still = found(), found(adapts=False)
    assert adapted.shape == (len(FAMILY.people), 8, len(METRICS))
    assert torch.equal(adapted[:, 0], still[:, 0])
    assert not torch.equal(adapted[:, 1], still[:, 1])
    # after the first rating one step is taken, on it alone, and the next five are asked for in the taste of the time
    per_user = for_every_task(meta, len(FAMILY.people))
    first = part_of(histories.ratings, 0, 1)
    params = method.rule.step(method.policy, per_user, method.rule.begin(per_user), first, 0).params
    untouched = FAMILY.examples([person.known[:8] for person in FAMILY.people])
    asked = part_of(untouched, 1, 6)
    expected = losses_of(method.policy.unroll(params, asked)[0], asked, judge_of(FAMILY))
    torch.testing.assert_close(adapted[:, 1], expected.detach(), rtol=1e-5, atol=1e-5)
    # without steps the error of the last rating is that of the other taste, which it has
    last = part_of(histories.ratings, 7, 8)
    outputs = method.policy.unroll(meta.params, last)[0]
    errors = (FAMILY.in_stars(outputs.distribution.mean) - FAMILY.in_stars(last.targets)).abs()[:, 0, 0]
    np.testing.assert_allclose(still[:, 7, 0].numpy(), errors.detach().numpy(), atol=1e-5)


def test_who_has_too_few_ratings_is_left_out() -> None:
    first, *others = FAMILY.people
    short = replace(FAMILY, people=(first._replace(known=first.known[:11]), *others))
    assert len(turned_histories(short, 12).ratings.valid) == len(others)
