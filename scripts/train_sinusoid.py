"""Meta-train on sine waves, and end with errors on waves never seen, beside the published ones, and a figure of fits.

Waves differ in amplitude and phase (finn2017, arXiv 1703.03400) or in their frequency, too (li2017, arXiv 1707.09835).
A model of two hidden layers sees --shots points of a wave; the table has its mean squared error on other points of it
after 0, 1, … 10 steps. --algorithm chooses the method; --algorithm NAME --help lists its options. With the same options
and --resume an interrupted run goes on. maml-trpo is MAML; its outer optimiser here is Adam, or the natural
gradient with --outer-optimiser trust_region.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rlmaml.settings.whole import Settings
from rlmaml.terminal.command import run_command
from supervised import SupervisedOptions, parse_supervised, train_supervised_command

if TYPE_CHECKING:
    from rlmaml.training.supervised import SupervisedTasks

PUBLISHED = {
    ("li2017", 5, 5): {"MAML, arXiv 1707.09835": {1: 1.13}, "Meta-SGD, arXiv 1707.09835": {1: 0.90}},
    ("li2017", 5, 20): {"MAML, arXiv 1707.09835": {1: 0.71}, "Meta-SGD, arXiv 1707.09835": {1: 0.50}},
}
"""Waves, shots in training, shots in the test -> mean squared errors after a number of steps."""


@dataclass(frozen=True)
class Options(SupervisedOptions):
    """Options of the script."""

    waves: Literal["finn2017", "li2017"] = "finn2017"
    """Which waves: finn2017 or, with another frequency each, li2017."""
    shots: int = 10
    """Points of a wave that a model adapts on."""
    queries: int = 20
    """Points of a wave that the loss after adaptation is on."""
    test_shots: tuple[int, ...] = ()
    """Points of a wave in the test, in the main row and in further ones; by default as many as in the training."""


def tasks_of(options: Options, settings: Settings, seed: int | None = None) -> "SupervisedTasks":  # noqa: ARG001
    """The waves that options name; which of them are drawn in a test, its own seed says."""
    from rlmaml.families.sinusoid import Sinusoid
    from rlmaml.training.supervised import SupervisedTasks

    family = Sinusoid(options.waves, options.shots, options.queries)
    held_out = Sinusoid(options.waves, (options.test_shots or (options.shots,))[0], queries=100)
    return SupervisedTasks(settings, family, held_out, "errors")


def main() -> None:
    """Parse, train, print the table, draw."""
    options, settings = parse_supervised(Options(), "sinusoid", str(__doc__))

    from rlmaml.evaluation.figures import write_figure
    from rlmaml.evaluation.fits import fits_figure
    from rlmaml.families.sinusoid import Sinusoid
    from rlmaml.storage.run_directory import RunDirectory
    from rlmaml.training.run import EVALUATION_SEED

    tasks = tasks_of(options, settings)
    assert isinstance(tasks.held_out, Sinusoid)
    tested = options.test_shots or (options.shots,)
    published = {
        f"{who}, {shots}-shot": means
        for shots in tested
        for who, means in PUBLISHED.get((options.waves, options.shots, shots), {}).items()
    }
    also = {f"{shots}-shot": Sinusoid(options.waves, shots, queries=100) for shots in tested[1:]}
    trained, run_dir = train_supervised_command(tasks, options, published=published, also=also)
    figure = RunDirectory(run_dir).figure
    method, latest = trained.method, trained.checkpoint
    write_figure(figure, fits_figure(tasks.held_out, method.policy, method.rule, latest.meta, EVALUATION_SEED))
    print(figure)


if __name__ == "__main__":
    run_command(main)
