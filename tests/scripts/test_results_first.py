"""What was computed is on disk before it is printed: whatever ends the printing loses no result."""

import io
import sys
from pathlib import Path

import pytest

from rlmaml.base.plain_data import read_json
from tests.faults.writers import SMALL, SUPERVISED, TRAINING
from tests.scripts.test_scripts import run_script


class UnplugError(Exception):
    """The terminal has gone."""


class Unplugged(io.StringIO):
    """A standard output that is gone at the first result: at anything, or at a line that begins like one."""

    def __init__(self, beginning: str) -> None:
        super().__init__()
        self.beginning = beginning

    def write(self, text: str) -> int:
        """Fail."""
        if text.startswith(self.beginning):
            raise UnplugError
        return len(text)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where there is a run, and episodes that were recorded with it."""
    where = tmp_path_factory.mktemp("trained")
    assert run_script("train_nav.py", *TRAINING, "--iterations", 1, "--run-dir", where / "run") == 0
    recorded = ("--record", where / "recorded.npz", "--output", where / "first.safetensors")
    assert run_script("adapt.py", where / "run", "--episodes-per-step", 2, *recorded) == 0
    return where


JSON = ("--json", "{made}.json")
CASES: list[tuple[tuple[object, ...], str, str]] = [
    (("evaluate.py", "{run}", *SMALL, "--steps", 1, *JSON), ".json", ""),
    (("benchmark.py", "Navigation2D-v0", *SMALL, "--repeats", 1, *JSON), ".json", ""),
    (("adapt.py", "{run}", "--episodes", "{recorded}", "--output", "{made}.safetensors"), ".safetensors", ""),
    (("adapt.py", "{run}", "--episodes-per-step", 2, "--output", "{made}.safetensors"), ".safetensors", "Return with"),
    (("adapt.py", "{run}", "--episodes-per-step", 2, "--record", "{made}.npz"), ".npz", "    0 "),
    (("adapt.py", "{run}", "--online", "--output", "{made}.safetensors"), ".safetensors", "    0 "),
    (("train_sinusoid.py", *SUPERVISED, "--run-dir", "{made}", *JSON), ".json", ""),
    (("train_nav.py", *TRAINING, "--run-dir", "{made}.run"), ".run/evaluation.json", ""),
]
SLOW: list[tuple[tuple[object, ...], str, str]] = [
    (("benchmark.py", "Navigation2D-v0", *SMALL, "--repeats", 1, "--beside", "fomaml", *JSON), ".json", ""),
    (("benchmark_supervised.py", "--tasks", 2, "--hidden", 4, "--repeats", 1, *JSON), ".json", ""),
    (("render.py", "{run}", "--episodes-per-step", 2, "--output", "{made}.gif"), ".gif", ""),
    (("report.py", "{run}", *SMALL, "--steps", 1, "--output", "{made}.html"), ".html", ""),
    (("train_nav.py", *TRAINING, "--run-dir", "{made}.run"), ".run/adaptation.png", ""),
]


@pytest.mark.parametrize(
    ("words", "suffix", "beginning"), [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]
)
def test_a_terminal_that_goes_before_the_first_result_is_printed_loses_none(
    tmp_path: Path,
    directory: Path,
    words: tuple[object, ...],
    suffix: str,
    beginning: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"run": directory / "run", "recorded": directory / "recorded.npz", "made": tmp_path / "made"}
    monkeypatch.setattr(sys, "stdout", Unplugged(beginning))
    with pytest.raises(UnplugError):
        run_script(*(str(word).format(**places) for word in words))
    made = tmp_path / f"made{suffix}"
    assert made.stat().st_size > 100
    if suffix.endswith(".json"):
        read_json(made)
