"""What a search tries next, of one task, from what it has measured: functions of their arguments and one generator.

Points are in the box [-1, 1]ⁿ. The first one is where the search starts.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from rlmaml.base.as_before import held_filters
from rlmaml.settings.search import SearchKind

Floats: TypeAlias = npt.NDArray[np.float64]

SPREAD = 0.5
"""Standard deviation of a search's first steps: a quarter of the box."""


class Measured(NamedTuple):
    """Different points in the order in which they were first tried."""

    points: Floats
    """(point, entry)"""
    means: Floats
    """(point,), of all returns that were measured there; -inf where one of them is not known."""
    counts: npt.NDArray[np.int64]
    """(point,), how often each was measured."""
    slopes: Floats
    """(point, entry), the mean of the measured gradients of the return; 0 where none was."""

    @property
    def leader(self) -> int:
        """Which has the best mean, the earliest of equals."""
        return int(self.means.argmax())


Propose: TypeAlias = Callable[[Measured, np.random.Generator, int], Floats]
"""``propose(measured, generator, attempts)``: the next new point (entry,), of as many attempts in all."""


def measured(points: Floats, returns: Floats, slopes: Floats | None = None) -> Measured:
    """What is known of every point: returns of the same one are averaged, and gradients are.

    Args:
        points: (attempt, entry), one or more.
        returns: (attempt,), NaN where no episode could be used.
        slopes: (attempt, entry), what was measured of the return's gradient; None where nothing was.
    """
    found: dict[bytes, int] = {}
    which = np.array([found.setdefault(point.tobytes(), len(found)) for point in points])
    counts = np.bincount(which)
    known = np.bincount(which, np.where(np.isnan(returns), -np.inf, returns)) / counts
    sums = np.zeros((len(found), points.shape[1]))
    if slopes is not None:
        np.add.at(sums, which, slopes)
    return Measured(points[np.unique(which, return_index=True)[1]], known, counts, sums / counts[:, None])


def next_point(
    propose: Propose, known: Measured, generator: np.random.Generator, *, tried: int, attempts: int
) -> Floats:
    """What is tried after ``tried`` of all attempts: the leader once there are none left, or else something new.

    A new leader may owe its place to luck, so that it is measured again before anything else is tried.
    """
    lucky = known.leader > 0 and known.counts[known.leader] == 1
    if tried >= attempts or lucky:
        return np.array(known.points[known.leader])
    return propose(known, generator, attempts)


def hill_climbing(known: Measured, generator: np.random.Generator, attempts: int) -> Floats:  # noqa: ARG001
    """A normal step from the leader, larger after successes: ``σ ← σ exp((success − 1/5) / √(n + 1))``.

    The one-fifth rule of (1 + 1) evolution strategies (Rechenberg, 1973). What leaves the box is put on its edge.
    """
    return _stepped(known, generator.standard_normal(known.points[0].shape))


def gradient_ascent(known: Measured, generator: np.random.Generator, attempts: int) -> Floats:  # noqa: ARG001
    """As :func:`hill_climbing`, but half of the step's square is along the policy gradient g at the leader.

    ``c + σ (√n g / ‖g‖ + z) / √2`` with z standard normal, of n entries: as long as a normal step. A gradient of few
    episodes is mostly noise, and a search along it alone would try one wrong direction again and again: guided
    evolution strategies leave a share to chance for that reason (arXiv 1806.10230). Without a gradient, the step is
    normal.
    """
    slope = known.slopes[known.leader]
    normal = generator.standard_normal(slope.shape)
    length = float(np.linalg.norm(slope))
    if not 0 < length < math.inf:
        return _stepped(known, normal)
    return _stepped(known, (math.sqrt(len(slope)) * slope / length + normal) / math.sqrt(2))


def _stepped(known: Measured, direction: Floats) -> Floats:
    """From the leader, as far as the one-fifth rule says."""
    successes = known.means[1:] > np.maximum.accumulate(known.means)[:-1]
    sigma = SPREAD * math.exp(float((successes - 0.2).sum()) / math.sqrt(len(direction) + 1))
    return np.array(np.clip(known.points[known.leader] + sigma * direction, -1.0, 1.0))


def cma_es(known: Measured, generator: np.random.Generator, attempts: int) -> Floats:
    """A draw of CMA-ES (arXiv 1604.00772), which is told again of all whole generations: nothing else is remembered.

    The point where the search starts is the first of the first generation.
    """
    with held_filters():
        from cmaes import CMA  # takes seconds, and who does not search can do without

    entries = known.points.shape[1]
    strategy = CMA(
        mean=known.points[0],
        sigma=SPREAD,
        bounds=np.array([[-1.0, 1.0]] * entries),
        seed=int(generator.integers(2**31)),
        population_size=population(entries, attempts),
    )
    size = strategy.population_size
    for first in range(0, len(known.points) - size + 1, size):
        told = range(first, first + size)
        strategy.tell([(known.points[i], -float(known.means[i])) for i in told])
    point: Floats = strategy.ask()
    return point


def population(entries: int, attempts: int) -> int:
    """Points of a generation: ``4 + ⌊3 ln n⌋`` (arXiv 1604.00772), or fewer for a short search, so that it learns."""
    return max(4, min(4 + math.floor(3 * math.log(entries)), attempts // 4))


SEARCHES: Mapping[SearchKind, Propose] = {
    "cmaes": cma_es,
    "hill-climbing": hill_climbing,
    "gradient": gradient_ascent,
}
