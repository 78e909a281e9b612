"""Whether a policy is no worse than another, told from the returns of some episodes of each.

A step may move every episode a little, or let a few run away, and of the second kind a mean and its interval know the
less, the worse it is. So the burden of proof is on the new policy: it counts as worse unless its returns show that it
is not, in their mean, which every runaway lowers, in their trimmed mean, which none can blur, and in their median.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri, stdtrit

Returns: TypeAlias = npt.NDArray[np.float64]
"""Of one policy's episodes, in the order of their initial states; NaN for one whose simulation or robot failed."""

MARGIN = 0.5
"""By how much a policy may be worse, as a share of the standard deviation of the other's returns."""
LEVEL = 0.025
"""Of the lower confidence bounds, one-sided: how often what is worse by more than the margin may pass."""
TRIMMED = 0.2
"""Share of the returns that a trimmed mean leaves out at either end."""

ROUNDING = 1e-6
"""Of a mean return, as a share of it."""


class Location(NamedTuple):
    """A mean, or a trimmed one, and how well it is known."""

    mean: float
    variance: float
    """Of the mean; infinite for fewer than two returns."""
    freedom: float
    """Degrees of freedom of that variance."""

    @property
    def lowest(self) -> float:
        """The lower confidence bound, by Student's t at ``LEVEL``."""
        if not np.isfinite(self.variance):
            return -np.inf
        return self.mean + float(stdtrit(self.freedom, LEVEL)) * float(np.sqrt(self.variance))


class Judgement(NamedTuple):
    """Of a policy beside another one."""

    worse: bool
    """It was not shown to be no worse."""
    reason: str
    """In words, to follow the policy's name."""


def location(returns: Returns, trimmed: float = 0.0) -> Location:
    """The mean of the returns without the lowest and the highest ``trimmed`` share of them.

    Its variance is ``(n - 1) s² / (h (h - 1))`` with ``s²`` that of the returns pulled to the ends of those that are
    left, of which there are h (Yuen, Biometrika 61, 1974); without trimming that is ``s² / n``. Failed episodes, NaN,
    are left out.
    """
    ordered = np.sort(returns[np.isfinite(returns)])
    count, cut = len(ordered), int(trimmed * len(ordered))
    left = count - 2 * cut
    if left < 2:
        return Location(float(ordered.mean()) if count else np.nan, np.inf, 0.0)
    kept = ordered[cut : count - cut]
    spread = float(np.clip(ordered, kept[0], kept[-1]).var(ddof=1))
    return Location(float(kept.mean()), (count - 1) * spread / (left * (left - 1)), left - 1)


def difference(candidate: Returns, reference: Returns, trimmed: float = 0.0) -> Location:
    """The (trimmed) mean of ``candidate`` less that of ``reference``: Welch's, and with trimming Yuen's."""
    one, other = location(candidate, trimmed), location(reference, trimmed)
    variance = one.variance + other.variance
    if not 0 < variance < np.inf:
        return Location(one.mean - other.mean, variance, 1.0)
    freedom = variance**2 / sum(part.variance**2 / part.freedom for part in (one, other))
    return Location(one.mean - other.mean, variance, freedom)


def deviation(returns: Returns, trimmed: float = 0.0) -> float:
    """The standard deviation of the returns; with trimming, of what outliers leave of it."""
    count = int(np.isfinite(returns).sum())
    return float(np.sqrt(count * location(returns, trimmed).variance))


def least_deviation(returns: Returns, trimmed: float = 0.0) -> float:
    """The lower confidence bound of :func:`deviation`, by the chi-squared distribution at ``LEVEL``."""
    freedom = location(returns, trimmed).freedom
    return deviation(returns, trimmed) * float(np.sqrt(freedom / chdtri(freedom, LEVEL)))


def largest_loss(gain: Location, reference: Returns, trimmed: float = 0.0) -> float:
    """By how much the mean return may be lower, to be compared with ``MARGIN`` deviations of the reference.

    Neither of the two is known exactly: with a gain d and its lower bound l, a deviation s and its lower bound m, it is
    ``√((d - l)² + MARGIN² (s - m)²) - d``, so that ``d + MARGIN s`` is below its own lower bound with a probability of
    ``LEVEL`` (MOVER: Zou and Donner, Statistics in Medicine 27, 2008). Were the deviation taken as known, pairs that
    are very much alike would pass in up to half of all cases at the margin.
    """
    blur = MARGIN * (deviation(reference, trimmed) - least_deviation(reference, trimmed))
    return float(np.hypot(gain.mean - gain.lowest, blur)) - gain.mean


def share_failed(returns: Returns, floor: float | None = None) -> float:
    """Share of the episodes that failed, or ended with a return below the floor."""
    return float(1.0 - (returns >= (-np.inf if floor is None else floor)).mean())


def judge(candidate: Returns, reference: Returns, *, paired: bool = False, floor: float | None = None) -> Judgement:
    """Whether ``candidate`` counts as worse than ``reference``.

    It does not where no larger share of its episodes failed, and where neither the mean return nor the trimmed mean may
    be lower (see :func:`largest_loss`) by more than ``MARGIN`` standard deviations of the reference's returns (for the
    trimmed mean: of what outliers leave of it). A policy whose returns are worse by that much passes with a probability
    of at most ``LEVEL``, 1 in 40, however alike pairs are; one that is much worse never. One that is as good passes if
    there are enough episodes, or if pairs are alike; of 20 unlike pairs, if it is better by a deviation.

    Nor may the median be lower by more than that, as it was measured: of many episodes, of which most lose and a few
    gain much, both means may be higher. A lower bound of the median (Price and Bonett, Journal of Statistical
    Computation and Simulation 72, 2002) would ask more of what is as good: of 20 normal pairs with a correlation of 0.8
    66 % would pass in place of 77 %.

    Args:
        candidate: returns of the policy that is judged.
        reference: returns of the other one.
        paired: episode i of both began in the same state, with the same noise.
        floor: a return below which an episode counts as failed.
    """
    failed, usual = share_failed(candidate, floor), share_failed(reference, floor)
    if failed > usual:
        kind = "failed" if floor is None else f"failed or ended below {floor:g}"
        return Judgement(True, f"{failed:.0%} of its episodes {kind}, not {usual:.0%}")
    rounding = ROUNDING * abs(location(reference).mean)
    for trimmed, name in ((0.0, "mean"), (TRIMMED, "trimmed mean")):
        gain = location(candidate - reference, trimmed) if paired else difference(candidate, reference, trimmed)
        if not np.isfinite([gain.lowest, deviation(reference, trimmed)]).all():
            return Judgement(True, "too few episodes can be compared")
        allowed, loss = MARGIN * deviation(reference, trimmed), largest_loss(gain, reference, trimmed)
        if loss > allowed + rounding:
            return Judgement(True, f"its {name} return may be lower by {loss:.3g}, and {allowed:.3g} are allowed")
    middle, allowed = median_gain(candidate, reference, paired=paired), MARGIN * deviation(reference, TRIMMED)
    if -middle > allowed + rounding:
        return Judgement(True, f"its median return is lower by {-middle:.3g}, and {allowed:.3g} are allowed")
    lowest = (location(candidate - reference) if paired else difference(candidate, reference)).lowest
    if lowest == 0:
        return Judgement(False, "its mean return is the same")
    told = f"higher by at least {lowest:.3g}" if lowest > 0 else f"lower by {-lowest:.3g} at most"
    return Judgement(
        False, f"its mean return is {told}, its median {'higher' if middle >= 0 else 'lower'} by {abs(middle):.3g}"
    )


def median_gain(candidate: Returns, reference: Returns, *, paired: bool) -> float:
    """The median of what pairs gained, or the median return less that of the other policy; without failed episodes."""
    if paired:
        return float(np.nanmedian(candidate - reference))
    return float(np.nanmedian(candidate) - np.nanmedian(reference))
