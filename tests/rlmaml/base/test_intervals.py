import numpy as np
import pytest
import scipy.stats

from rlmaml.base.intervals import FEWEST, finite_or_none, half_interval


def test_half_the_interval_is_that_of_a_t_test_in_every_column() -> None:
    samples = np.random.default_rng(0).standard_normal((6, 3))
    for column, half in enumerate(half_interval(samples)):
        interval = scipy.stats.ttest_1samp(samples[:, column], 0).confidence_interval(0.95)
        assert half == pytest.approx((interval.high - interval.low) / 2)
    assert float(half_interval(samples[:, 0])) == half_interval(samples)[0]


@pytest.mark.parametrize("count", range(FEWEST))
def test_too_few_samples_have_no_interval(count: int) -> None:
    assert np.isnan(half_interval(np.ones((count, 2)))).tolist() == [True, True]
    assert np.isfinite(half_interval(np.ones((FEWEST, 2)))).all()


def test_what_json_does_not_know_is_none() -> None:
    assert finite_or_none(np.array([1.5, np.nan, np.inf])) == [1.5, None, None]
