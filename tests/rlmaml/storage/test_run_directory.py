import json
from pathlib import Path

import pytest

from rlmaml.base.errors import NonFiniteError, UserError
from rlmaml.base.plain_data import sealed
from rlmaml.storage.run_directory import (
    ComparisonDirectory,
    RunDirectory,
    beside,
    is_of_run,
    policy_file,
    run_of,
    write_json,
)
from tests.rlmaml.storage.stored import evaluation


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "runs" / "first")


def test_the_names_of_a_run(run: RunDirectory) -> None:
    # what users and their scripts look for
    names = {
        "checkpoint.safetensors": run.checkpoint,
        "metrics.jsonl": run.metrics,
        "run.json": run.settings,
        "evaluation.json": run.evaluation,
        "adaptation.png": run.figure,
        "context_range.json": run.context_range,
        "adapted.safetensors": run.adapted,
        "adaptation.mp4": run.videos[0],
        "adaptation.gif": run.videos[1],
        "report.html": run.report,
        "paths.png": run.paths,
    }
    for name, path in names.items():
        assert path == run.path / name


def test_no_two_files_of_a_run_have_the_same_name(run: RunDirectory) -> None:
    paths: list[Path] = [
        path
        for name, value in vars(run).items()
        for path in (value if isinstance(value, tuple) else (value,))
        if name != "name"
    ]
    assert len(set(paths)) == len(paths) > 10
    assert all(path == run.path or path.parent == run.path for path in paths)
    ages = [run.earlier_checkpoint(age) for age in (1, 2)]
    assert [path.parent for path in ages] == [run.earlier] * 2
    assert len({*paths, *ages}) == len(paths) + 2


def test_clearing_makes_the_directory_and_spares_what_is_not_the_trainings(run: RunDirectory) -> None:
    assert run.found() == []
    run.clear()
    assert run.path.is_dir()
    for path in (run.checkpoint, run.metrics, run.settings, run.evaluation, run.figure, run.context_range, run.best):
        path.write_text("old")
    for path in (run.path / "events.out.tfevents.1.robot.2.0", run.earlier_checkpoint(1)):
        path.parent.mkdir(exist_ok=True)
        path.write_text("old")
    for path in (run.adapted, run.path / "notes.txt"):
        path.write_text("precious")
    assert set(run.found()) == {
        "checkpoint.safetensors",
        "metrics.jsonl",
        "run.json",
        "evaluation.json",
        "adaptation.png",
        "context_range.json",
        "best.safetensors",
        "events.out.tfevents.1.robot.2.0",
        "earlier_checkpoints",
    }
    run.clear()
    assert run.found() == []
    assert sorted(path.name for path in run.path.iterdir()) == ["adapted.safetensors", "notes.txt"]


def test_earlier_checkpoints_are_found_from_the_newest_on(run: RunDirectory) -> None:
    assert run.earlier_checkpoints() == []
    run.earlier.mkdir(parents=True)
    for name in ("10_before", "2_before", "1_before", "x_before", "notes"):
        (run.earlier / f"{name}.safetensors").write_text("old")
    assert run.earlier_checkpoints() == [run.earlier_checkpoint(age) for age in (1, 2, 10)]


def test_what_a_killed_process_had_begun_to_write_is_deleted_and_nothing_else(run: RunDirectory) -> None:
    run.make()
    left = [f".{run.checkpoint.name}.{'0a' * 8}.partial", f".adaptation.{'0a' * 8}.partial.mp4"]
    others = [".checkpoint.safetensors.partial", f".notes.{'0a' * 8}.partial", "x.partial"]
    for name in (*left, *others):
        (run.path / name).write_text("half")
    run.tidy()
    assert {path.name for path in run.path.iterdir()} == {*others}


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for act in (RunDirectory(tmp_path / "file" / "run").make, RunDirectory(tmp_path / "file").make):
        with pytest.raises(UserError, match="Cannot write"):
            act()
    (tmp_path / "run" / "checkpoint.safetensors").mkdir(parents=True)
    with pytest.raises(UserError, match="Cannot write"):
        RunDirectory(tmp_path / "run").clear()


def test_metrics_are_read_where_there_are_any(run: RunDirectory) -> None:
    with pytest.raises(UserError, match=r"holds no metrics\.jsonl\. Give the directory of a run"):
        run.read_metrics()
    run.make()
    run.metrics.write_text('{"iteration": 0}\n{"iteration": 1}\n')
    assert [entry["iteration"] for entry in run.read_metrics()] == [0, 1]


def test_an_evaluation_is_read_where_the_run_is_finished(run: RunDirectory) -> None:
    run.make()
    with pytest.raises(UserError, match="there is no such run"):
        run.read_evaluation()
    run.evaluation.write_text("{}")
    with pytest.raises(UserError, match="is damaged"):
        run.read_evaluation()
    write_json(run.evaluation, evaluation(returns=(-40.0, None)))
    assert run.read_evaluation() == evaluation(returns=(-40.0, None))
    assert json.loads(run.evaluation.read_text()) == sealed(evaluation(returns=(-40.0, None)))


def test_what_json_cannot_say_is_never_written(run: RunDirectory) -> None:
    run.make()
    with pytest.raises(NonFiniteError, match="JSON"):
        write_json(run.evaluation, {"mean": float("nan")})
    assert run.found() == []


def test_what_is_made_of_another_policy_has_names_of_its_own_beside_it(run: RunDirectory) -> None:
    def made(path: Path) -> set[Path]:
        files = beside(path)
        return {files.adapted, files.exported, files.report, *files.videos, files.paths, files.figure}

    run.make()
    assert made(run.path) == made(run.checkpoint)
    policies = (run.path, run.adapted, run.best, run.path / "adapted-adapted.safetensors")
    every = [path for policy in policies for path in made(policy)]
    assert len(set(every)) == len(every)
    assert all(path.parent == run.path for path in every)
    assert beside(run.adapted).exported.name == "adapted-export"
    assert beside(run.adapted).checkpoint == run.checkpoint


def test_a_policy_is_named_by_its_run_or_its_file(run: RunDirectory) -> None:
    run.make()
    other = run.path / "adapted.safetensors"
    assert policy_file(run.path) == policy_file(Path(run.checkpoint)) == run.checkpoint
    assert policy_file(other) == other
    assert policy_file(run.path.parent / "absent") == RunDirectory(run.path.parent / "absent").checkpoint
    assert beside(run.path).path == beside(other).path == run.path
    assert (beside(run.path).name, beside(other).name) == ("first", "first/adapted")
    assert [is_of_run(path) for path in (run.path, run.checkpoint, other, run.best)] == [True, True, False, False]
    dotted = run.path.parent / "half.cheetah"
    dotted.mkdir()
    assert policy_file(dotted) == dotted / "checkpoint.safetensors"
    assert beside(dotted).path == dotted


def test_the_runs_of_a_comparison_are_told_apart_by_method_and_seed(tmp_path: Path) -> None:
    comparison = ComparisonDirectory(tmp_path)
    paths = [comparison.run(method, seed).path for method in ("maml-trpo", "oracle") for seed in (0, 1)]
    assert len({*paths, comparison.results, comparison.figure}) == 6
    assert paths[0] == tmp_path / "maml-trpo-seed0"


def test_a_file_without_suffix_is_a_policy_and_no_run(tmp_path: Path) -> None:
    policy = tmp_path / "mypolicy"
    assert policy_file(policy) == RunDirectory(policy).checkpoint
    policy.touch()
    assert policy_file(policy) == policy
    assert not is_of_run(policy)
    assert beside(policy).path == tmp_path


def test_a_run_is_known_by_its_directory_and_by_each_of_its_checkpoints(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    for path in (directory.path, directory.checkpoint, directory.best, directory.earlier_checkpoint(1)):
        assert run_of(path).path == directory.path, path
