import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlmaml.base.errors import UserError
from rlmaml.base.plain_data import read_json
from rlmaml.settings.supervised import SUPERVISED
from rlmaml.storage.run_directory import RunDirectory
from tests.scripts.test_scripts import SCRIPTS, run_script

TINY = ("--iterations", 2, "--tasks", 3, "--hidden", 4, "--evaluation-tasks", 5)


def test_sine_waves_are_trained_on_resumed_and_tabled_beside_the_published_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words: list[object] = [*TINY, "--waves", "li2017", "--shots", 5, "--test-shots", 5, 20]
    words += ["--run-dir", tmp_path / "run", "--json", tmp_path / "errors.json"]
    assert run_script("train_sinusoid.py", *words, "--algorithm", "meta-sgd", "--seed", 3) == 0
    table = capsys.readouterr().out
    rows = ("zero-shot", "pretrained", "random", "meta-sgd, 20-shot", "Meta-SGD, arXiv 1707.09835, 20-shot")
    assert all(row in table for row in rows)
    written = read_json(tmp_path / "errors.json")
    assert len(written["errors"]["mean"]) == len(written["errors"]["ci95"]) == 11
    assert written["rows"]["meta-sgd"] == written["errors"]
    assert written["rows"]["pretrained"]["mean"] != written["rows"]["random"]["mean"]
    assert written["config"]["settings"]["run"]["seed"] == 3
    assert RunDirectory(tmp_path / "run").figure.exists()
    assert run_script("train_sinusoid.py", *words, "--algorithm", "meta-sgd", "--seed", 3) == 2
    assert "errors.json exists" in capsys.readouterr().err
    assert (
        run_script("train_sinusoid.py", *words, "--algorithm", "meta-sgd", "--seed", 3, "--resume", "--no-pretrained")
        == 0
    )
    assert read_json(tmp_path / "errors.json")["errors"] == written["errors"]


@pytest.mark.parametrize(("flag", "given"), [("--variant", "li2017"), ("--env-id", "Navigation2D-v0")])
def test_tasks_that_a_training_would_not_take_are_refused(
    flag: str, given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_script("train_sinusoid.py", *TINY, flag, given, "--run-dir", tmp_path / "run") == 2
    assert f"{flag} is {given!r}, which names no tasks of this command" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on sine waves, with the same model pretrained and a random one inside."""
    run_dir = tmp_path_factory.mktemp("waves") / "run"
    assert run_script("train_sinusoid.py", *TINY, "--run-dir", run_dir) == 0
    return run_dir


def test_trained_runs_are_compared_by_the_scores_that_they_left(
    waves: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_script("compare.py", waves, waves / "pretrained", waves / "random") == 0
    table = capsys.readouterr().out
    assert "errors on 5 held-out tasks of sinusoid, finn2017, 10-shot, 100 queries, seed 10000; lower" in table
    assert "| run | zero-shot | after 1 | after 2 | after 3 | after 5 | after 10 |" in table
    assert "| pretrained less run | " in table
    assert "| --algorithm | maml-trpo | pretrained | random |" in table
    assert run_script("compare.py", waves, waves / "random", "--episodes", 3) == 2
    assert "--episodes is 3, but runs on supervised tasks are read by the scores" in capsys.readouterr().err


def test_what_a_training_on_other_waves_brings_is_told_in_errors_and_its_runs_are_scored_like_any(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words: tuple[Any, ...] = (
        "compare.py",
        "sinusoid",
        "--source",
        "li2017",
        "--target",
        "finn2017",
        "--seeds",
        0,
        "--threads",
        1,
    )
    words += ("--iterations", 1, "--tasks", 3, "--steps", 1, "--output", tmp_path)
    assert run_script(*words, "--algorithms", "maml-trpo") == 0
    said = capsys.readouterr().out
    assert "errors on 3 held-out tasks of finn2017:" in said
    assert "maml-trpo, trained on finn2017 alone" in said
    assert_scores_are_those_of_the_training(tmp_path / "li2017" / "maml-trpo-seed0")
    capsys.readouterr()
    for wrong, error in (
        ((*words, "--episodes", 3), "--episodes is 3, which is not for supervised tasks"),
        (words[:2], "sinusoid are supervised tasks; give --source VARIANT --target VARIANT"),
        (("compare.py", "recommender", *words[2:]), "recommender has no variants by name; of supervised tasks"),
        ((*words, "--algorithms", "rl2"), "--algorithm is 'rl2', which learns from episodes"),
    ):
        assert run_script(*wrong) == 2
        assert error in capsys.readouterr().err


def test_trained_runs_are_reported_on_one_page_that_is_not_replaced_unasked(
    waves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ("report.py", waves, waves / "pretrained", waves / "random", "--output", tmp_path / "page.html")
    assert run_script(*page) == 0
    written = (tmp_path / "page.html").read_text()
    assert all(words in written for words in ("pretrained less run", "loss on the query sets", "data:image/png"))
    capsys.readouterr()
    for words, error in (
        (page, "page.html exists"),
        ((*page, "--overwrite", "--steps", 2), "--steps is 2, but runs on supervised tasks are read by the scores"),
    ):
        assert run_script(*words) == 2
        assert error in capsys.readouterr().err


def scored_anew(run_dir: Path, *words: object) -> dict[str, Any]:
    """What evaluate.py says of a run."""
    written = run_dir / "anew.json"
    assert run_script("evaluate.py", run_dir, *words, "--json", written, "--overwrite") == 0
    return dict(read_json(written))


def assert_scores_are_those_of_the_training(run_dir: Path) -> None:
    anew, left = scored_anew(run_dir), read_json(RunDirectory(run_dir).evaluation)
    assert {name: anew[name] for name in ("per_task", "held_out")} == {
        name: left[name] for name in ("per_task", "held_out")
    }


def test_a_run_is_scored_anew_on_the_tasks_of_its_test_and_on_fresh_ones(
    waves: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run_dir in (waves, waves / "pretrained"):
        assert_scores_are_those_of_the_training(run_dir)
    capsys.readouterr()
    fresh = scored_anew(waves, "--seed", 3, "--tasks", 40, "--steps", 2)
    assert "errors on 40 held-out tasks of sinusoid, finn2017, 10-shot, 100 queries, seed 3:" in capsys.readouterr().out
    assert np.shape(fresh["per_task"]["errors"]) == (40, 3)
    left = read_json(RunDirectory(waves).evaluation)
    assert fresh["per_task"]["errors"][0] != left["per_task"]["errors"][0]
    (waves / "renamed").mkdir()
    shutil.copy(waves / "anew.json", RunDirectory(waves / "renamed").evaluation)
    assert RunDirectory(waves / "renamed").read_scores().held_out.seed == 3
    for words, error in (
        (("--episodes", 3), "--episodes is 3, which is not for supervised tasks. Leave it out."),
        (("--beyond",), "--beyond is True, which is not for supervised tasks"),
    ):
        assert run_script("evaluate.py", waves, *words) == 2
        assert error in capsys.readouterr().err


def test_tasks_that_cannot_be_made_again_or_are_others_now_are_refused(
    waves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(shutil.copytree(waves, tmp_path / "run"))
    written = read_json(run.settings)
    assert written["made_by"] == {"waves": "finn2017", "shots": 10, "queries": 20}
    for made_by, error in (
        (written["made_by"] | {"shots": 4}, "which made again is finn2017, 4-shot, 20 queries: its data"),
        (["waves"], "is damaged, or no such file at all: made_by"),
        (None, "does not say how the tasks of sinusoid were made, so that none can be made again. train_sinusoid.py"),
    ):
        run.settings.write_text(json.dumps(written | {"made_by": made_by}))
        assert run_script("evaluate.py", run.path) == 2
        assert error in capsys.readouterr().err


def test_what_needs_an_environment_names_the_training_that_scores_a_run_on_supervised_tasks(
    waves: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("adapt.py", waves, "--task", "phase=1"), ("render.py", waves)):
        assert run_script(*words) == 2
        error = capsys.readouterr().err
        assert "on supervised tasks, sinusoid, which have no episodes: train_sinusoid.py scores it at its end" in error
        assert "its evaluation.json has the scores of every task after every step." in error


@pytest.mark.parametrize(
    ("env_id", "script"),
    [
        ("few-shot", "train_few_shot.py"),
        ("dynamics-HalfCheetahChanged-v0", "train_dynamics.py"),
        ("imitation", "train_imitation.py"),
        ("dynamics-v0", None),
        ("Navigation2D-v0", None),
    ],
)
def test_a_family_of_ones_own_with_the_name_of_a_supervised_one_is_no_such(env_id: str, script: str | None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        check_of_episodes = importlib.import_module("supervised").check_of_episodes
    if script is None:
        check_of_episodes(env_id)
    else:
        with pytest.raises(UserError, match=script):
            check_of_episodes(env_id)


def test_every_training_takes_every_method_that_needs_a_gradient_alone() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        defaults = importlib.import_module("defaults")
    for settings in defaults.SUPERVISED.values():
        for method in SUPERVISED:
            own = defaults.as_supervised(settings, method)
            assert own.algorithm == method
            assert (method == "cavia") == (own.network.context > 0)


def test_a_method_of_episodes_ends_with_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script("train_sinusoid.py", "--algorithm", "rl2", "--run-dir", tmp_path / "run") == 2
    assert "--algorithm is 'rl2', which learns from episodes" in capsys.readouterr().err


def test_the_benchmark_says_how_much_faster_one_pass_over_all_tasks_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--tasks", 2, "--hidden", 4, "--repeats", 1, "--json", tmp_path / "times.json")
    assert run_script("benchmark_supervised.py", *words) == 0
    assert "times as fast" in capsys.readouterr().out
    assert set(read_json(tmp_path / "times.json")) > {"seconds", "ratio", "difference", "settings"}
