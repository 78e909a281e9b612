import dataclasses

import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.policies.kinds import make_policy
from rlmaml.policies.sizes import Sizes
from rlmaml.rules.adaptation_rule import adaptation_rule
from rlmaml.rules.gradient_rule import gradient_rule
from rlmaml.rules.search_rule import ContextRange, Search, SearchRule
from rlmaml.rules.searches import SEARCHES
from rlmaml.rules.teacher_rule import TeacherRule
from rlmaml.rules.trust_region_rule import TrustRegionRule
from rlmaml.settings.search import SearchSettings
from rlmaml.settings.trust_region import TrustRegionSettings
from rlmaml.settings.whole import configure
from tests.rlmaml.makers import gaussian_policy

POLICY = gaussian_policy()


def test_the_trained_rule_is_that_of_the_inner_settings() -> None:
    for settings in (configure(inner_steps=2), configure("fomaml"), configure("reptile"), configure(inner_loss="dice")):
        expected, rule = gradient_rule(settings.inner, POLICY), adaptation_rule(settings, POLICY)
        for field in ("steps", "step_sizes", "learned", "first_order", "entries"):
            assert getattr(rule, field) == getattr(expected, field)


def test_within_a_trust_region_everything_else_is_as_in_the_meta_updates() -> None:
    settings = configure(max_kl=0.5, damping=1e-3, cg_iterations=7, backtrack=0.5, curvature_fraction=0.3)
    rule = adaptation_rule(settings, POLICY, 0.02)
    assert isinstance(rule, TrustRegionRule)
    trained = {field.name: getattr(settings.outer, field.name) for field in dataclasses.fields(TrustRegionSettings)}
    assert rule.settings == TrustRegionSettings(**trained | {"max_kl": 0.02})
    assert rule.settings.cg_iterations == 7


def test_where_the_meta_updates_have_no_trust_region_it_is_the_default_one() -> None:
    rule = adaptation_rule(configure("reptile"), POLICY, 0.02)
    assert isinstance(rule, TrustRegionRule)
    assert rule.settings == TrustRegionSettings(max_kl=0.02)


@pytest.mark.parametrize("illegal", [0.0, -0.1, float("nan"), float("inf")])
def test_an_illegal_trust_region_is_refused(illegal: float) -> None:
    with pytest.raises(UserError, match="a KL in nats above 0"):
        adaptation_rule(configure(), POLICY, illegal)


def test_a_search_takes_the_place_of_the_trained_rule_and_excludes_a_trust_region() -> None:
    settings, policy = configure("cavia", context=2), gaussian_policy(context=2)
    limits = ContextRange({"context": -torch.ones(2)}, {"context": torch.ones(2)})
    search = Search(SearchSettings("hill-climbing", 10, 2), limits)
    assert adaptation_rule(settings, policy, search=search) == SearchRule(SEARCHES["hill-climbing"], 5, 2, limits)
    with pytest.raises(UserError, match="--search and --trust-region exclude each other"):
        adaptation_rule(settings, policy, 0.02, search)


def test_a_teacher_acts_first_where_there_is_one_and_does_not_adapt() -> None:
    settings = configure("rma", memory=5, latent=3, hidden=(4,), trial_episodes=2)
    policy = make_policy("latent", settings.network, Sizes(3, 2, extended=True, task=1))
    assert adaptation_rule(settings, policy, teacher=True) == TeacherRule(2, "told")
    with pytest.raises(UserError, match="a policy of fomaml has nobody who is; give a run of rma"):
        adaptation_rule(configure("fomaml"), POLICY, teacher=True)
    with pytest.raises(UserError, match="--teacher excludes --trust-region and --search"):
        adaptation_rule(settings, policy, 0.02, teacher=True)
