"""Small pictures of the ground from above, computed and not rendered: how much of each cell is occupied."""

import numpy as np

from rlmaml_envs.family import Floats


def occupancy(places: Floats, radius: float, cells: int, width: float) -> Floats:
    """A picture of discs on the ground, (copy, row, column), in [0, 1].

    It is 1 in a cell whose centre is inside of a disc, 0 outside, and linear over the width of a cell about a disc's
    edge, so that it tells where a disc is more finely than in cells: ``clip(1/2 + (radius - distance) / cell, 0, 1)``.

    Args:
        places: centres of the discs, (copy, disc, 2) m, x and y.
        radius: of the discs, m.
        cells: rows and columns.
        width: of the ground that is seen, m, about the origin. Rows go along x, columns along y, from the least on.
    """
    cell = width / cells
    centres = (np.arange(cells) + 0.5) * cell - width / 2
    squares = (places[..., None] - centres) ** 2
    distances = np.sqrt(squares[:, :, 0, :, None] + squares[:, :, 1, None, :])
    return np.asarray(np.clip(0.5 + (radius - distances.min(axis=1)) / cell, 0.0, 1.0))
