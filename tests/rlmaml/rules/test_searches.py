import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rlmaml.rules.searches import (
    SEARCHES,
    SPREAD,
    Floats,
    Measured,
    Propose,
    cma_es,
    gradient_ascent,
    hill_climbing,
    measured,
    next_point,
    population,
)

A, B, C = (np.array(point) for point in ([0.0, 0.0], [0.5, -0.5], [0.25, 1.0]))


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def known(points: list[Floats], returns: list[float]) -> Measured:
    return measured(np.stack(points), np.array(returns))


def test_returns_of_a_point_that_was_tried_again_are_averaged() -> None:
    # A: (1 + 4)/2 = 2.5, B: 3 once, C: (9 − 5 − 1)/3 = 1
    found = known([A, C, B, A, C, C], [1.0, 9.0, 3.0, 4.0, -5.0, -1.0])
    assert found.points.tolist() == [A.tolist(), C.tolist(), B.tolist()]
    assert found.means.tolist() == [2.5, 1.0, 3.0]
    assert found.counts.tolist() == [2, 3, 1]
    assert found.leader == 2


def test_a_point_of_which_an_attempt_failed_never_leads_and_the_earliest_of_equals_does() -> None:
    assert known([A, B, B, C], [-9.0, 5.0, np.nan, -9.0]).leader == 0
    assert known([A, B], [np.nan, np.nan]).leader == 0


def recorded_proposal(known: Measured, generator: np.random.Generator, attempts: int) -> Floats:
    return C


def test_a_new_leader_is_measured_again_before_anything_else_is_tried() -> None:
    def following(points: list[Floats], returns: list[float], attempts: int = 9) -> list[float]:
        found = known(points, returns)
        chosen = next_point(recorded_proposal, found, generator(), tried=len(points), attempts=attempts)
        return [float(value) for value in chosen]

    assert following([A], [1.0]) == C.tolist()
    assert following([A, B], [1.0, 2.0]) == B.tolist()
    assert following([A, B, B], [1.0, 2.0, 1.5]) == C.tolist()
    assert following([A, B, B], [1.0, 2.0, -1.0]) == C.tolist()
    assert following([A, B], [1.0, 0.0]) == C.tolist()


def test_after_the_last_attempt_it_is_the_best() -> None:
    found = known([A, B, B], [1.0, 2.0, -1.0])
    assert next_point(recorded_proposal, found, generator(), tried=3, attempts=3).tolist() == A.tolist()
    assert next_point(recorded_proposal, found, generator(), tried=4, attempts=3).tolist() == A.tolist()


def test_a_climber_steps_from_the_leader_by_the_one_fifth_rule_and_stays_in_the_box() -> None:
    # two entries; B succeeded, C failed: σ = ½ exp((0.8 − 0.2)/√3)
    found = known([A, B, C], [0.0, 2.0, 1.0])
    step = generator(4).standard_normal(2) * SPREAD * np.exp(0.6 / np.sqrt(3))
    assert np.allclose(hill_climbing(found, generator(4), 9), np.clip(B + step, -1, 1), rtol=0, atol=1e-15)
    every = np.stack([hill_climbing(found, generator(seed), 9) for seed in range(200)])
    assert np.abs(every).max() == 1.0


def test_half_of_a_climbers_step_by_gradient_is_along_it_as_far_as_the_one_fifth_rule_says() -> None:
    points, slopes = np.stack([A, B, C, B]), np.array([[9.0, 9.0], [1.0, 0.0], [5.0, 5.0], [-4.0, 4.0]])
    found = measured(points, np.array([0.0, 2.0, 1.0, 2.0]), slopes)
    assert found.slopes.tolist() == [[9.0, 9.0], [-1.5, 2.0], [5.0, 5.0]]
    sigma, normal = SPREAD * np.exp(0.6 / np.sqrt(3)), generator(4).standard_normal(2)
    step = sigma * (np.sqrt(2) * np.array([-0.6, 0.8]) + normal) / np.sqrt(2)
    assert np.allclose(gradient_ascent(found, generator(4), 9), np.clip(B + step, -1, 1), rtol=0, atol=1e-15)
    for nothing in (0.0, np.nan, np.inf):
        blind = found._replace(slopes=np.full((3, 2), nothing))
        assert np.array_equal(gradient_ascent(blind, generator(4), 9), hill_climbing(blind, generator(4), 9))


def test_eight_numbers_are_found_sooner_by_gradient_than_without_and_a_wrong_one_leads_astray_no_further() -> None:
    def left(propose: Propose, seed: int, share: float = 1.0) -> float:
        """What is left after 20 attempts of the distance squared to an optimum, with a share of the true gradient."""
        draw, points, returns, slopes = generator(seed), [np.zeros(8)], list[float](), list[Floats]()
        optimum = draw.uniform(-0.8, 0.8, 8)
        for _ in range(20):
            off = points[-1] - optimum
            returns.append(-float((off**2).sum()))
            slopes.append(share * -2 * off + (1 - share) * draw.standard_normal(8))
            found = measured(np.stack(points), np.array(returns), np.stack(slopes))
            points.append(next_point(propose, found, draw, tried=len(points), attempts=20))
        return max(returns) / returns[0]

    blind, guided, misled = (
        float(np.mean([left(propose, seed, share) for seed in range(20)]))
        for propose, share in ((hill_climbing, 0.0), (gradient_ascent, 1.0), (gradient_ascent, 0.0))
    )
    assert guided < 0.6 * blind
    assert misled < 0.95


def test_cma_es_is_told_of_whole_generations_alone() -> None:
    points = [A, *np.random.default_rng(7).uniform(-1, 1, (6, 2))]
    returns = [0.0, 3.0, -1.0, 2.0, 8.0, 5.0, -4.0]
    first = cma_es(known(points[:4], returns[:4]), generator(), 16)
    assert population(2, 16) == 4
    within = [cma_es(known(points[:n], [*returns[:4], *([99.0] * (n - 4))]), generator(), 16) for n in (5, 6, 7)]
    assert all(np.array_equal(point, first) for point in within)
    assert not np.array_equal(first, cma_es(known(points[:3], returns[:3]), generator(), 16))
    assert not np.array_equal(first, cma_es(known(points[:4], returns[3::-1]), generator(), 16))


def test_the_first_search_by_cma_es_leaves_no_filter_of_warnings() -> None:
    """In a process of its own: what it imports adds some, once."""
    program = (
        "import warnings, numpy as np\n"
        "from rlmaml.rules.searches import cma_es, measured\n"
        "before = list(warnings.filters)\n"
        "cma_es(measured(np.zeros((1, 2)), np.zeros(1)), np.random.default_rng(0), 16)\n"
        "assert list(warnings.filters) == before"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.parametrize(("entries", "attempts", "size"), [(5, 5, 4), (5, 20, 5), (5, 50, 8), (1, 50, 4), (20, 80, 12)])
def test_generations_of_a_short_search_are_small(entries: int, attempts: int, size: int) -> None:
    assert population(entries, attempts) == size


@pytest.mark.parametrize("propose", SEARCHES.values(), ids=SEARCHES)
def test_a_proposal_follows_from_its_arguments_alone(propose: Propose) -> None:
    found = known([A, B, C, A + 0.1, B + 0.1, C - 0.1], [1.0, 3.0, 2.0, -1.0, 0.0, 0.5])
    before = [array.copy() for array in found]
    np.random.seed(3)  # noqa: NPY002 (what must not matter)
    first, other = propose(found, generator(1), 16), propose(found, generator(2), 16)
    np.random.seed(4)  # noqa: NPY002
    assert np.array_equal(first, propose(found, generator(1), 16))
    assert not np.array_equal(first, other)
    assert all(np.array_equal(*pair) for pair in zip(before, found, strict=True))
    assert np.abs(first).max() <= 1.0
