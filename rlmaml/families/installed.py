"""Pictures of ten classes that other packages bring along: scikit-learn's digits, and Debian's Fashion-MNIST."""

import gzip
import math
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from rlmaml.base.as_before import held_process
from rlmaml.base.errors import UserError

FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package ``dataset-fashion-mnist`` puts its files."""
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
"""Its classes by their labels (arXiv 1708.07747, table 2)."""
PARTS = ("train", "t10k")
IMAGES, LABELS = 2051, 2049
"""Magic numbers of IDX files: bytes in three axes, and in one."""
MOST_BYTES = 1 << 28
"""That are unpacked from a file: five times as many as its largest has."""


@held_process()
def read_digits() -> Mapping[str, UInt8[Tensor, "image obs"]]:
    """The 1797 handwritten digits of scikit-learn, 8 × 8 pixels each.

    Raises:
        UserError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError(
            "Without --images FOLDER the pictures are scikit-learn's digits, and it is not installed: "
            "pip install 'rlmaml[images]'."
        ) from error
    data, labels = load_digits(return_X_y=True)
    pixels = torch.from_numpy(np.round(data * (255 / 16)).astype(np.uint8))
    return {str(digit): pixels[torch.from_numpy(labels == digit)] for digit in range(10)}


def read_fashion(folder: Path = FASHION) -> Mapping[str, UInt8[Tensor, "image obs"]]:
    """The 70,000 pictures of clothes of Fashion-MNIST (arXiv 1708.07747), 28 × 28 pixels each.

    Args:
        folder: with its four files.

    Raises:
        UserError: it is not installed, or a file is damaged.
    """
    images, labels = (
        np.concatenate([read_idx(folder / f"{part}-{what}.gz", magic) for part in PARTS])
        for what, magic in (("images-idx3-ubyte", IMAGES), ("labels-idx1-ubyte", LABELS))
    )
    if len(images) != len(labels) or labels.max() >= len(CLOTHES):
        raise UserError(f"The labels in {folder} are not those of its {len(images)} pictures. Install it anew.")
    pixels = torch.from_numpy(images.reshape(len(images), -1))
    return {name: pixels[torch.from_numpy(labels == index)] for index, name in enumerate(CLOTHES)}


def read_idx(path: Path, magic: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The bytes of a compressed IDX file, by their axes.

    Raises:
        UserError: there is none, or it is damaged or another one.
    """
    axes = magic % 256
    try:
        with gzip.open(path) as file:
            found, *shape = struct.unpack(f">{1 + axes}I", file.read(4 * (1 + axes)))
            if found != magic:
                raise ValueError(f"it begins with {found} in place of {magic}")
            if math.prod(shape) > MOST_BYTES:
                raise ValueError(f"it says it holds {math.prod(shape)} bytes; {MOST_BYTES} are the most")
            content = file.read(math.prod(shape) + 1)  # whose end is checked where the file's is reached
        return np.frombuffer(content, np.uint8).reshape(shape)
    except FileNotFoundError as error:
        raise UserError(f"There is no {path}. Fashion-MNIST comes with: apt install dataset-fashion-mnist.") from error
    except (EOFError, OSError, ValueError, struct.error, zlib.error) as error:
        raise UserError(f"{path} is damaged: {error}. Install dataset-fashion-mnist anew.") from error
