import html
import json
import re
from pathlib import Path

import numpy as np
import pytest

from rlmaml.base.errors import UserError
from rlmaml.results.scored import ScoredRun, read_scored
from rlmaml.results.supervised_report import supervised_page
from rlmaml.storage.run_directory import RunDirectory
from tests.rlmaml.results.test_report import Tags
from tests.rlmaml.results.test_scored import FIRST, OTHER, a_scored_run


def reported_runs(folder: Path, *names: str) -> list[ScoredRun]:
    """Runs with a record of two meta-iterations and a figure."""
    for seed, name in enumerate(names):
        scores = FIRST if seed == 0 else OTHER
        directory = RunDirectory(a_scored_run(folder / name, seed=seed, errors=scores, accuracy=1 / scores))
        lines = [{"iteration": k, "update/query_loss": 1.0 / (k + seed + 1)} for k in range(2)]
        directory.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
        directory.figure.write_bytes(b"png")
    return read_scored([folder / name for name in names])


def test_the_page_is_well_formed_loads_nothing_and_says_nothing_of_actions(tmp_path: Path) -> None:
    page = supervised_page(reported_runs(tmp_path, "a <run>", "other"))
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert all(source.startswith(("data:", "#")) for source in tags.sources)
    assert not re.search(r"url\((?!#)|@import|<script|<link", page)
    assert "a &lt;run&gt;" in page
    assert "a <run>" not in page
    seen = html.unescape(re.sub(r"<(details|style|svg).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL))
    assert not [word for word in ("sampled", "action", "return", "episode") if word in seen]


def test_the_page_has_scores_curves_figures_how_it_adapts_differences_and_the_configuration(tmp_path: Path) -> None:
    page = supervised_page(reported_runs(tmp_path, "one", "other"))
    assert "<th></th><th>zero-shot</th><th>after 1</th>" in page
    assert "<td>one</td><td>3.0000 ± 2.4841</td><td>2.0000 ± 2.4841</td>" in page
    assert "<td>other less one</td><td>-0.5000 ± 0.0000</td><td>-0.2000 ± 0.2484</td>" in page
    for score, better in (("errors", "lower"), ("accuracy", "higher")):
        assert f"{score} on 3 held-out tasks of lines, lines through 0, seed 10000; {better} is better" in page
    assert "loss on the query sets" in page
    assert page.count("data:image/png;base64,") == 2
    assert page.count("<td>--inner-step-sizes</td><td>(0.1,)</td>") == 2
    assert "--inner-loss" not in page  # it is of episodes
    assert "<td>--seed</td><td>0</td><td>1</td>" in page
    assert page.count("<details>") == 2


def test_of_a_single_run_there_are_no_differences_and_without_a_query_loss_no_curves(tmp_path: Path) -> None:
    (run,) = reported_runs(tmp_path, "one")
    run.directory.metrics.write_text("")
    run.directory.figure.unlink()
    page = supervised_page([run])
    assert "Differences" not in page
    assert "Learning curves" not in page
    assert "<img" not in page
    run.directory.metrics.unlink()
    with pytest.raises(UserError, match=r"holds no metrics\.jsonl"):
        supervised_page([run])


def test_a_score_that_is_not_finite_leaves_its_place_in_the_table(tmp_path: Path) -> None:
    scores = np.array([[1.0, np.inf, 1.0], [2.0, 1.0, 1.0], [3.0, 1.0, 1.0]])
    run_dir = a_scored_run(tmp_path / "one", errors=scores)
    RunDirectory(run_dir).metrics.write_text("")
    page = supervised_page(read_scored([run_dir]))
    assert "<td>–</td><td>1.0000 ± 0.0000</td>" in page
