from pathlib import Path

import pytest

from rlmaml.results.compression import read_table
from rlmaml.storage.checkpoint import load_checkpoint, save_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from tests.rlmaml.training.conftest import plain_figures
from tests.scripts.test_resuming import typed
from tests.scripts.test_scripts import TINY, Run, run

__all__ = ["plain_figures", "run"]

FEW = ("--tasks", 2, "--episodes", 3, "--steps", 1, "--threads", 1)


@pytest.fixture
def trained(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run("train_nav.py", *TINY, "--run-dir", tmp_path / "run") == 0
    capsys.readouterr()
    return tmp_path / "run"


@pytest.mark.usefixtures("operators_read_once")
@pytest.mark.slow
def test_a_run_is_made_smaller_shown_and_gone_on_with(
    trained: Path,
    run: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("compress.py", trained, "--prune", 0.5, "--iterations", 1, *FEW) == 0
    smaller = RunDirectory(trained.with_name("run-pruned-0.5"))
    printed = capsys.readouterr().out
    assert "fine-tuned for 1 meta-iteration" in printed
    rows, judged = read_table(smaller.compression)
    assert [row.name for row in rows] == ["whole", "whole, int8", "50 % pruned", "50 % pruned, int8"]
    assert rows[0].numbers - rows[2].numbers == (8 * 2 + 2 * 8) / 2
    assert rows[2].kilobytes < rows[0].kilobytes + 1  # what is left of which matrix is in the settings
    assert all(f"| {row.name} |" in printed for row in rows)
    assert (judged.num_tasks, judged.num_episodes, judged.steps) == (2, 3, 1)
    assert run("compress.py", trained, "--prune", 0.5, "--resume", *FEW) == 0
    again = capsys.readouterr().out
    assert f"{smaller.path}: trained to its end." in again
    assert typed(again.partition("Go on training it, for as long again, with: ")[2].strip()) == 0
    assert load_checkpoint(smaller.checkpoint).iteration == 6


def test_what_makes_no_sense_is_refused_before_anything_is_written(
    trained: Path,
    run: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for options, words in (
        ((), "Give one of --prune and --low-rank"),
        (("--prune", 0.5, "--low-rank", 2), "Give one of --prune and --low-rank"),
        (("--prune", 1.0), "--prune is 1.0; it must be a share above 0 and below 1"),
        (("--low-rank", 0), "--low-rank is 0; it must be"),
        (("--low-rank", 2), "legal is 1 to 1"),
        (("--prune", 0.5, "--run-dir", trained), "is named twice"),
        (("--prune", 0.5, "--beside", trained), "is named twice"),
        (("--prune", 0.5, "--tasks", 0), "--tasks is 0"),
    ):
        assert run("compress.py", trained, *options) == 2
        assert words in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in trained.parent.iterdir()] == ["run"]
    stored = load_checkpoint(RunDirectory(trained).checkpoint)
    adapted = trained / "adapted.safetensors"
    save_checkpoint(adapted, stored._replace(steps_taken=1))
    assert run("compress.py", adapted, "--prune", 0.5) == 2
    assert "The policy has adapted to a task, and its training, which fine-tunes" in capsys.readouterr().err
    other = trained.with_name("other")
    assert run("compress.py", other, "--prune", 0.5) == 2
    assert "There is no checkpoint at" in capsys.readouterr().err
    RunDirectory(other).make()
    (other / "run.json").write_text("{}")
    assert run("compress.py", trained, "--prune", 0.5, "--run-dir", other) == 2
    assert "already holds a run" in capsys.readouterr().err


@pytest.mark.usefixtures("operators_read_once")
@pytest.mark.slow
def test_a_checkpoint_goes_on_from_the_meta_iteration_that_it_holds(trained: Path, run: Run) -> None:
    earlier = trained / "earlier_checkpoints" / "1_before.safetensors"
    earlier.parent.mkdir(exist_ok=True)
    stored = load_checkpoint(RunDirectory(trained).checkpoint)
    for path, iteration in ((trained / "best.safetensors", 2), (earlier, 1)):
        save_checkpoint(path, stored._replace(iteration=iteration))
        done = ("--prune", 0.5, "--iterations", 0, *FEW, "--overwrite")
        assert run("compress.py", path, *done) == 0
        smaller = RunDirectory(trained.with_name("run-pruned-0.5"))
        assert load_checkpoint(smaller.checkpoint).iteration == len(smaller.read_metrics()) == iteration


@pytest.mark.slow
def test_a_smaller_policy_goes_wherever_a_policy_goes(
    trained: Path,
    run: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("compress.py", trained, "--low-rank", 1, "--iterations", 0, *FEW) == 0
    assert run("compress.py", trained, "--low-rank", 1, "--resume", *FEW) == 0
    both = trained.with_name("both")
    combined = ("--prune", 0.25, "--run-dir", both, "--beside", trained)
    assert run("compress.py", trained.with_name("run-rank-1"), *combined, "--iterations", 1, *FEW) == 0
    names = [row.name for row in read_table(RunDirectory(both).compression)[0]]
    assert names[::2] == ["whole", "rank 1", "rank 1, 20 % pruned"]
    sizes = ("--tasks", 2, "--episodes", 2, "--steps", 1, "--threads", 1)
    assert run("evaluate.py", both, *sizes) == 0
    assert run("report.py", both, *sizes) == 0
    page = RunDirectory(both).report.read_text()
    assert "What it gained and lost by being smaller" in page
    assert "rank 1, 20 % pruned, int8" in page
    capsys.readouterr()
    assert run("compare.py", trained, both, *sizes) == 0
    assert "| --kept | none |" in capsys.readouterr().out
    task = ("--task", "goal=0.3,-0.2")
    assert run("adapt.py", both, *task, "--episodes-per-step", 3) == 0
    assert run("export.py", both / "adapted.safetensors", "--int8", *task) == 0
    assert run("render.py", both, *task, "--episodes-per-step", 3, "--output", both / "film.gif") == 0
    config = ("--config", both / "run.json", "--run-dir", both)
    assert run("train_nav.py", *config, "--resume", "--iterations", 4) == 0
    assert load_checkpoint(RunDirectory(both).checkpoint).iteration == 4
