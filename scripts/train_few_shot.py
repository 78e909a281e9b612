"""Meta-train a classifier of images on some classes, and end with its accuracy on others that it never saw.

Pictures come from --images FOLDER: class/*.png (or jpg, jpeg), Omniglot's alphabet/character/*.png (with --rotations),
Tiny-ImageNet's n…/images/*.JPEG and its validation folder; folders train, val and test above the classes are the split.
Without a folder they are --data digits, of scikit-learn, or fashion-mnist, of Debian's package dataset-fashion-mnist
(apt install dataset-fashion-mnist). Four layers of filters see --shots pictures of each of --ways classes; the table
has the accuracy on other pictures of these classes after 0, 1, … 10 steps, with the query set's own batch statistics
and without, beside published ones where the data are theirs. The classes of each part are written beside the run.
maml-trpo is MAML; its outer optimiser here is Adam, or the natural gradient with --outer-optimiser trust_region.

Published MAML (98.7 and 99.9 % on Omniglot, 5-way 1-shot and 5-shot) had the options: --images omniglot --rotations
and --image 1 28 28 --filters 64 --split 1100 100 423 --ways 5 --shots 1 --tasks 32 --iterations 60000 --transductive
and --inner-step-sizes 0.4 --no-learn-step-sizes --inner-steps 1.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from rlmaml.base.cores import num_cores
from rlmaml.base.errors import UserError
from rlmaml.settings.policy import ConvolutionalSettings
from rlmaml.settings.whole import Settings
from rlmaml.terminal.command import run_command
from supervised import SupervisedOptions, parse_supervised, train_supervised_command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from rlmaml.training.supervised import SupervisedTasks

SIZES = {"digits": (1, 8, 8), "fashion-mnist": (1, 28, 28)}
"""Images of --data: channels, height and width."""


@dataclass(frozen=True)
class Options(SupervisedOptions):
    """Options of the script."""

    images: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder with the pictures, in place of --data; --image says to what size they are brought."""
    data: Literal["digits", "fashion-mnist"] = "digits"
    """Pictures without a folder: scikit-learn's digits (pip install 'rlmaml[images]'), or the clothes of Debian's
    package dataset-fashion-mnist (apt install dataset-fashion-mnist)."""
    rotations: bool = False
    """Whether pictures turned by 90, 180 and 270 degrees are classes of their own, as for Omniglot."""
    split: tuple[int, ...] = ()
    """How many classes there are for training, validation and test; by default as folders train, val and test say, or
    else six of ten for training and the others for the test. Without any for validation, a fourth of the pictures of
    every training class are."""
    split_seed: int = 0
    """Which classes these are."""
    ways: int = 4
    """Classes of a task."""
    shots: int = 5
    """Pictures per class that the classifier adapts on."""
    queries: int = 10
    """Pictures per class that it is judged by."""
    transductive: bool = False
    """Train with the batch statistics of the query set itself; by default those of the support set serve it."""
    processes: int = field(default_factory=num_cores)
    """Processes that decode the pictures, once."""

    def __post_init__(self) -> None:
        """Refuse two sources of pictures."""
        if self.images is not None and self.data != "digits":
            raise UserError(f"--images {self.images} is in place of --data {self.data}; give one of them.")


def tasks_of(options: Options, settings: Settings, seed: int | None = None) -> "SupervisedTasks":  # noqa: ARG001
    """The pictures that options name, divided by their classes; which of them a test has, its own seed says."""
    return divided_pictures(*pictures_of(options, settings), options)


def pictures_of(options: Options, settings: Settings) -> "tuple[Mapping[str, Tensor], Settings]":
    """Class -> its pictures, and the settings with their size."""
    from rlmaml.families.folders import read_classes
    from rlmaml.families.installed import read_digits, read_fashion

    if not settings.has("image"):
        raise UserError(f"--policy is {settings.policy!r}; it must be conv4, which reads pictures.")
    if options.images is None:
        size, free = SIZES[options.data], ConvolutionalSettings().image
        if settings.network.image not in (size, free):
            raise UserError(
                f"--image is {settings.network.image}; pictures of --data {options.data} have {size}. It says to what "
                "size those of --images FOLDER are brought; leave it out."
            )
        pictures = dict(read_digits() if options.data == "digits" else read_fashion())
        return pictures, settings.changed(image=size)
    return read_classes(options.images, settings.network.image, processes=options.processes), settings


def divided_pictures(pictures: "Mapping[str, Tensor]", settings: Settings, options: Options) -> "SupervisedTasks":
    """Tasks of some classes to train on, and of others to be scored on."""
    from rlmaml.families.images import FewShot, held_back, rotated, split_of
    from rlmaml.training.supervised import SupervisedTasks

    name = options.images.name if options.images else options.data
    split = split_of(list(pictures), options.split_seed, options.split)
    parts = {part: {each: pictures[each] for each in names} for part, names in split.items()}
    if not parts["validation"]:
        parts["train"], parts["validation"] = held_back(parts["train"])
    if options.rotations:
        parts = {part: rotated(own, settings.network.image) for part, own in parts.items()}
    numbers = (options.ways, options.shots, options.queries)
    families = {
        part: FewShot(f"{name} ({part}, split {options.split_seed})", own, *numbers, options.transductive)
        for part, own in parts.items()
    }
    return SupervisedTasks(
        *(settings, families["train"], families["test"], "accuracy"), validation=families["validation"], split=split
    )


def main() -> None:
    """Parse, read the pictures, train, print the table."""
    options, settings = parse_supervised(Options(), "few-shot", str(__doc__))

    from rlmaml.families.images import FewShot
    from rlmaml.families.published_accuracy import published_accuracy

    pictures, settings = pictures_of(options, settings)
    tasks = divided_pictures(pictures, settings, options)
    assert isinstance(tasks.held_out, FewShot)
    assert tasks.validation is not None
    other = "inductive" if options.transductive else "transductive"
    known = published_accuracy({each: len(own) for each, own in pictures.items()}, options.ways, options.shots)
    train_supervised_command(
        tasks,
        options,
        published={who: {settings.run.evaluation_steps: value} for who, value in known.items()},
        also={
            other: tasks.held_out.judged_by(transductive=not options.transductive),
            "validation": tasks.validation,
        },
    )


if __name__ == "__main__":
    run_command(main)
