import shlex
from pathlib import Path

import pytest

from rlmaml.base.plain_data import read_json
from rlmaml.results.compression import read_table
from rlmaml.storage.checkpoint import load_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from tests.rlmaml.families.test_rating_files import FILES, write
from tests.scripts.test_scripts import run_script
from tests.scripts.test_supervised import assert_scores_are_those_of_the_training

SMALL: tuple[object, ...] = ("--tasks", 3, "--hidden", 4, "--embedding", 2, "--inner-steps", 1, "--stage-weights", 0, 1)


def test_a_recommender_is_trained_resumed_and_judged_in_every_scenario_and_online(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def trained(directory: str, iterations: int, *more: object) -> dict[str, dict[str, list[float]]]:
        words: tuple[object, ...] = (*SMALL, "--iterations", iterations, "--cosine-iterations", 2, "--resume")
        words += ("--new-items", 0.2, "--online", "--online-ratings", 12, "--run-dir", tmp_path / directory)
        words += ("--evaluation-steps", 2, *more)
        assert run_script("train_recommender.py", *words, "--json", tmp_path / "mae.json") == 0
        return dict(read_json(tmp_path / "mae.json"))

    straight = trained("straight", 2)
    table = capsys.readouterr().out
    for words in ("zero-shot", "pretrained", "precision@5 of the best five", "maml-trpo, existing users, new items"):
        assert words in table
    assert "taste turns round after 6" in table
    assert set(straight) == {"mae", "rows", "ndcg", "metrics", "scenarios", "online", "config"}
    assert len(straight["mae"]["mean"]) == len(straight["ndcg"]["ci95"]) == 3
    assert straight["metrics"]["maml-trpo"]["mae"] == straight["mae"]  # type: ignore[call-overload]
    stored = RunDirectory(tmp_path / "straight").read_scores().per_task
    assert {name: scores.mean(0).tolist() for name, scores in stored.items()} == {
        name: pytest.approx(straight[name]["mean"]) for name in ("mae", "ndcg")
    }
    split = read_json(RunDirectory(tmp_path / "straight").split)
    assert not set(split["train"]) & (set(split["test"]) | set(split["validation"]))
    assert_scores_are_those_of_the_training(tmp_path / "straight")
    assert_is_made_smaller_and_gone_on_with(tmp_path / "straight", capsys)
    trained("resumed", 1, "--no-pretrained")
    assert trained("resumed", 2, "--no-pretrained")["online"] == straight["online"]
    checkpoints = [RunDirectory(tmp_path / name).checkpoint.read_bytes() for name in ("straight", "resumed")]
    assert checkpoints[0] == checkpoints[1]


def assert_is_made_smaller_and_gone_on_with(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own training fine-tunes the smaller model on the same users, and goes on with it."""
    stored = RunDirectory(run_dir).checkpoint
    assert run_script("compress.py", stored, "--prune", 0.5, "--iterations", 1, "--tasks", 3, "--steps", 1) == 0
    printed, smaller = capsys.readouterr().out, run_dir.with_name("straight-pruned-0.5")
    rows, judged = read_table(RunDirectory(smaller).compression)
    assert ([row.name for row in rows], judged.score) == (["whole", "50 % pruned"], "mae")
    assert rows[1].numbers < 0.6 * rows[0].numbers
    assert [row.onnx_kilobytes for row in rows] == [None, None]  # it reads no measurements
    assert_scores_are_those_of_the_training(smaller)
    before = load_checkpoint(RunDirectory(smaller).checkpoint).iteration
    _, script, *words = shlex.split(
        printed.partition("Go on training it, for as long again, with: ")[2].splitlines()[0]
    )
    assert run_script(Path(script).name, *words, "--no-pretrained") == 0
    assert load_checkpoint(RunDirectory(smaller).checkpoint).iteration == 2 * before
    assert run_script("compress.py", run_dir, "--prune", 0.5, "--episodes", 3) == 2
    assert "--episodes is 3, which is not for supervised tasks" in capsys.readouterr().err
    assert run_script("report.py", smaller, "--output", smaller / "page.html") == 0
    page = (smaller / "page.html").read_text()
    assert "What it gained and lost by being smaller" in page
    assert "mae on 3 held-out tasks before and after 1 step, lower being better" in page


def test_files_that_are_not_ratings_and_numbers_that_cannot_be_end_with_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "mine", FILES["u.data"] | {"u.data": "1\t7\t9\t1\n"})
    words = (*SMALL, "--run-dir", tmp_path / "run")
    for wrong, error in (
        (("--ratings", folder), "u.data, line 1: the rating is 9; it must be from 1 to 5"),
        (("--ratings", folder, "--rating-range", 0, 10), "mine has no user to train on"),
        (("--rating-range", 5, 1), "--rating-range is 5 to 1; the first must be below the second"),
        (
            ("--rating-range", -10, 10),
            "--rating-range is -10 to 10; it must be within 0 to 50, because a rating counts",
        ),
        (("--rating-range", 0, 100), "--rating-range is 0 to 100; it must be within 0 to 50"),
        (("--rating-range", 0, 4), "made-up ratings are 1 to 5. Give --ratings FOLDER"),
        (("--queries", 0), "--queries is 0; it must be at least 1"),
        (("--algorithm", "e-maml"), "learns from episodes"),
    ):
        assert run_script("train_recommender.py", *words, *wrong) == 2
        assert error in capsys.readouterr().err
