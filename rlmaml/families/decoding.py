"""From the file of a picture to numbers; it loads no torch, so that the processes that decode begin at once."""

import math
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from rlmaml.base.errors import UserError
from rlmaml.base.memory import check_memory

LEAST_SIDE = 4
"""Pixels below which a side of a picture shows nothing."""


def decoded(path: Path, image: tuple[int, int, int]) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """A picture as channels × height × width numbers, whatever its own size and colours.

    Raises:
        UserError: it is damaged or tiny.
    """
    channels, height, width = image
    try:
        with Image.open(path) as opened:
            needed = math.prod(opened.size) * len(opened.getbands())
            check_memory(needed, f"The picture {path}, as it says,", "Remove it, or replace it.")
            size, picture = opened.size, opened.convert("L" if channels == 1 else "RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path} is damaged, or no picture: {error}. Remove it, or replace it.") from error
    if min(size) < LEAST_SIDE:
        raise UserError(f"{path} has {size[0]} × {size[1]} pixels; at least {LEAST_SIDE} × {LEAST_SIDE} are needed.")
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), np.uint8)
    return pixels.reshape(height, width, channels).transpose(2, 0, 1).reshape(-1)
