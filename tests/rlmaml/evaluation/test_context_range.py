import numpy as np
import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.core.parameters import for_every_task
from rlmaml.core.types import Meta
from rlmaml.evaluation.context_range import RANGE_SEED, context_range
from rlmaml.policies.kinds import make_policy
from rlmaml.policies.latent import LatentPolicy
from rlmaml.rules.adaptation_rule import trained_rule
from rlmaml.rules.search_rule import ContextRange, Search, search_rule
from rlmaml.sampling.collect import episodes_of
from rlmaml.settings.search import SearchSettings
from rlmaml.settings.whole import Settings, configure
from rlmaml.training.begin import sizes_in
from rlmaml_envs import make_tasks_env
from tests.rlmaml.makers import assert_same, gaussian_policy

SETTINGS = configure(
    "cavia", context=3, inner_steps=2, inner_step_sizes=(2.0,), num_episodes=4, horizon=8, hidden=(8,), threads=1
)
POLICY = gaussian_policy(observation_size=2, hidden=(8,), context=3)


def measured(settings: Settings = SETTINGS, num_tasks: int = 5) -> ContextRange:
    env = make_tasks_env("Navigation2D-v0", num_tasks * 4, 8, variant="finn2017")
    rule, meta = trained_rule(settings, POLICY), Meta(POLICY.init(0), {})
    return context_range(env, POLICY, rule, meta, settings, num_tasks=num_tasks)


def test_the_range_holds_every_context_of_the_trained_rule_and_0_and_is_no_larger() -> None:
    low, high, bounds = measured()
    env = make_tasks_env("Navigation2D-v0", 20, 8, variant="finn2017")
    streams = RandomStreams(RANGE_SEED, Phase.EVALUATION, tasks=range(5))
    env.set_tasks(env.sample_tasks(5, streams.task_seeds(5)))
    collect = episodes_of(env, POLICY, SETTINGS.advantages, streams, range(5), "cpu")
    rule, meta = trained_rule(SETTINGS, POLICY), for_every_task(Meta(POLICY.init(0), {}), 5)
    first = rule.begin(meta)
    second = rule.step(POLICY, meta, first, collect(first, 0).data, 0)
    third = rule.step(POLICY, meta, second, collect(second, 1).data, 1)
    met = torch.cat([stage.params["context"] for stage in (first, second, third)])
    assert torch.equal(low["context"], met.min(0).values)
    assert torch.equal(high["context"], met.max(0).values)
    assert not bounds
    assert bool((low["context"] < 0).all() and (high["context"] > 0).all())


def test_a_policy_that_takes_no_steps_has_a_range_without_width_and_one_without_context_none() -> None:
    low, high, _ = measured(configure(inner_steps=0, context=3, num_episodes=4, horizon=8, hidden=(8,), threads=1))
    assert torch.equal(low["context"], torch.zeros(3))
    assert torch.equal(high["context"], torch.zeros(3))
    env = make_tasks_env("Navigation2D-v0", 4, 8, variant="finn2017")
    plain, rule = gaussian_policy(observation_size=2), trained_rule(SETTINGS, POLICY)
    meta = Meta(plain.init(0), {})
    with pytest.raises(UserError, match="has no context"):
        context_range(env, plain, rule, meta, SETTINGS, num_tasks=1)


def test_what_is_added_to_a_students_guess_may_reach_every_latent_that_its_teacher_tells_and_none_beyond() -> None:
    settings = configure("rma", num_episodes=1, horizon=8, hidden=(8,), memory=4, latent=3, threads=1)
    env = make_tasks_env("Navigation2D-v0", 6, 8, variant="finn2017", observe_task=True)
    policy = make_policy(settings.policy, settings.network, sizes_in(env, settings))
    assert isinstance(policy, LatentPolicy)
    meta = Meta(policy.init(0), {})
    low, high, bounds = context_range(env, policy, trained_rule(settings, policy), meta, settings, num_tasks=6)
    seeds = RandomStreams(RANGE_SEED, Phase.EVALUATION, tasks=range(6)).task_seeds(6)
    env.set_tasks(env.sample_tasks(6, seeds))
    told = policy.taught(meta.params, torch.from_numpy(np.asarray(env.reset(seed=0)[0], np.float32)))
    assert_same(bounds["latent.lowest"], told.amin(0))
    assert_same(bounds["latent.highest"], told.amax(0))
    assert_same(high["latent.shift"], told.amax(0) - told.amin(0))
    assert_same(low["latent.shift"], -high["latent.shift"])
    found = search_rule(Search(SearchSettings("cmaes", 9), ContextRange(low, high, bounds)), policy)
    begun = found.begin(for_every_task(meta, 2))
    assert torch.equal(begun.params["latent.shift"], torch.zeros(2, 3))
    assert torch.equal(begun.params["latent.lowest"], bounds["latent.lowest"].expand(2, 3))
