"""Small valid files of each kind that a run is made of, and who reads them."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from rlmaml.base.errors import UserError
from rlmaml.base.plain_data import as_json, parse_object, sealed, unsealed
from rlmaml.results.by_episodes import ACTIONS, Asked, Place, stored_curves
from rlmaml.results.compare import Comparison, MethodReturns, as_plain, read_comparison
from rlmaml.results.compression import as_plain_table, read_table
from rlmaml.results.contenders import IN_RANGE, Contender, stored_report
from rlmaml.settings.config_file import read_config
from rlmaml.settings.whole import configure
from rlmaml.storage.evaluation_file import read_evaluation
from rlmaml.storage.metrics_file import metrics_line, read_metrics, sound_lines
from rlmaml.storage.range_file import read_context_range
from rlmaml.storage.run_directory import ComparisonDirectory, RunDirectory
from rlmaml.storage.scores_file import read_scores
from rlmaml.training.opening import earlier_commits
from tests.faults.fuzzing import in_time
from tests.rlmaml.results.test_compression import JUDGED, ROWS
from tests.rlmaml.storage.stored import evaluation
from tests.rlmaml.storage.test_scores_file import written as scores

Reader: TypeAlias = tuple[Callable[[Path], object], bytes]
"""Reads a file, and a content that it takes."""


def at_every_byte(content: bytes, step: int = 1) -> Iterator[bytes]:
    """A content with a bit flipped, and one cut, at each of its bytes, or at each ``step``-th of them."""
    for place in range(0, len(content), step):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        yield bytes(flipped)
        yield content[:place]


def refused(read: Callable[[Path], object], path: Path) -> bool:
    """Whether a reader refuses a file as it should, in time; another error than a refusal is raised."""
    with in_time():
        try:
            read(path)
        except UserError:
            return True
    return False


def stored(content: Mapping[str, Any]) -> bytes:
    """An object as it lies in a file."""
    return as_json(sealed(content)).encode()


def ranges() -> dict[str, Any]:
    return {"iteration": 3, "low": {"context": [-1.0, -0.5]}, "high": {"context": [1.0, 0.5]}}


def readers_of(run: RunDirectory) -> dict[str, Reader]:
    """What is read as JSON, JSON lines or YAML -> its reader, for a file called comparison.json, and a content."""
    settings = configure(hidden=(8,), evaluation_tasks=2)
    asked = Asked((0, 1), (Place(IN_RANGE, "finn2017", beyond=False),))
    returns = [[-4.0, -2.0], [-3.0, None]]
    contender = Contender(settings, run)
    lived = {
        "curves": {IN_RANGE: {actions: {"maml-trpo": returns} for actions in ACTIONS}},
        "config": {"settings": settings.as_plain()} | asked.of(contender),
    }
    compared = Comparison(settings, (0,), {IN_RANGE: {"maml-trpo": MethodReturns(np.array([[[-4.0, -2.0]]]))}})

    def comparison(path: Path) -> object:
        return read_comparison(ComparisonDirectory(path.parent))

    def curves(path: Path) -> object:
        own = contender._replace(directory=RunDirectory(path.parent))
        path.replace(own.directory.lived)
        return stored_curves(own, asked)

    def kept(path: Path) -> object:
        own = RunDirectory(path.parent)
        path.replace(own.evaluation)
        return stored_report(settings, own, beyond=False) or "of other settings"

    def telling(read: Callable[[], object]) -> object:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = read()
        if said:  # it is told of them, and goes on
            raise UserError(str(said[0].message))
        return found

    def commits(path: Path) -> object:
        directory = RunDirectory(path.parent)
        path.replace(directory.settings)
        return telling(lambda: earlier_commits(directory))

    def told(path: Path) -> object:
        return [unsealed(parse_object(line)) for line in sound_lines(path.read_bytes())]

    def kind(path: Path) -> object:
        own = RunDirectory(path.parent)
        path.replace(own.evaluation)
        return str(own.is_of_examples())

    lines = "".join(
        metrics_line(i, {"return/after_0_steps": -4.0, "seconds/iteration": 1.5}) for i in range(3)
    ).encode()
    return {
        "an evaluation": (read_evaluation, stored(evaluation())),
        "an evaluation of a comparison": (kept, stored(evaluation())),
        "an evaluation of whichever kind": (kind, stored(evaluation())),
        "metrics": (read_metrics, lines),
        "metrics of a run that is gone on with": (told, lines),
        "metrics of a run": (read_metrics, run.metrics.read_bytes()),
        "a range": (read_context_range, stored(ranges())),
        "a run's settings": (lambda path: telling(lambda: read_config(path)), run.settings.read_bytes()),
        "options": (read_config, b"max-kl: 0.02\ntasks: 3\nhidden: [8, 8]\nresume: true\n"),
        "a run's evaluation": (read_evaluation, run.evaluation.read_bytes()),
        "scores": (read_scores, stored(scores())),
        "a comparison": (comparison, stored(as_plain(compared))),
        "returns by episodes lived": (curves, stored(lived)),
        "commits": (commits, stored({"commit": "abc", "earlier_commits": ["def", None]})),
        "what a smaller policy loses": (read_table, stored(as_plain_table(ROWS, JUDGED, {"commit": "x"}))),
    }
