import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.core.parameters import for_every_task
from rlmaml.core.types import Meta
from rlmaml.evaluation.context_range import RANGE_SEED, context_range
from rlmaml.rules.adaptation_rule import trained_rule
from rlmaml.rules.search_rule import ContextRange
from rlmaml.sampling.collect import episodes_of
from rlmaml.settings.whole import Settings, configure
from rlmaml_envs import make_tasks_env
from tests.rlmaml.makers import gaussian_policy

SETTINGS = configure(
    "cavia", context=3, inner_steps=2, inner_step_sizes=(2.0,), num_episodes=4, horizon=8, hidden=(8,), threads=1
)
POLICY = gaussian_policy(observation_size=2, hidden=(8,), context=3)


def measured(settings: Settings = SETTINGS, num_tasks: int = 5) -> ContextRange:
    env = make_tasks_env("Navigation2D-v0", num_tasks * 4, 8, variant="finn2017")
    rule, meta = trained_rule(settings, POLICY), Meta(POLICY.init(0), {})
    return context_range(env, POLICY, rule, meta, settings, num_tasks=num_tasks)


def test_the_range_holds_every_context_of_the_trained_rule_and_0_and_is_no_larger() -> None:
    low, high = measured()
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
    assert bool((low["context"] < 0).all() and (high["context"] > 0).all())


def test_a_policy_that_takes_no_steps_has_a_range_without_width_and_one_without_context_none() -> None:
    low, high = measured(configure(inner_steps=0, context=3, num_episodes=4, horizon=8, hidden=(8,), threads=1))
    assert torch.equal(low["context"], torch.zeros(3))
    assert torch.equal(high["context"], torch.zeros(3))
    env = make_tasks_env("Navigation2D-v0", 4, 8, variant="finn2017")
    plain, rule = gaussian_policy(observation_size=2), trained_rule(SETTINGS, POLICY)
    meta = Meta(plain.init(0), {})
    with pytest.raises(UserError, match="has no context"):
        context_range(env, plain, rule, meta, SETTINGS, num_tasks=1)
