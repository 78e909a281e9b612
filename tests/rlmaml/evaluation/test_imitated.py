import numpy as np
import pytest
import torch

from rlmaml.core.losses import squared_error
from rlmaml.core.types import Meta
from rlmaml.evaluation.imitated import imitated, shares_of_gap
from rlmaml.evaluation.query_scores import QueryScores
from rlmaml.families.imitation import Demonstrations, Imitation
from rlmaml.rules.adaptation_rule import trained_rule
from rlmaml.settings.whole import configure
from rlmaml_envs import make_tasks_env
from tests.rlmaml.makers import gaussian_policy

GOALS = np.array([[0.3, -0.2], [-0.4, 0.1]])


def linear_demonstrator() -> Demonstrations:
    """Who goes straight to its goal, ``a = goal − position``, seen at random positions within 0.5 m."""
    positions = torch.rand(2, 6, 20, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    goals = torch.from_numpy(GOALS).float().view(2, 1, 1, 2)
    return Demonstrations(positions, goals - positions, torch.ones(2, 6, 20) > 0)


@pytest.mark.slow
def test_a_linear_demonstrator_is_cloned_and_its_return_is_reached() -> None:
    policy = gaussian_policy(2, 2, hidden=())
    settings = configure("maml-trpo", outer_optimiser="adam", hidden=(), inner_step_sizes=(0.8,), threads=1)
    meta = Meta({name: torch.zeros_like(value) for name, value in policy.init(0).items()}, {})
    env = make_tasks_env("Navigation2D-v0", 4, 100, variant="finn2017")
    family = Imitation("it", linear_demonstrator(), shots=3, queries=3)
    reached = imitated(
        *(env, {"goal": GOALS}, family, policy, trained_rule(settings, policy, squared_error), meta, settings),
        steps=120,
        seed=0,
    )
    distances = np.linalg.norm(GOALS, axis=1)
    np.testing.assert_allclose(reached.returns.scores[:, 0], -100 * distances, rtol=1e-5)
    assert float(reached.errors.scores[:, -1].max()) < 1e-6
    assert float(reached.errors.scores[:, 0].min()) > 0.05
    # every move of 0.1 (goal − position) leaves 0.9 of the distance, until both axes are within 0.01 m of the goal
    for returned, goal in zip(reached.returns.scores[:, -1], GOALS, strict=True):
        steps = 1 + int(np.floor(np.log(0.01 / np.abs(goal).max()) / np.log(0.9)))
        by_hand = -np.linalg.norm(goal) * sum(0.9**step for step in range(1, steps + 1))
        assert float(returned) == pytest.approx(by_hand, rel=0.02)


def test_shares_of_the_gap_are_those_of_the_sums_and_their_interval_is_computed_by_hand() -> None:
    reached = QueryScores(torch.tensor([[0.0, 4.0], [10.0, 14.0], [0.0, 4.0]]))
    shares = shares_of_gap(reached, QueryScores(torch.tensor([[5.0], [20.0], [15.0]])))
    assert shares["mean"] == pytest.approx([0.0, 0.4])
    # residuals 4 − 2, 4 − 4 and 4 − 6: deviation 2 with two degrees of freedom, divided by √3 and the mean gap 10
    half = 4.302652730 * 2 / 3**0.5 / 10
    assert shares["ci95"][1] == pytest.approx([0.4 - half, 0.4 + half])
    assert shares["ci95"][0] == pytest.approx([0.0, 0.0])


def test_without_a_lead_there_is_no_share() -> None:
    reached = QueryScores(torch.tensor([[1.0, 4.0], [2.0, 3.0]]))
    assert shares_of_gap(reached, QueryScores(torch.tensor([[1.0], [2.0]])))["mean"] == [None, None]
