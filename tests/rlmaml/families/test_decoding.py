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


@pytest.mark.parametrize("image", [GREY, (3, 6, 6)])
def test_brightness_of_16_bits_is_scaled_and_not_cut_off(tmp_path: Path, image: tuple[int, int, int]) -> None:
    levels = np.arange(36).reshape(6, 6)
    Image.fromarray((257 * 7 * levels).astype(np.uint16)).save(tmp_path / "deep.png")
    with Image.open(tmp_path / "deep.png") as stored:
        assert stored.mode.startswith("I")
    for own in decoded(tmp_path / "deep.png", image).reshape(image):
        np.testing.assert_allclose(own, 7 * levels, atol=1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white_and_a_drawing_on_nothing_is_seen(tmp_path: Path, mode: str) -> None:
    drawing = Image.new("RGBA", (6, 6), (0, 0, 0, 0))
    drawing.paste((0, 0, 0, 255), (0, 0, 3, 6))
    made = drawing.quantize() if mode == "P" else drawing.convert(mode)
    made.save(tmp_path / "drawing.png")
    for image in (GREY, (3, 6, 6)):
        seen = decoded(tmp_path / "drawing.png", image).reshape(image)
        assert (seen[..., :3] == 0).all()
        assert (seen[..., 3:] == 255).all()


def test_a_picture_stands_upright_as_its_camera_says(tmp_path: Path) -> None:
    whole = Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 8, 0).repeat(4, 1))
    turned = Image.Exif()
    turned[0x0112] = 6  # its top is on the right
    turned[0x010F] = "Maker"
    whole.save(tmp_path / "turned.png", exif=turned)
    seen = decoded(tmp_path / "turned.png", (1, 8, 8)).reshape(8, 8)
    assert (seen[:4] == 0).all()
    assert (seen[4:] == 255).all()


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
