"""Files and directories of unusual names: every script reads and writes them, or says why not before it computes."""

import os
import shutil
from pathlib import Path

import pytest

from rlmaml.storage.run_directory import RunDirectory
from tests.faults.writers import SMALL, TRAINING, commands
from tests.scripts.test_scripts import run_script

ALL_IN_ONE = "-a b\n100%d $HOME #[a-z]*? ~ ünï 日本 {x} ;& \"'"

MEAN_SOMETHING = ("l" * 240, "a:b", "tr ail ", "~", "\x1b[31m", "None", "-", "run.json", "a.b.c")
"""One within the other: every file is read and written behind all of them."""


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    trained = tmp_path_factory.mktemp("trained") / "run"
    assert run_script("train_nav.py", *TRAINING, "--iterations", 1, "--run-dir", trained) == 0
    return trained


def all_done_in(disk: Path, run_dir: Path) -> None:
    """Every script that writes reads and writes in a directory."""
    shutil.copytree(run_dir, disk / "run")
    for what, (script, *words) in commands(disk).items():
        assert run_script(str(script), *words) == 0, what
    made = {"benchmark.json", "evaluation.json", "loop.json", "recorded.npz", "run", "trained", "compared", "pruned"}
    made |= {"examples", "pictures", "shown", "robots", "users"}
    assert {path.name for path in disk.iterdir()} == made
    assert RunDirectory(disk / "trained").read_evaluation()


@pytest.mark.slow
def test_names_of_any_letters_behind_a_link_from_another_directory_are_read_and_written(
    tmp_path: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "far" / ALL_IN_ONE).mkdir(parents=True)
    (tmp_path / ALL_IN_ONE).symlink_to(tmp_path / "far" / ALL_IN_ONE)
    monkeypatch.chdir(tmp_path)
    all_done_in(Path("far", "..", ALL_IN_ONE), run_dir)


@pytest.mark.slow
def test_names_that_mean_something_elsewhere_are_read_and_written(tmp_path: Path, run_dir: Path) -> None:
    disk = tmp_path.joinpath(*MEAN_SOMETHING, "..", "inside")
    disk.parent.parent.mkdir(parents=True)
    all_done_in(disk, run_dir)


def test_a_file_whose_name_is_as_long_as_it_may_be_is_written(tmp_path: Path, run_dir: Path) -> None:
    longest = tmp_path / ("x" * (255 - len(".json")) + ".json")
    assert run_script("evaluate.py", run_dir, *SMALL, "--steps", 1, "--json", longest) == 0
    assert longest.stat().st_size
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("evaluate.py", ("{run}", "--json", "{long}.json")),
        ("evaluate.py", ("{long}",)),
        ("train_nav.py", ("--run-dir", "{long}")),
        ("adapt.py", ("{run}", "--output", "{long}.safetensors")),
        ("adapt.py", ("{run}", "--episodes", "{long}.npz")),
        ("render.py", ("{run}", "--output", "{long}.gif")),
        ("report.py", ("{run}", "--output", "{long}.html")),
        ("export.py", ("{run}", "--output", "{long}")),
        ("summarise.py", ("{long}",)),
        ("train_nav.py", ("--config", "{long}.json")),
        ("train_locomotion.py", ("--family", "{long}.py:Robot")),
        ("evaluate.py", ("{run}", "--json", "")),
        ("evaluate.py", ("{run}", "--json", os.fsdecode(b"caf\xe9.json"))),
        ("train_nav.py", ("--run-dir", "")),
    ],
)
def test_a_name_that_no_file_can_have_is_refused_with_a_sentence(
    tmp_path: Path,
    run_dir: Path,
    script: str,
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_script(script, *(word.format(run=run_dir, long="x" * 256) for word in words)) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not list(tmp_path.iterdir())
