from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rlmaml.base.errors import UserError
from rlmaml.families.decoding import decoded
from tests.rlmaml.families.supervised import GREY, draw


def test_pictures_of_any_size_and_colours_become_channels_height_and_width(tmp_path: Path) -> None:
    red = draw(tmp_path / "red.png", 200, "RGB", (9, 12))
    assert decoded(red, (3, 2, 2)).tolist() == [200] * 4 + [0] * 8
    grey = draw(tmp_path / "grey.png", 70)
    assert decoded(grey, (3, 1, 1)).tolist() == [70] * 3
    assert decoded(grey, (1, 2, 3)).tolist() == [70] * 6
    halves = np.zeros((4, 4), np.uint8)
    halves[2:] = 250
    Image.fromarray(halves).save(tmp_path / "halves.png")
    assert decoded(tmp_path / "halves.png", (1, 4, 4)).reshape(4, 4).tolist() == halves.tolist()  # rows are height


def test_damaged_and_tiny_pictures_are_refused_by_name(tmp_path: Path) -> None:
    whole = draw(tmp_path / "whole.png", size=(60, 60)).read_bytes()
    for name, content in (("cut.png", whole[:50]), ("none.png", b"no picture"), ("empty.png", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name} is damaged, or no picture"):
            decoded(tmp_path / name, GREY)
    with pytest.raises(UserError, match=r"tiny\.png has 2 × 9 pixels; at least 4 × 4 are needed"):
        decoded(draw(tmp_path / "tiny.png", size=(2, 9)), GREY)


def test_a_picture_too_large_to_be_opened_safely_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = draw(tmp_path / "bomb.png", size=(60, 60))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match=r"bomb\.png is damaged, or no picture: Image size"):
        decoded(path, GREY)
