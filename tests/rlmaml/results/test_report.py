import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from envs import make_tasks_env
from rlmaml.base.errors import UserError
from rlmaml.evaluation.effects import adaptation_effects
from rlmaml.evaluation.evaluate import evaluate
from rlmaml.results.compare import IN_RANGE, Comparison
from rlmaml.results.report import ReportedRun, read_metrics, report_page
from rlmaml.settings.config import TrainConfig
from rlmaml.training.initial import initial_theta, make_policy
from tests.rlmaml.deploy.test_adaptable import CONFIG
from tests.rlmaml.results.test_compare import returns

VOID = {"meta", "img", "br", "path", "use"}


class Tags(HTMLParser):
    """Checks that tags are closed in order, and keeps where things are loaded from."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href") and tag != "use"]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def reported(variant: str = "finn2017", steps: int = 2, name: str = "a <run>") -> ReportedRun:
    env = make_tasks_env("Navigation2D-v0", 16, CONFIG.horizon, variant=variant)
    policy = make_policy(CONFIG, env)
    theta = initial_theta(CONFIG, policy)
    evaluation = evaluate(env, policy, theta, CONFIG, num_tasks=8, steps=steps, seed=1)
    return ReportedRun(
        name=name,
        settings={
            "config": {"env_id": "Navigation2D-v0", "variant": variant, "horizon": 100},
            "commit": "abc",
            "evaluation_seed": 10_000,
        },
        metrics=[{"return/after_0_steps": -3.0, "return/after_1_steps": -2.0}] * 3,
        evaluation=evaluation,
        effects=adaptation_effects(policy, theta, CONFIG, evaluation) if steps else None,
        task_words=[f"task {index}" for index in range(8)],
        picture=b"png",
        video=b"mp4",
    )


@pytest.mark.parametrize("variant", ["finn2017", "rothfuss2019", "dynamics"])
def test_the_page_is_well_formed_and_loads_nothing(variant: str) -> None:
    page = report_page([reported(variant)])
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert all(source.startswith(("data:", "#")) for source in tags.sources)
    assert not re.search(r"url\((?!#)|@import|<script|<link", page)
    assert "a &lt;run&gt;" in page
    assert "a <run>" not in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_the_page_shows_returns_beside_published_ones_worst_and_best_tasks_and_what_changed() -> None:
    run = reported()
    page = report_page([run])
    assert "-11.68" in page
    mean = run.evaluation.summary()["mean"]
    assert all(f"{value:.2f} ± " in page for value in mean)
    order = run.evaluation.returns[:, -1].argsort().tolist()
    shown = [int(index) for index in re.findall(r"<td>task (\d)</td>", page)]
    assert shown == [*order[:3], *order[-3:]]
    assert "layer0.weight" in page
    assert "KL from the unadapted policy" in page
    assert "abc" in page


def compared(tasks: int, episodes: int) -> Comparison:
    config = TrainConfig(evaluation_tasks=tasks, evaluation_episodes=episodes)
    return Comparison(config, (0, 1), {IN_RANGE: {"pretrained": returns(-42.0, -38.5), "oracle": returns(-2.25)}})


def test_baselines_that_were_run_are_drawn_and_tabulated_with_what_they_are() -> None:
    page = report_page([reported()], compared(8, 2))
    assert "<td>pretrained, 2 seeds: trained over all tasks, then fine-tuned</td><td>-42.00 ± 0.00</td>" in page
    assert "<td>oracle, 2 seeds: told the task, not adapted</td><td>-2.25 ± 0.00</td><td></td><td></td>" in page
    figure = page[page.index("<svg") : page.index("</svg>")]
    assert "pretrained, 2 seeds" in figure
    assert "on the same tasks and as many episodes" in page
    assert "oracle, 2 seeds" not in report_page([reported()])


def test_a_comparison_on_other_episodes_says_so_and_how_to_evaluate_alike() -> None:
    page = report_page([reported()], compared(8, 40))
    assert "8 held-out tasks, 2 episodes each" in page
    assert "8 held-out tasks, 40 episodes each, and so not exactly comparable" in page
    assert "report.py --tasks 8 --episodes 40 --seed 10000" in page


def test_several_runs_share_a_page_and_one_without_inner_steps_changes_nothing() -> None:
    page = report_page([reported(name="one"), reported(name="two", steps=0)])
    assert page.count("What adaptation changed") == 1
    assert "<h2>one</h2>" in page
    assert "<h2>two</h2>" in page


def test_a_directory_without_metrics_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no readable metrics\.jsonl"):
        read_metrics(tmp_path)
