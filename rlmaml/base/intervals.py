"""Confidence intervals of means."""

import numpy as np
import numpy.typing as npt

FEWEST = 3
"""Samples of which an interval is told: that of two is 9 times a standard deviation that a single difference says."""


def half_interval(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Half of Student's 95 % interval of the mean over the first axis; NaN for fewer samples than :data:`FEWEST`."""
    count = len(samples)
    if count < FEWEST:
        return np.full(samples.shape[1:], np.nan)
    from scipy.special import stdtrit  # takes a while, and a training can begin without

    return np.asarray(stdtrit(count - 1, 0.975) * samples.std(0, ddof=1) / np.sqrt(count), np.float64)


def finite_or_none(values: npt.NDArray[np.float64]) -> list[float | None]:
    """Numbers for JSON, which has no NaN: None stands for what is not defined."""
    return [float(value) if np.isfinite(value) else None for value in values]
