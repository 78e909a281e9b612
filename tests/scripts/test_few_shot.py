import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rlmaml.base.plain_data import read_json
from rlmaml.storage.run_directory import RunDirectory
from tests.scripts.test_scripts import run_script
from tests.scripts.test_supervised import assert_scores_are_those_of_the_training


def test_pictures_of_folders_are_trained_on_and_their_classes_split_beside_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for name in "abcdefg":
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(6):
            picture = Image.fromarray(generator.integers(0, 255, (9, 9), dtype=np.uint8))
            picture.save(tmp_path / "pictures" / name / f"{index}.png")
    words: list[object] = ["--images", "pictures", "--image", 1, 8, 8, "--split", 3, 2, 2, "--processes", 1]
    words += ["--ways", 2, "--shots", 2, "--queries", 3, "--filters", 2, "--iterations", 2, "--tasks", 2]
    words += ["--evaluation-tasks", 3, "--evaluation-steps", 2]
    words += ["--run-dir", Path("runs", "run"), "--json", tmp_path / "accuracy.json"]
    assert run_script("train_few_shot.py", *words) == 0
    table = capsys.readouterr().out
    rows = ("zero-shot", "pretrained", "random", "maml-trpo, transductive", "maml-trpo, validation")
    assert all(row in table for row in rows)
    written = read_json(tmp_path / "accuracy.json")
    assert len(written["accuracy"]["mean"]) == 3
    assert written["rows"]["maml-trpo, transductive"]["mean"] != written["accuracy"]["mean"]
    split = read_json(RunDirectory(tmp_path / "runs" / "run").split)
    assert sorted(name for part in split.values() for name in part) == list("abcdefg")
    assert [len(part) for part in split.values()] == [3, 2, 2]
    assert_scores_are_those_of_the_training(tmp_path / "runs" / "run")
    (tmp_path / "moved").mkdir()
    for name in ("runs", "pictures"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    assert str(tmp_path) not in json.dumps(read_json(tmp_path / "moved/runs/run/run.json")["made_by"])
    for run_dir in (tmp_path / "moved" / "runs" / "run", Path("moved", "runs", "run", "random")):
        assert_scores_are_those_of_the_training(run_dir)
    monkeypatch.chdir(tmp_path / "moved")
    (tmp_path / "moved" / "pictures" / "a" / "0.png").write_bytes(b"damaged")
    assert run_script("train_few_shot.py", *words, "--overwrite") == 2
    assert "0.png is damaged" in capsys.readouterr().err
    (tmp_path / "moved" / "pictures").rename(tmp_path / "elsewhere")
    assert run_script("evaluate.py", Path("runs", "run")) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "are made of --images pictures: put it back, or say where it is now by train_few_shot.py" in error


def test_what_says_nothing_about_the_pictures_that_are_taken_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, error in (
        (("--images", tmp_path, "--data", "fashion-mnist"), "is in place of --data fashion-mnist; give one of them"),
        (("--policy", "categorical"), "--policy is 'categorical'; it must be conv4, which reads pictures"),
        (("--policy", "gaussian", "--images", tmp_path), "it must be conv4, which reads pictures"),
        (("--image", 1, 9, 9), "--image is (1, 9, 9); pictures of --data digits have (1, 8, 8)"),
    ):
        assert run_script("train_few_shot.py", *words, "--run-dir", tmp_path / "run") == 2
        assert error in " ".join(capsys.readouterr().err.split())


def test_the_command_of_the_published_accuracies_on_omniglot_is_one_that_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], help_texts: dict[str, str]
) -> None:
    told = " ".join(help_texts["train_few_shot.py"].split())
    assert "98.7 and 99.9 % on Omniglot, 5-way 1-shot and 5-shot" in told
    options = told.partition("had the options: ")[2].partition("--inner-steps 1.")[0] + "--inner-steps 1"
    words = [word for word in options.split() if word not in ("and", "omniglot")]
    words.insert(1, str(tmp_path))
    for name in ("Greek/character01", "Greek/character02", "Latin/character01"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("1", (105, 105)).save(tmp_path / name / "0001_01.png")
    assert run_script("train_few_shot.py", *words, "--run-dir", tmp_path / "run") == 2
    assert "--split" in (error := " ".join(capsys.readouterr().err.split()))
    assert "1100" in error  # all options are taken; of Omniglot there are three characters here, and not 1623
