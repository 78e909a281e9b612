from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rlmaml.base.errors import UserError
from rlmaml.families.folders import decoded, find_classes, read_classes, read_digits

GREY = (1, 6, 6)


def draw(path: Path, value: int = 100, mode: str = "L", size: tuple[int, int] = (6, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 0)).save(path)
    return path


def test_a_folder_per_class_is_found_whatever_the_case_of_its_endings(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.JPG", "dog/1.jpeg", "dog/2.PNG"):
        draw(tmp_path / name)
    (tmp_path / "dog" / "notes.txt").write_text("no picture")
    found = find_classes(tmp_path)
    assert {name: [path.name for path in own] for name, own in found.items()} == {
        "cat": ["1.png", "2.JPG"],
        "dog": ["1.jpeg", "2.PNG"],
    }


def test_omniglots_characters_are_classes_of_their_alphabets(tmp_path: Path) -> None:
    for name in ("Greek/character01/a.png", "Greek/character02/a.png", "Latin/character01/a.png"):
        draw(tmp_path / name)
    assert list(find_classes(tmp_path)) == ["Greek/character01", "Greek/character02", "Latin/character01"]


def test_tiny_imagenets_folders_and_its_flat_validation_folder_name_their_classes(tmp_path: Path) -> None:
    for name in ("train/n01/images/n01_0.JPEG", "train/n02/images/n02_0.JPEG"):
        draw(tmp_path / name, mode="RGB")
    (tmp_path / "train/n01/n01_boxes.txt").write_text("n01_0.JPEG\t0\t0\t5\t5\n")
    assert list(find_classes(tmp_path / "train")) == ["n01", "n02"]
    for name in ("val_0.JPEG", "val_1.JPEG", "val_2.JPEG"):
        draw(tmp_path / "val/images" / name, mode="RGB")
    notes = tmp_path / "val/val_annotations.txt"
    notes.write_text("val_0.JPEG\tn02\t0\t0\nval_1.JPEG\tn01\t0\t0\nval_2.JPEG\tn02\t0\t0\n")
    found = find_classes(tmp_path / "val")
    assert {name: [path.name for path in own] for name, own in found.items()} == {
        "n01": ["val_1.JPEG"],
        "n02": ["val_0.JPEG", "val_2.JPEG"],
    }
    notes.write_text("val_0.JPEG\tn02\t0\t0\n")
    with pytest.raises(UserError, match=r"val_annotations\.txt names no class for val_1\.JPEG"):
        find_classes(tmp_path / "val")


def test_an_empty_folder_and_a_missing_one_are_named(tmp_path: Path) -> None:
    draw(tmp_path / "cat/1.png")
    with pytest.raises(UserError, match="holds pictures of 1 classes; there must be a folder each for two or more"):
        find_classes(tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(UserError, match=r"The folder .*dog holds no picture .*Fill it, or remove it"):
        find_classes(tmp_path)
    with pytest.raises(UserError, match=r"There is no folder .*nowhere"):
        find_classes(tmp_path / "nowhere")


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


@pytest.mark.parametrize("processes", [1, 2])
def test_every_picture_is_in_the_class_of_its_folder(tmp_path: Path, processes: int) -> None:
    for name, value in (("b/1", 10), ("b/2", 20), ("a/1", 30)):
        draw(tmp_path / f"{name}.png", value)
    pictures = read_classes(tmp_path, GREY, processes=processes, progress=False)
    assert {name: own[:, 0].tolist() for name, own in pictures.items()} == {"a": [30], "b": [10, 20]}
    assert pictures["b"].shape == (2, 36)
    assert pictures["b"].dtype == torch.uint8


def test_a_damaged_picture_ends_the_reading_by_its_name_from_another_process_too(tmp_path: Path) -> None:
    draw(tmp_path / "a/1.png")
    draw(tmp_path / "b/1.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"b/1\.png is damaged"):
        read_classes(tmp_path, GREY, processes=2, progress=False)


def test_the_digits_are_ten_classes_of_eight_by_eight() -> None:
    pytest.importorskip("sklearn")
    digits = read_digits()
    assert list(digits) == [str(digit) for digit in range(10)]
    assert sum(len(own) for own in digits.values()) == 1797
    assert all(own.shape[1] == 64 and own.dtype == torch.uint8 and own.max() == 255 for own in digits.values())


def test_without_scikit_learn_the_digits_say_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match=r"pip install 'rlmaml\[images\]'"):
        read_digits()
