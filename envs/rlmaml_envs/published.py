"""What others published of a problem, to stand beside a run that is evaluated on as much."""

from typing import NamedTuple


class Published(NamedTuple):
    """One row of a published table."""

    means: tuple[float, ...]
    """Mean returns after 0, 1, 2, ... inner steps, as many as were published."""
    episodes: int
    """Of each task, at each of these."""
    tasks: int = 40
    """Over which the means are."""
