"""One random generator per copy, made when it is first asked for."""

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rlmaml_envs.family import Copies


class CopyGenerators(dict[int, np.random.Generator]):
    """Copy index -> its generator, seeded as a single environment seeds its own.

    Seeding costs no generator: one is made at its first look-up, because most families' initial states need
    none and making hundreds takes milliseconds. A copy that was never seeded draws its seed from the system.
    """

    def __init__(self, num_copies: int) -> None:
        super().__init__()
        self._seeds: list[int | None] = [None] * num_copies

    def seed(self, copies: Copies, seeds: Sequence[int | None]) -> None:
        """Restart the generators of ``copies`` from ``seeds[copy]``; None lets a copy's generator run on."""
        for copy in copies.tolist():
            if seeds[copy] is not None:
                self._seeds[copy] = seeds[copy]
                self.pop(copy, None)

    def __missing__(self, copy: int) -> np.random.Generator:
        # What default_rng makes, in half its time.
        generator = self[copy] = np.random.Generator(np.random.PCG64(self._seeds[copy]))
        return generator


def copy_seeds(seed: Any, num_copies: int) -> list[int | None]:
    """One seed per copy: an int s gives ``s + i`` to copy i, a sequence is taken as it is.

    Raises:
        TypeError: a seed is not an integer.
        ValueError: a sequence that does not have ``num_copies`` entries, or a negative seed.
    """
    if seed is None:
        return [None] * num_copies
    if isinstance(seed, int | np.integer):
        first = int(seed)
        seeds: list[int | None] = list(range(first, first + num_copies))
    elif isinstance(seed, str | float) or not isinstance(seed, Iterable):
        raise TypeError(f"Seeds are one int or one per copy; got {seed!r}.")
    else:
        seeds = [None if entry is None else operator.index(entry) for entry in seed]
    if len(seeds) != num_copies:
        raise ValueError(f"Seeds are one int or one per copy, {num_copies} here; got {len(seeds)}.")
    if any(entry is not None and entry < 0 for entry in seeds):
        raise ValueError(f"Seeds are not negative; got {min(entry for entry in seeds if entry is not None)}.")
    return seeds
