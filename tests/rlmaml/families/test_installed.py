import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.families.installed import CLOTHES, IMAGES, LABELS, read_digits, read_fashion, read_idx


def write_idx(path: Path, magic: int, values: np.ndarray) -> None:
    path.write_bytes(gzip.compress(struct.pack(f">{1 + values.ndim}I", magic, *values.shape) + values.tobytes()))


def write_fashion(folder: Path, labels: list[int]) -> None:
    """Two pictures in the first file and one in the second; picture i is i everywhere."""
    for part, own in (("train", slice(2)), ("t10k", slice(2, 3))):
        pictures = np.arange(3, dtype=np.uint8)[own, None, None] * np.ones((1, 2, 2), np.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", IMAGES, pictures)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", LABELS, np.array(labels, np.uint8)[own])


def test_both_files_of_clothes_are_read_and_sorted_by_their_labels(tmp_path: Path) -> None:
    write_fashion(tmp_path, [1, 9, 1])
    clothes = read_fashion(tmp_path)
    assert tuple(clothes) == CLOTHES
    assert {name: own[:, 0].tolist() for name, own in clothes.items() if len(own)} == {
        "trouser": [0, 2],
        "ankle boot": [1],
    }
    assert clothes["trouser"].shape == (2, 4)


def test_missing_and_damaged_files_of_clothes_are_named_with_how_to_install_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="apt install dataset-fashion-mnist"):
        read_fashion(tmp_path)
    write_fashion(tmp_path, [1, 9, 10])
    with pytest.raises(UserError, match=r"The labels in .* are not those of its 3 pictures"):
        read_fashion(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    other = (tmp_path / "train-labels-idx1-ubyte.gz").read_bytes()
    for content in (whole[:30], b"no file", other, gzip.compress(gzip.decompress(whole)[:-1])):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz is damaged"):
            read_idx(path, IMAGES)


def test_a_flip_or_a_cut_at_any_byte_of_a_file_of_clothes_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path, values = tmp_path / "images.gz", np.arange(40, dtype=np.uint8).reshape(2, 4, 5)
    write_idx(path, IMAGES, values)
    whole, refused = path.read_bytes(), 0
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        for content in (bytes(flipped), whole[:place]):
            path.write_bytes(content)
            try:
                np.testing.assert_array_equal(read_idx(path, IMAGES), values)
            except UserError:
                refused += 1
    assert refused > 1.5 * len(whole)


def test_a_file_of_clothes_that_says_it_holds_more_than_any_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    for shape, message in (((60_000, 28, 28 * 256), "are the most"), ((1, 1, 1), "cannot reshape")):
        path.write_bytes(gzip.compress(struct.pack(">4I", IMAGES, *shape) + bytes(1 << 20)))
        with pytest.raises(UserError, match=message):
            read_idx(path, IMAGES)


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
