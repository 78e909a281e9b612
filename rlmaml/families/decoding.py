"""From the file of a picture to numbers; it loads no torch, so that the processes that decode begin at once."""

import math
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from rlmaml.base.errors import UserError
from rlmaml.base.memory import check_memory

LEAST_SIDE = 4
"""Pixels below which a side of a picture shows nothing."""
ORIENTATION = 0x0112
"""Tag by which a camera says how it was held (Exif)."""
UPRIGHT: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What it says -> what makes a picture upright."""
DEEP = 257
"""Steps of 16-bit brightness in one of 8 bits."""


def decoded(path: Path, image: tuple[int, int, int]) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """A picture as channels × height × width numbers, whatever its own size and colours: see :func:`as_shown`.

    Raises:
        UserError: it is damaged or tiny.
    """
    channels, height, width = image
    try:
        with Image.open(path) as opened:
            needed = math.prod(opened.size) * len(opened.getbands())
            check_memory(needed, f"The picture {path}, as it says,", "Remove it, or replace it.")
            size, picture = opened.size, as_shown(opened).convert("L" if channels == 1 else "RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path} is damaged, or no picture: {error}. Remove it, or replace it.") from error
    if min(size) < LEAST_SIDE:
        raise UserError(f"{path} has {size[0]} × {size[1]} pixels; at least {LEAST_SIDE} × {LEAST_SIDE} are needed.")
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), np.uint8)
    return pixels.reshape(height, width, channels).transpose(2, 0, 1).reshape(-1)


def as_shown(picture: Image.Image) -> Image.Image:
    """A picture as who looks at it sees it: upright as its camera says, on white where it is transparent, in 8 bits.

    Pillow's own conversion leaves transparency out, and so makes black of drawings on nothing, and cuts 16-bit
    brightness off at 255, and so makes white of nearly all of it.
    """
    turn = UPRIGHT.get(picture.getexif().get(ORIENTATION))
    upright = picture if turn is None else picture.transpose(turn)
    if upright.mode.startswith("I"):
        upright = upright.point(lambda brightness: brightness * (1 / DEEP)).convert("L")
    if not upright.has_transparency_data:
        return upright
    seen = upright.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
