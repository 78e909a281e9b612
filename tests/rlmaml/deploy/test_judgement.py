from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats

from rlmaml.deploy.judgement import (
    LEVEL,
    MARGIN,
    TRIMMED,
    deviation,
    difference,
    judge,
    largest_loss,
    least_deviation,
    location,
    share_failed,
)

RUNS, EPISODES = 200, 20

Change = Callable[[npt.NDArray[np.float64], np.random.Generator], npt.NDArray[np.float64]]


def moved(by: float) -> Change:
    """Every return moves by so many standard deviations."""
    return lambda returns, _: returns + by


def running_away(share: float, by: float) -> Change:
    """The mean moves by so many standard deviations, for a share of the episodes runs away."""
    return lambda returns, draw: (
        returns + (draw.random(len(returns)) < share) * by / share * draw.exponential(size=len(returns))
    )


def widened(by: float) -> Change:
    """The mean moves by so many standard deviations, and the returns spread four times as far."""
    return lambda returns, _: 4 * returns + by


def kept(change: Change, *, alike: float | None = None, seed: int = 0) -> int:
    """Of 200 judged policies, with ``alike`` the correlation of the pairs, how many pass."""
    draw = np.random.default_rng(seed)
    passed = 0
    for _ in range(RUNS):
        before, fresh = draw.standard_normal((2, EPISODES))
        after = fresh if alike is None else alike * before + np.sqrt(1 - alike**2) * fresh
        passed += not judge(change(after, draw), before, paired=alike is not None).worse
    return passed


def test_a_trimmed_mean_leaves_out_its_share_at_either_end_and_its_variance_is_yuens() -> None:
    returns = np.array([-90.0, 1.0, 2.0, 4.0, 30.0])
    known = location(returns, 0.2)
    assert known.mean == pytest.approx(7 / 3)
    pulled = np.array([1.0, 1.0, 2.0, 4.0, 4.0])
    assert known.variance == pytest.approx(4 * pulled.var(ddof=1) / (3 * 2))
    assert known.freedom == 2
    assert location(returns).variance == pytest.approx(returns.var(ddof=1) / 5)
    assert location(np.append(returns, np.nan), 0.2) == known


@pytest.mark.parametrize("trimmed", [0.0, TRIMMED])
def test_a_difference_has_the_interval_of_welchs_test_and_trimmed_of_yuens(trimmed: float) -> None:
    draw = np.random.default_rng(0)
    one, other = draw.standard_normal(15), 3 * draw.standard_normal(11) - 1
    expected = scipy.stats.ttest_ind(one, other, equal_var=False, trim=trimmed)
    known = difference(one, other, trimmed)
    assert known.lowest == pytest.approx(expected.confidence_interval(1 - 2 * LEVEL).low)


def test_fewer_than_two_returns_have_no_lower_bound_and_none_have_no_mean() -> None:
    assert location(np.array([3.0])).lowest == -np.inf
    assert np.isnan(location(np.array([np.nan])).mean)
    for few in (np.array([9.0]), np.array([np.nan, np.nan])):
        assert judge(few, np.array([1.0, 2.0])).worse
        assert judge(np.array([9.0, 9.5]), few[:1]).worse
    assert judge(np.array([9.0]), np.array([1.0])).reason == "too few episodes can be compared"


def test_outliers_leave_the_deviation_of_a_trimmed_mean_as_it_was() -> None:
    returns = np.random.default_rng(0).standard_normal(100)
    assert deviation(returns) == pytest.approx(returns.std(ddof=1))
    assert deviation(returns, TRIMMED) == pytest.approx(1, abs=0.2)
    returns[:5] = -1000
    assert deviation(returns, TRIMMED) == pytest.approx(1, abs=0.3)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("change", [moved(-3), widened(-3), *(running_away(share, -3) for share in (0.5, 0.7, 1.0))])
@pytest.mark.parametrize("alike", [None, 0.9])
def test_a_mean_that_falls_by_three_deviations_never_passes(change: Change, alike: float | None) -> None:
    assert kept(change, alike=alike) == 0


@pytest.mark.usefixtures("unchecked")
def test_rare_runaways_pass_where_none_is_seen_and_hardly_else() -> None:
    unseen = 0.9**EPISODES * RUNS
    assert kept(running_away(0.1, -3), alike=0.9) < 1.3 * unseen


def returns_of(kind: str, alike: float, draw: np.random.Generator) -> npt.NDArray[np.float64]:
    """Returns of two policies that are as good, (2, episodes), of deviation 1 and with pairs that are so much alike."""
    draws: dict[str, Callable[[], npt.NDArray[np.float64]]] = {
        "normal": lambda: draw.standard_normal((2, EPISODES)),
        "exponential": lambda: -draw.exponential(size=(2, EPISODES)),
        "heavy-tailed": lambda: draw.standard_t(3, (2, EPISODES)) / 3**0.5,
    }
    before, after = draws[kind]()
    if kind == "normal":
        return np.stack([before, alike * before + np.sqrt(1 - alike**2) * after])
    return np.stack([before, np.where(draw.random(EPISODES) < alike, before, after)])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", ["normal", "exponential", "heavy-tailed"])
@pytest.mark.parametrize("alike", [0.8, 1.0])
def test_what_is_worse_by_the_margin_passes_in_1_case_of_40_at_most_however_alike_pairs_are(
    kind: str, alike: float
) -> None:
    draw, runs = np.random.default_rng(2), 500
    passed = sum(
        not judge(after - MARGIN, before, paired=True).worse
        for before, after in (returns_of(kind, alike, draw) for _ in range(runs))
    )
    assert passed <= LEVEL * runs + 3 * np.sqrt(LEVEL * (1 - LEVEL) * runs)


@pytest.mark.usefixtures("unchecked")
def test_where_pairs_are_the_same_but_for_the_margin_1_case_of_40_passes_and_the_bound_is_not_lower_than_need_be() -> (
    None
):
    draw, runs = np.random.default_rng(5), 2000
    before = draw.standard_normal((runs, EPISODES))
    passed = sum(-MARGIN + MARGIN * least_deviation(one) >= 0 for one in before) / runs
    assert passed == pytest.approx(LEVEL, abs=0.01)
    same = before[0]
    assert largest_loss(location(np.full(EPISODES, -0.1)), same) == pytest.approx(
        0.1 + MARGIN * (same.std(ddof=1) - least_deviation(same))
    )


@pytest.mark.usefixtures("unchecked")
def test_what_is_worse_by_the_margin_passes_as_rarely_without_pairs() -> None:
    assert kept(moved(-0.5)) <= 12
    assert kept(widened(-0.5)) <= 12


@pytest.mark.usefixtures("unchecked")
def test_what_is_better_passes() -> None:
    assert kept(moved(1)) >= 190
    assert kept(moved(0.5), alike=0.9) >= 198
    assert kept(moved(0), alike=0.9) >= 180
    assert kept(widened(30)) >= 190


def test_the_same_returns_are_no_worse_and_constant_ones_are_judged_exactly() -> None:
    returns = np.array([-3.0, -1.0, -2.0])
    assert judge(returns, returns, paired=True) == (False, "its mean return is the same")
    constant = np.full(4, -7.0)
    assert not judge(constant, constant).worse
    assert judge(constant - 0.1, constant).worse


def test_the_median_is_told_beside_the_mean_which_a_few_episodes_move() -> None:
    before = np.array([0.0, 1.0, 2.0, 3.0, 4.0, np.nan])
    after = np.array([9.0, 8.5, 8.0, 12.0, 11.0, 9.0])
    assert judge(after, before, paired=True).reason.endswith(", its median higher by 7.5")
    assert judge(after, before).reason.endswith(", its median higher by 7")
    assert (
        judge(after - 0.1, after, paired=True).reason
        == "its mean return is lower by 0.1 at most, its median lower by 0.1"
    )


def test_what_makes_most_episodes_worse_is_worse_however_much_the_others_gain() -> None:
    before = np.random.default_rng(0).normal(size=100)
    after = before + np.where(np.arange(100) < 55, -1.0, 9.0)
    for trimmed in (0.0, TRIMMED):
        assert location(after - before, trimmed).lowest > 0
    assert judge(after, before, paired=True).reason.startswith("its median return is lower by 1, and 0.")
    assert judge(after, before, paired=True).worse
    assert not judge(before + np.where(np.arange(100) < 45, -1.0, 9.0), before, paired=True).worse


def test_no_larger_share_of_episodes_may_fail_or_end_below_the_floor() -> None:
    before, after = np.linspace(0, 1, 20), np.linspace(5, 6, 20)
    assert not judge(after, before).worse
    after[0] = np.nan
    assert judge(after, before) == (True, "5% of its episodes failed, not 0%")
    after[0] = 0.5
    assert judge(after, before, floor=0.6).worse is False
    before += 0.6
    assert judge(after, before, floor=0.6) == (True, "5% of its episodes failed or ended below 0.6, not 0%")
    assert share_failed(np.array([np.nan, -1.0, 2.0, 3.0]), 0.0) == 0.5
