import numpy as np
import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.base.random_streams import RandomStreams
from rlmaml.core.types import Seen
from rlmaml.sampling.rollout import rollout
from rlmaml.sampling.smooth_actions import NO_PARAMETERS, SmoothActions
from tests.rlmaml.scripted import ScriptedEnvironment


def test_actions_have_one_deviation_from_the_first_on_and_the_correlation_that_is_asked_for(unchecked: None) -> None:
    env = ScriptedEnvironment(4000, {})
    env.horizon = 12
    acting = SmoothActions(2, correlation=0.8, std=0.5)
    sampled = rollout(env, acting, NO_PARAMETERS, tasks=range(2), streams=RandomStreams(0), k=0)
    actions = sampled.actions.flatten(0, 1).double().numpy()  # [episode, time, action]
    np.testing.assert_allclose(actions.mean(0), 0.0, atol=0.03)
    np.testing.assert_allclose(actions.std(0), 0.5, atol=0.02)
    for apart in (1, 5):
        products = (actions[:, :-apart] * actions[:, apart:]).mean() / 0.25
        assert products == pytest.approx(0.8**apart, abs=0.02)
    assert abs((actions[..., 0] * actions[..., 1]).mean()) < 0.01


def test_without_correlation_actions_are_noise() -> None:
    noise = torch.linspace(-1, 1, 6).view(1, 3, 2)
    seen = Seen(torch.zeros(1, 3, 4), 9 * noise, torch.zeros(1, 3), torch.zeros(1, 3) > 0)
    distribution, carry = SmoothActions(2, correlation=0.0).act(NO_PARAMETERS)(seen, ())
    assert torch.equal(distribution.sample(noise), noise)
    assert carry == ()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"correlation": 1.0}, "--action-correlation is 1.0; it must be from 0 to below 1"),
        ({"correlation": float("nan")}, "--action-correlation is nan"),
        ({"std": 0.0}, "--action-std is 0.0; it must be a finite number above 0"),
    ],
)
def test_numbers_that_make_no_process_are_refused(wrong: dict[str, float], error: str) -> None:
    with pytest.raises(UserError, match=error):
        SmoothActions(2, **wrong)
