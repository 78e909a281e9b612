"""Images of classes from a folder as users have them, decoded once.

A folder that directly holds images is a class, named by its path below the root: ``class/*.png``, or Omniglot's
``alphabet/character/*.png``. A folder called ``images`` belongs to the one above it (Tiny-ImageNet's
``n…/images/*.JPEG``), unless a ``val_annotations.txt`` beside it names the class of every file (its validation folder).
Hidden files are passed over.
"""

import math
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.base.memory import check_memory
from rlmaml.families.decoding import decoded
from rlmaml.terminal.bars import ProgressBar
from rlmaml.terminal.words import counted

SUFFIXES = (".png", ".jpg", ".jpeg")
ANNOTATIONS, TINY_IMAGENET = "val_annotations.txt", "wnids.txt"
ROOM = 16
"""Pictures that a process is handed at once."""


def find_classes(root: Path) -> dict[str, list[Path]]:
    """Class -> its pictures, both in the order of their names.

    Raises:
        UserError: there is no such folder, it holds no pictures, a folder of a class is empty, or it is
            Tiny-ImageNet as a whole.
    """
    if not root.is_dir():
        raise UserError(f"There is no folder {root}. Give one with a folder of pictures for every class.")
    if (root / TINY_IMAGENET).exists():
        raise UserError(
            f"{root} is Tiny-ImageNet as a whole, whose test pictures have no class. Give its folder train, or val."
        )
    found: dict[str, list[Path]] = {}
    for folder, below, files in os.walk(root, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith("."))
        here = Path(folder)
        shown = [file for file in sorted(files) if not file.startswith(".")]
        pictures = [here / file for file in shown if Path(file).suffix.lower() in SUFFIXES]
        if not pictures:
            if not below and here != root:
                raise UserError(f"The folder {here} holds no picture ({', '.join(SUFFIXES)}). Fill it, or remove it.")
            continue
        of_files = annotated(here.parent / ANNOTATIONS) if here.name == "images" else {}
        named = here.parent if here.name == "images" else here
        for picture in pictures:
            name = of_files.get(picture.name, "") if of_files else named.relative_to(root).as_posix()
            if not name:
                raise UserError(f"{here.parent / ANNOTATIONS} names no class for {picture.name}.")
            found.setdefault(name, []).append(picture)
    if len(found) < 2:
        raise UserError(f"{root} holds pictures of {len(found)} classes; there must be a folder each for two or more.")
    return dict(sorted(found.items()))


def annotated(path: Path) -> dict[str, str]:
    """File -> class, as Tiny-ImageNet's validation folder says; empty where there is no such file.

    Raises:
        UserError: it cannot be read, or is no text.
    """
    if not path.exists():
        return {}
    try:
        rows = [line.split("\t") for line in path.read_text("utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged: {error}. Restore it.") from error
    return {row[0]: row[1] for row in rows if len(row) > 1}


def read_classes(
    root: Path, image: tuple[int, int, int], *, processes: int, progress: bool = True
) -> dict[str, UInt8[Tensor, "image obs"]]:
    """The pictures of every class below a folder, decoded once.

    Args:
        root: the folder; see :func:`find_classes`.
        image: channels (1 for brightness, 3 for red, green, blue), height and width to which all are brought.
        processes: how many decode.
        progress: show a progress bar.

    Raises:
        UserError: a picture is damaged or tiny, by its name; or see :func:`find_classes`.
    """
    classes = find_classes(root)
    paths = [path for own in classes.values() for path in own]
    needed = len(paths) * math.prod(image)
    check_memory(
        needed, f"{counted(len(paths), 'picture')} of {root.name}", "Take a smaller --image, or fewer of them."
    )
    decode = partial(decoded, image=image)
    bar = partial(
        ProgressBar, total=len(paths), desc="decoding", unit="picture", disable=not progress, dynamic_ncols=True
    )
    if processes == 1:
        pixels = [decode(path) for path in bar(paths)]
    else:
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            pixels = list(bar(pool.map(decode, paths, chunksize=ROOM)))
    every, images, first = torch.from_numpy(np.stack(pixels)), {}, 0
    for name, own in classes.items():
        images[name] = every[first : first + len(own)]
        first += len(own)
    return images
