import html
import re
from functools import cache, partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import rc_context

from rlmaml.base.errors import UserError
from rlmaml.evaluation.effects import adaptation_effects
from rlmaml.evaluation.evaluate import evaluate
from rlmaml.results.compare import Comparison
from rlmaml.results.contenders import IN_RANGE
from rlmaml.results.page_parts import as_label, page_axes, place_legend
from rlmaml.results.report import (
    EPISODES_OF_EFFECTS,
    EvaluationSizes,
    ReportedRun,
    _curves,
    effects_of,
    read_runs,
    report_page,
    reported,
)
from rlmaml.settings.methods.registry import METHODS
from rlmaml.settings.whole import Settings, configure
from rlmaml.storage.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.training.begin import begin, make_method, sizes_in
from rlmaml.training.run import evaluate_run, run_settings
from rlmaml_envs import TaskVectorEnv, make_tasks_env
from tests.rlmaml.results.test_compare import returns
from tests.rlmaml.results.test_compression import JUDGED, ROWS
from tests.rlmaml.shapes import shapes_checked

SETTINGS = configure(
    num_tasks=1,
    num_episodes=6,
    horizon=9,
    hidden=(8,),
    inner_steps=2,
    inner_step_sizes=(0.5, 0.3),
    learn_step_sizes=True,
    inner_loss="likelihood_ratio",
    threads=1,
)
PUBLISHED = {"MAML, published": (-40.41, -11.68, -3.33, -3.23)}

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


@cache
def a_run(variant: str = "finn2017", steps: int = 2, name: str = "a <run>") -> ReportedRun:
    settings = SETTINGS.changed(variant=variant)
    env = make_tasks_env("Navigation2D-v0", 16, SETTINGS.run.horizon, variant=variant)
    method = make_method(settings, env)
    meta = begin(settings, method).meta
    with shapes_checked(False):
        evaluation = evaluate(env, method.policy, method.rule, meta, settings, num_tasks=8, steps=steps, seed=1)
        adapted = (method.policy, method.rule, evaluation.adaptations, evaluation.rollouts[0])
        effects = adaptation_effects(*adapted) if steps else None
    return ReportedRun(
        name=name,
        settings=settings,
        written=run_settings(settings) | {"commit": "abc", "iterations_done": 3, "evaluation_seed": 10_000},
        metrics=[{"return/after_0_steps": -3.0, "return/after_1_steps": -2.0}] * 3,
        evaluation=evaluation._replace(task_words=[f"task {index}" for index in range(8)]),
        num_episodes=2,
        effects=effects,
        task_units=env.task_units,
        task_elements=env.task_elements,
        picture=b"png",
        video=b"mp4",
    )


@cache
def a_page(variant: str = "finn2017") -> str:
    return report_page([a_run(variant)], PUBLISHED if variant == "finn2017" else {})


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that asks for this reads tables and text: laying out a page's figures takes longer than all else."""
    monkeypatch.setattr("rlmaml.results.report.as_svg", lambda figure: "<svg></svg>")
    monkeypatch.setattr(f"{__name__}.a_page", a_page.__wrapped__)  # other tests are not handed such a page


@pytest.mark.parametrize("variant", ["finn2017", "dynamics"])
def test_the_page_is_well_formed_and_loads_nothing(variant: str) -> None:
    page = a_page(variant)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert all(source.startswith(("data:", "#")) for source in tags.sources)
    assert not re.search(r"url\((?!#)|@import|<script|<link", page)
    assert "a &lt;run&gt;" in page
    assert "a <run>" not in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def drawn_parts(page: str) -> str:
    """A page without what is another number or time whenever a figure is drawn."""
    return re.sub(r"image[0-9a-f]{10}|[0-9a-f]{10}|<dc:date>.*?</dc:date>", "", page)


def test_a_page_is_the_same_whatever_somebodys_matplotlib_is_set_to() -> None:
    with rc_context({"text.usetex": True, "axes.grid": True, "lines.linewidth": 9, "svg.fonttype": "path"}):
        page = report_page([a_run()], PUBLISHED)
    assert drawn_parts(page) == drawn_parts(a_page())


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("drawn", [True, False])
def test_task_parameters_that_are_matrices_are_named_and_not_drawn(drawn: bool) -> None:
    run = a_run("dynamics")
    tasks = {"turn & shear": np.zeros((8, 2, 2))} | (dict(run.evaluation.tasks) if drawn else {})
    page = report_page([run._replace(evaluation=run.evaluation._replace(tasks=tasks), metrics=[])], {})
    assert "Matrices are not drawn: turn &amp; shear." in page
    assert page.count("<svg") == 1 + drawn
    assert "are not drawn" not in a_page("dynamics")


@pytest.mark.usefixtures("undrawn")
def test_what_an_adapted_policy_begins_with_is_measured_before_its_first_step_too() -> None:
    run = a_run()
    assert run.effects is not None
    for size, said in ((0.0, "0"), (0.5, "0.500")):
        effects = run.effects._replace(from_zero={"context": torch.tensor([size, 0.7, 0.8])})
        page = report_page([run._replace(effects=effects, metrics=[])], {})
        cells = re.search("<td>context, root mean square</td>(.*?)</tr>", page)
        assert cells
        assert re.findall("<td>(.*?)</td>", cells[1]) == [said, "0.700", "0.800"]


@pytest.mark.usefixtures("undrawn")
def test_runs_that_differ_in_no_setting_are_said_to() -> None:
    one = a_run()
    page = report_page([one, one._replace(name="again")], {})
    assert "<p>The runs differ in no setting.</p>" in page
    assert "<th>setting</th>" not in page


class Words(HTMLParser):
    """Keeps what is written, in tables, text and the labels of figures."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def handle_data(self, data: str) -> None:
        self.said.append(data)

    def handle_comment(self, data: str) -> None:
        self.said.append(data)  # matplotlib's labels, which are paths


def test_wherever_the_page_names_a_return_it_says_of_which_actions() -> None:
    for variant in ("finn2017", "dynamics"):
        words = Words()
        words.feed(a_page(variant))
        labels = [text.strip() for text in words.said if re.search(r"\breturns?\b", text)]
        assert len(labels) >= 3
        assert not [text for text in labels if "sampled actions" not in text and "advantages" not in text]
        assert any("tasks, sampled actions" in text for text in words.said)


def test_the_page_shows_returns_beside_published_ones_worst_and_best_tasks_and_what_changed() -> None:
    run = a_run()
    page = a_page()
    assert "<td>MAML, published</td><td>-40.41</td><td>-11.68</td><td>-3.33</td>" in page
    assert "-11.68" not in report_page([run], {})
    mean = run.evaluation.summary()["mean"]
    assert all(f"{value:.2f} ± " in page for value in mean)
    order = run.evaluation.returns[:, -1].argsort().tolist()
    shown = [int(index) for index in re.findall(r"<td>task (\d)</td>", page)]
    assert shown == [*order[:3], *order[-3:]]
    assert "layer0.weight" in page
    assert page.index("<th>worst tasks, sampled actions</th>") < page.index("<th>best tasks, sampled actions</th>")
    assert "KL from the unadapted policy" in page
    assert "KL: 0.5 nats move the mean of an action by one standard deviation" in page
    assert "goal.x, m" in page
    assert "mean over the first 5 tasks" in page
    assert "abc" in page


@pytest.mark.usefixtures("undrawn")
def test_a_smaller_run_shows_what_it_gained_and_lost() -> None:
    shown = report_page([a_run()._replace(compression=(ROWS, JUDGED))], {})
    assert "What it gained and lost by being smaller" in shown
    assert "<tr><td>rank 1</td><td>50</td><td>1.0</td>" in shown
    assert "being smaller" not in a_page()


def test_legends_are_as_wide_as_the_figure_however_long_the_names_of_runs_are() -> None:
    names = [
        f"a run whose name says with what it was trained, such as its step size, and seed {seed}" for seed in (0, 1)
    ]
    figure, axes = page_axes()
    for name in names:
        axes.plot([0, 1], label=name)
    place_legend(figure, axes)
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert [text.get_text().replace("\n", "") for text in figure.legends[0].get_texts()] == names


def test_meta_iterations_are_counted_in_whole_numbers() -> None:
    drawn = _curves([a_run()])
    ticks = re.findall(r"<!-- (-?[\d.]+) -->", drawn)
    assert {"0", "1", "2"} <= set(ticks)
    assert "0.5" not in ticks


def test_elements_of_a_parameter_are_named_or_numbered_as_a_command_line_takes_them() -> None:
    for elements, label in (({}, "goal.0, m"), ({"goal": (("east", "north"),)}, "goal.east, m")):
        page = report_page([a_run()._replace(task_elements=elements, metrics=[])], {})
        assert label in page
        assert "goal[" not in page


def test_curves_of_a_training_with_a_teacher_name_both() -> None:
    run = a_run()._replace(settings=configure("rma"))
    assert "teacher" in _curves([run])
    assert "student, episode 1" in _curves([run])


def compared(tasks: int, episodes: int) -> Comparison:
    settings = SETTINGS.changed(evaluation_tasks=tasks, evaluation_episodes=episodes)
    return Comparison(settings, (0, 1), {IN_RANGE: {"pretrained": returns(-42.0, -38.5), "oracle": returns(-2.25)}})


def test_baselines_that_were_run_are_drawn_and_tabulated_with_what_they_are() -> None:
    page = report_page([a_run()], PUBLISHED, compared(8, 2))
    for name, first in [("pretrained", "-42.00"), ("oracle", "-2.25")]:
        assert f"<td>{name}, 2 seeds: {METHODS[name].summary}</td><td>{first} ± 0.00</td>" in page
    figure = page[page.index("<svg") : page.index("</svg>")]
    assert "pretrained, 2 seeds" in figure
    assert "on the same tasks and as many episodes" in page
    assert "oracle, 2 seeds" not in a_page()


@pytest.mark.usefixtures("undrawn")
def test_a_method_that_searched_is_not_among_inner_steps() -> None:
    comparison = compared(8, 2)
    page = report_page([a_run()], PUBLISHED, comparison._replace(searched={"pretrained": "cmaes, 4 episodes"}))
    assert "oracle, 2 seeds" in page
    assert "pretrained, 2 seeds" not in page


@pytest.mark.usefixtures("undrawn")
def test_a_comparison_on_other_episodes_says_so_and_how_to_evaluate_alike() -> None:
    page = report_page([a_run()], {}, compared(8, 40))
    assert "8 held-out tasks, 2 episodes each" in page
    assert "8 held-out tasks, 40 episodes each, and so not exactly comparable" in page
    assert "report.py --tasks 8 --episodes 40 --seed 10000" in page


@pytest.mark.usefixtures("undrawn")
def test_several_runs_share_a_page_and_one_without_inner_steps_changes_nothing() -> None:
    page = report_page([a_run(name="one"), a_run(name="two", steps=0)], {})
    assert page.count("What adaptation changed") == 1
    assert "<h2>one</h2>" in page
    assert "<h2>two</h2>" in page


def finished_run(run_dir: Path, settings: Settings = SETTINGS) -> RunDirectory:
    """A checkpoint of a policy that was hardly trained, and metrics."""
    directory = RunDirectory(run_dir)
    directory.make()
    env = make_tasks_env("Navigation2D-v0", 1, settings.run.horizon, observe_task=settings.run.observe_task)
    meta = begin(settings, make_method(settings, env)).meta
    save_checkpoint(directory.checkpoint, Checkpoint(meta, 3, settings, sizes_in(env, settings)))
    line = '{{"iteration": {}, "return/after_0_steps": -3.0, "return/after_1_steps": -2.0}}\n'
    directory.metrics.write_text("".join(map(line.format, range(3))))
    return directory


def tasks_of_navigation(num_envs: int, *, observe_task: bool = False) -> TaskVectorEnv:
    return make_tasks_env("Navigation2D-v0", num_envs, SETTINGS.run.horizon, observe_task=observe_task)


def show(directory: RunDirectory, told: list[str], num_episodes: int | None = 3) -> ReportedRun:
    checkpoint = load_checkpoint(directory.checkpoint)
    make_env = partial(tasks_of_navigation, observe_task=checkpoint.settings.run.observe_task)

    def make_scene() -> TaskVectorEnv:
        raise RuntimeError("no OpenGL")

    sizes = EvaluationSizes(num_tasks=4, num_episodes=num_episodes, steps=2, seed=7)
    return reported(directory, checkpoint, make_env, make_scene, sizes, told.append)


@pytest.mark.usefixtures("undrawn")
def test_a_run_is_shown_with_what_its_directory_holds_and_an_evaluation_of_its_own(tmp_path: Path) -> None:
    directory, told = finished_run(tmp_path / "mine"), list[str]()
    directory.figure.write_bytes(b"png")
    run = show(directory, told)
    assert run.name == "mine"
    assert run.evaluation.returns.shape == (4, 3)
    assert run.evaluation.rollouts[0].returns.shape == (4, 3)
    assert run.effects is not None
    assert len(run.effects.kl) == 2
    assert run.written["evaluation_seed"] == 7
    assert run.written["iterations_done"] == 3
    assert run.written["settings"]["run"]["horizon"] == 9
    assert len(run.metrics) == 3
    assert run.picture == b"png"
    assert run.video is None
    assert told == [f"No video of {tmp_path / 'mine'}: no OpenGL"]
    assert run.evaluation.task_words[0].endswith(") m")
    assert run.evaluation.task_words[0] in report_page([run], {})
    directory.videos[0].write_bytes(b"mp4")
    assert show(directory, told).video == b"mp4"
    assert len(told) == 1


def test_as_many_episodes_as_ended_the_training_where_none_are_asked_for(tmp_path: Path) -> None:
    directory = finished_run(tmp_path, SETTINGS.changed(evaluation_episodes=5))
    run = show(directory, [], None)
    assert run.num_episodes == 5
    assert run.evaluation.rollouts[0].returns.shape == (4, 5)


REMEMBERS = configure("rl2", num_tasks=1, num_episodes=1, horizon=9, hidden=(4,), memory=3, minibatches=1, threads=1)


@pytest.mark.parametrize("settings", [SETTINGS, REMEMBERS], ids=["steps", "memory"])
def test_what_adaptation_changed_is_the_same_whether_all_tasks_or_the_first_ones_alone_are_adapted_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr("rlmaml.results.report.TASKS_OF_EFFECTS", 2)
    directory = finished_run(tmp_path, settings)
    checkpoint = load_checkpoint(directory.checkpoint)
    asked: dict[str, Any] = {"num_episodes": 3, "steps": 2, "seed": 7}
    whole = evaluate_run(checkpoint, tasks_of_navigation, num_tasks=4, **asked)
    effects = [effects_of(one, checkpoint, tasks_of_navigation, asked) for one in (whole, whole._replace(rollouts=[]))]
    assert torch.equal(effects[0].kl, effects[1].kl)
    assert torch.equal(effects[0].entropy, effects[1].entropy)
    assert all(torch.equal(effects[0].layers[name], effects[1].layers[name]) for name in effects[0].layers)


def test_of_a_memory_too_the_change_is_measured_on_the_first_episodes(tmp_path: Path) -> None:
    effects = show(finished_run(tmp_path, REMEMBERS), [], EPISODES_OF_EFFECTS + 2).effects
    assert effects is not None
    assert bool((effects.kl > 0).all())


def test_an_oracle_is_shown_without_adaptation(tmp_path: Path) -> None:
    run = show(finished_run(tmp_path, SETTINGS.changed(observe_task=True)), [])
    assert run.evaluation.returns.shape == (4, 1)
    assert run.effects is None


def test_runs_of_several_problems_are_not_shown_on_one_page(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    for path, variant in zip(paths, ("finn2017", "finn2017", "dynamics"), strict=True):
        finished_run(path, SETTINGS.changed(variant=variant))
    assert [checkpoint.iteration for checkpoint in read_runs(paths[:2])] == [3, 3]
    with pytest.raises(UserError, match="different families or variants"):
        read_runs(paths)
    with pytest.raises(UserError, match="is named twice"):
        read_runs([paths[0], paths[0]])


def test_the_name_of_a_run_is_text_and_never_markup() -> None:
    shown = [as_label(name) for name in ("cost $5 of $7", "a_{b", "_hidden", "<b>&amp;", "\udcff", r"\\frac{")]
    page = report_page([a_run()._replace(name=name) for name in shown], {})
    page.encode()
    figures = "".join(re.findall("(?s)<svg.*?</svg>", page))
    for name in (html.escape(name, quote=False) for name in shown):
        assert figures.count(name.strip()) >= 2, name  # in both legends
        assert f"<h2>{name}</h2>" in page


def test_a_directory_without_metrics_is_refused(tmp_path: Path) -> None:
    finished_run(tmp_path).metrics.unlink()
    with pytest.raises(UserError, match=r"holds no metrics\.jsonl"):
        show(RunDirectory(tmp_path), [])
