import shutil
from pathlib import Path

import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.families.folders import find_classes, read_classes
from rlmaml.families.images import FewShot, split_of
from tests.rlmaml.families.supervised import GREY, draw


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


def test_mini_imagenets_folders_of_parts_are_read_as_its_split(tmp_path: Path) -> None:
    for name in ("train/n01/1.jpg", "train/n02/1.jpg", "val/n03/1.jpg", "test/n04/1.jpg", "test/n05/1.jpg"):
        draw(tmp_path / name, mode="RGB")
    pictures = read_classes(tmp_path, (3, 6, 6), processes=1, progress=False)
    assert split_of(list(pictures), 0, ()) == {
        "train": ["train/n01", "train/n02"],
        "validation": ["val/n03"],
        "test": ["test/n04", "test/n05"],
    }


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
    notes.write_bytes(b"val_0.JPEG\tn\xff2\t0\t0\n")
    with pytest.raises(UserError, match=r"val_annotations\.txt is damaged: .*utf-8"):
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


def test_hidden_files_are_passed_over_and_links_to_folders_are_followed(tmp_path: Path) -> None:
    draw(tmp_path / "data/cat/1.png")
    draw(tmp_path / "elsewhere/1.png")
    (tmp_path / "data/dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/cat/._1.png").write_bytes(b"no picture")
    draw(tmp_path / "data/.thumbnails/1.png")
    assert {name: len(own) for name, own in find_classes(tmp_path / "data").items()} == {"cat": 1, "dog": 1}


def test_tiny_imagenet_as_a_whole_is_refused_because_its_test_has_no_classes(tmp_path: Path) -> None:
    draw(tmp_path / "train/n01/images/n01_0.JPEG", mode="RGB")
    (tmp_path / "wnids.txt").write_text("n01\n")
    with pytest.raises(UserError, match=r"Give its folder train, or val\."):
        find_classes(tmp_path)


def test_once_read_pictures_are_in_memory_and_nothing_is_decoded_again(tmp_path: Path) -> None:
    for name in ("a/1", "a/2", "b/1", "b/2"):
        draw(tmp_path / "pictures" / f"{name}.png")
    pictures = read_classes(tmp_path / "pictures", GREY, processes=1, progress=False)
    shutil.rmtree(tmp_path / "pictures")
    family = FewShot("made", pictures, ways=2, shots=1, queries=1)
    assert family.sets(family.sample_tasks(3, range(3)), range(3)).support.observations.shape == (3, 2, 36)


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
