from pathlib import Path

import numpy as np
import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.evaluation.query_scores import QueryScores, scores_as_json
from rlmaml.results.scored import read_scored, scored_as_json, scored_table
from rlmaml.settings.whole import configure
from rlmaml.storage.run_directory import RunDirectory, write_json
from rlmaml.storage.scores_file import Floats, HeldOut

HELD_OUT = HeldOut("lines", "lines through 0", 10_000)
FIRST = np.array([[2.0, 1.0], [3.0, 2.0], [4.0, 3.0]])
OTHER = FIRST - [[0.5, 0.1], [0.5, 0.2], [0.5, 0.3]]


def a_scored_run(path: Path, held_out: HeldOut = HELD_OUT, seed: int = 0, **per_task: Floats) -> Path:
    """The directory of a run with an evaluation alone."""
    config = {"settings": configure(seed=seed).as_plain()}
    path.mkdir()
    scores = {name: QueryScores(torch.tensor(values)) for name, values in per_task.items()}
    write_json(RunDirectory(path).evaluation, scores_as_json(scores, held_out, config))
    return path


def test_runs_are_tabled_with_differences_task_by_task_the_better_direction_and_their_settings(tmp_path: Path) -> None:
    one = a_scored_run(tmp_path / "one", mae=FIRST, ndcg=1 / FIRST)
    other = a_scored_run(tmp_path / "other", mae=OTHER, ndcg=1 / OTHER, seed=1)
    lines = scored_table(read_scored([one, other])).splitlines()
    assert lines[0] == "mae on 3 held-out tasks of lines, lines through 0, seed 10000; lower is better:"
    assert lines[2] == "| run | zero-shot | after 1 |"
    assert lines[4] == "| one | 3.0000 ± 2.4841 | 2.0000 ± 2.4841 |"  # deviation 1, Student's t of 2 degrees
    assert lines[6] == "| other less one | -0.5000 ± 0.0000 | -0.2000 ± 0.2484 |"
    assert "ndcg on 3 held-out tasks of lines, lines through 0, seed 10000; higher is better:" in lines
    assert "| --seed | 0 | 1 |" in lines
    assert not [word for word in ("sampled", "action", "return") if word in str(lines)]


def test_the_file_of_scores_has_what_the_table_shows_by_score(tmp_path: Path) -> None:
    one = a_scored_run(tmp_path / "one", mae=FIRST, ndcg=1 / FIRST)
    other = a_scored_run(tmp_path / "other", mae=OTHER, ndcg=1 / OTHER, seed=1)
    plain = scored_as_json(read_scored([one, other]))
    assert list(plain) == ["mae", "ndcg"]
    assert plain["mae"]["runs"][0]["per_task"] == FIRST.tolist()
    assert plain["mae"]["less_the_first"][0]["mean"] == pytest.approx([-0.5, -0.2])
    assert plain["ndcg"]["differing_settings"] == {"--seed": [0, 1]}


def test_a_score_that_not_every_run_has_is_left_out_and_one_of_ones_own_has_no_direction(tmp_path: Path) -> None:
    one = a_scored_run(tmp_path / "one", depth=FIRST, ndcg=FIRST)
    other = a_scored_run(tmp_path / "other", depth=OTHER)
    table = scored_table(read_scored([one, other]))
    assert "ndcg" not in table
    assert "better" not in table


def test_runs_whose_folders_have_one_name_are_told_apart_by_those_around_them(tmp_path: Path) -> None:
    paths = [tmp_path / name / "pretrained" for name in ("one", "other")]
    for path in paths:
        path.parent.mkdir()
        a_scored_run(path, errors=FIRST)
    assert [run.name for run in read_scored(paths)] == ["one/pretrained", "other/pretrained"]


def test_a_score_that_is_not_finite_is_a_dash(tmp_path: Path) -> None:
    run_dir = a_scored_run(tmp_path / "one", errors=np.where(FIRST == 3.0, np.inf, FIRST))
    assert "| one | – | – |" in scored_table(read_scored([run_dir]))


def test_runs_scored_on_other_tasks_or_by_other_scores_are_refused_by_name(tmp_path: Path) -> None:
    one = a_scored_run(tmp_path / "one", errors=FIRST)
    for name, held_out, scores in (
        ("variant", HELD_OUT._replace(variant="lines through 1"), FIRST),
        ("seed", HELD_OUT._replace(seed=1), FIRST),
        ("family", HELD_OUT._replace(family="curves"), FIRST),
        ("fewer", HELD_OUT, FIRST[:2]),
    ):
        other = a_scored_run(tmp_path / name, held_out, errors=scores)
        with pytest.raises(UserError, match=f"different tasks: one on 3 held-out tasks of lines, .*; {name} on "):
            read_scored([one, other])
    other = a_scored_run(tmp_path / "other", accuracy=FIRST)
    with pytest.raises(UserError, match="The runs have different scores: one errors; other accuracy"):
        read_scored([one, other])
    with pytest.raises(UserError, match="is named twice"):
        read_scored([one, one])
    with pytest.raises(UserError, match=r"best.safetensors is a policy on supervised tasks, of which the run alone"):
        read_scored([one / "best.safetensors"])
