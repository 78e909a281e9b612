"""What the colours of marks mean, in films, stills and figures alike."""

from typing import TypeAlias

Colour: TypeAlias = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

ASKED: Colour = (46, 139, 87)
"""Green: what the task asks."""
DAMAGED: Colour = (209, 74, 92)
"""Red: a part of the robot that has changed."""


def as_hex(colour: Colour) -> str:
    """For matplotlib."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def as_fractions(colour: Colour, opacity: float = 1.0) -> tuple[float, float, float, float]:
    """For MuJoCo: 0 to 1, with the opacity."""
    red, green, blue = (part / 255 for part in colour)
    return red, green, blue, opacity
