import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from rlmaml.base.errors import UserError
from rlmaml.base.plain_data import read_json
from rlmaml.base.stopping import InterruptedRunError
from rlmaml.evaluation.figures import draw_rewards
from rlmaml.results.compare import (
    Comparison,
    MethodReturns,
    as_plain,
    check_same,
    colour_of,
    compare,
    comparison_around,
    comparison_figure,
    comparison_table,
    fraction_recovered,
    fractions_recovered,
    read_comparison,
)
from rlmaml.results.contenders import BEYOND_RANGE, IN_RANGE, searched_methods
from rlmaml.settings.methods.registry import METHODS, PAPERS
from rlmaml.settings.search import SearchSettings
from rlmaml.settings.whole import Settings, as_method, configure
from rlmaml.storage.run_directory import ComparisonDirectory, write_json
from rlmaml.training.run import MakeEnv
from rlmaml_envs import TaskVectorEnv, make_tasks_env
from tests.rlmaml.training.conftest import plain_figures
from tests.rlmaml.training.stand_ins import DisturbedRewards

__all__ = ["plain_figures"]

HORIZON = 5
SETTINGS = configure(
    iterations=2,
    num_tasks=2,
    num_episodes=3,
    horizon=HORIZON,
    hidden=(8,),
    inner_steps=2,
    learn_step_sizes=True,
    stage_weights=(0.0, 1.0, 1.0),
    evaluation_tasks=3,
    evaluation_episodes=2,
    evaluation_steps=2,
    figure_interval=0,
    cg_iterations=3,
    threads=1,
    rollout_threads=1,
)


def returns(*means: float, seeds: int = 2, tasks: int = 3) -> MethodReturns:
    """Equal returns of all seeds and tasks."""
    return MethodReturns(np.broadcast_to(means, (seeds, tasks, len(means))).astype(np.float64))


RESULTS = {
    "maml-trpo": returns(-40.0, -10.0),
    "pretrained": returns(-42.0, -38.0),
    "random": returns(-80.0, -70.0),
    "oracle": returns(-2.0),
}


def make_env(num_envs: int) -> TaskVectorEnv:
    return make_tasks_env("Navigation2D-v0", num_envs, HORIZON)


def test_the_fraction_recovered_by_hand() -> None:
    assert fraction_recovered(RESULTS, "maml-trpo") == pytest.approx((-10 + 80) / (-2 + 80))
    assert fraction_recovered(RESULTS, "pretrained") == pytest.approx((-38 + 80) / (-2 + 80))


def test_intervals_are_those_of_t_tests_over_seeds_and_over_tasks() -> None:
    samples = np.random.default_rng(0).standard_normal((4, 6, 3))
    method = MethodReturns(samples)
    for stage in range(3):
        for half, axis in ((method.over_seeds, 1), (method.over_tasks, 0)):
            interval = scipy.stats.ttest_1samp(samples.mean(axis)[:, stage], 0).confidence_interval(0.95)
            assert half[stage] == pytest.approx((interval.high - interval.low) / 2)
    assert np.isnan(MethodReturns(samples[:1]).over_seeds).all()


def test_the_table_by_hand() -> None:
    lines = comparison_table(RESULTS).splitlines()
    assert lines[0] == "| method | zero-shot | after 1 |"
    assert lines[2] == "| maml-trpo | -40.00 (–, ± 0.00) | -10.00 (–, ± 0.00) |"
    assert lines[5] == "| oracle | -2.00 (–, ± 0.00) |  |"
    assert lines[-1] == "In brackets: 95 % intervals over 2 seeds, and over 3 tasks; a dash for fewer than 3."
    three = comparison_table({"maml-trpo": returns(1.0, seeds=3)})
    assert "| maml-trpo | 1.00 (± 0.00, ± 0.00) |" in three
    assert three.endswith("over 3 seeds, and over 3 tasks.")


def test_the_table_says_of_methods_that_live_through_episodes_that_none_of_their_columns_is_a_step() -> None:
    both = {name: returns(-3.0, -2.0) for name in ("maml-trpo", "rl2", "rma")}
    assert "Of rl2 and rma a column is after so many episodes lived, and not after steps." in comparison_table(both)
    assert "lived" not in comparison_table(RESULTS)


def test_the_figure_has_a_panel_for_each_set_of_tasks_and_a_line_for_each_method() -> None:
    figure = comparison_figure({"in range": RESULTS, "beyond": RESULTS}, actions="mean")
    assert {axes.get_ylabel() for axes in figure.axes} == {"mean return, mean actions"}
    assert [axes.get_title() for axes in figure.axes] == ["in range", "beyond"]
    for axes in figure.axes:
        assert [text.get_text() for text in axes.get_legend().get_texts()] == list(PAPERS)  # type: ignore[union-attr]


def test_without_a_random_policy_and_an_oracle_nothing_is_said_of_what_was_recovered() -> None:
    assert fractions_recovered({"maml-trpo": RESULTS["maml-trpo"], "oracle": RESULTS["oracle"]}) == {}
    assert fractions_recovered(RESULTS) == {method: fraction_recovered(RESULTS, method) for method in RESULTS}


SEARCHED = RESULTS | {"cavia": returns(-41.0, -50.0, -60.0, -45.0, -12.0)}
BY = {"cavia": "cmaes, 4 episodes"}


def test_a_search_is_for_methods_with_a_context_and_for_nothing_without_one() -> None:
    methods = {name: as_method(SETTINGS, name, SETTINGS.policy) for name in ("maml-trpo", "cavia")}
    assert searched_methods(methods, None) == {}
    assert searched_methods(methods, SearchSettings("cmaes", 4)) == BY
    found = searched_methods(methods, SearchSettings("hill-climbing", 10, 2))
    assert found == {"cavia": "hill-climbing, 10 episodes, 2 per attempt"}
    with pytest.raises(UserError, match="none of maml-trpo has one; add --algorithms cavia"):
        searched_methods({"maml-trpo": SETTINGS}, SearchSettings("cmaes"))


def test_of_a_search_the_table_shows_where_it_starts_and_its_best_and_the_figure_every_attempt() -> None:
    lines = comparison_table(SEARCHED, BY).splitlines()
    assert lines[0] == "| method | zero-shot | after 1 |"
    assert lines[6] == "| cavia (cmaes, 4 episodes) | -41.00 (–, ± 0.00) | -12.00 (–, ± 0.00) |"
    assert "the best it measured" in lines[8]
    assert "the best it measured" not in comparison_table(RESULTS)
    (axes,) = comparison_figure({"in range": SEARCHED}, BY).axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]  # type: ignore[union-attr]
    assert labels == [*PAPERS, "cavia (cmaes, 4 episodes)"]
    drawn = [np.asarray(line.get_ydata()).tolist() for line in axes.get_lines()]
    assert [-41.0, -50.0, -60.0, -45.0, -12.0] in drawn


def test_a_single_attempt_of_a_search_is_no_step_that_recovers_something() -> None:
    assert set(fractions_recovered(SEARCHED, BY)) == set(PAPERS)
    stored = as_plain(Comparison(SETTINGS, (0, 1), {"in range": SEARCHED}, BY))
    assert set(stored["results"]["in range"]["fraction_recovered"]) == set(PAPERS)


def test_a_comparison_by_another_search_is_not_replaced(tmp_path: Path) -> None:
    directory = ComparisonDirectory(tmp_path)
    write_json(directory.results, as_plain(Comparison(SETTINGS, (0, 1), {"in range": SEARCHED}, BY)))
    stored, methods = read_comparison(directory), [*PAPERS, "cavia"]
    assert stored is not None
    assert stored.searched == BY
    check_same(stored, SETTINGS, (0, 1), methods, BY)
    for now in ({}, {"cavia": "cmaes, 8 episodes"}):
        with pytest.raises(UserError, match="--search of cavia was cmaes, 4 episodes and is now"):
            check_same(stored, SETTINGS, (0, 1), methods, now)


def test_methods_may_join_a_comparison_that_is_there_and_none_may_leave_it() -> None:
    stored = Comparison(SETTINGS, (0, 1), {"in range": RESULTS})
    check_same(stored, SETTINGS, (0, 1), [*PAPERS, "cavia"])
    with pytest.raises(UserError, match="--actions was sampled and is now mean"):
        check_same(stored, SETTINGS, (0, 1), actions="mean")
    with pytest.raises(
        UserError, match="--algorithms was maml-trpo pretrained random oracle and is now maml-trpo cavia"
    ):
        check_same(stored, SETTINGS, (0, 1), ["maml-trpo", "cavia"])


def test_a_comparison_with_a_method_that_is_none_is_not_of_this_version(tmp_path: Path) -> None:
    directory = ComparisonDirectory(tmp_path)
    write_json(directory.results, as_plain(Comparison(SETTINGS, (0, 1), {"in range": {"maml": returns(1.0)}})))
    with pytest.raises(UserError, match=r"is not of this version.*Repeat compare\.py with --overwrite"):
        read_comparison(directory)


@pytest.mark.parametrize(
    "per_task", [None, [], [[]], [[1.0]], [[[1.0], ["2"]]], [[[1.0], [1.0, 2.0]]], [[[True]]], [[[1.0]]] * 3], ids=str
)
def test_a_comparison_whose_returns_are_none_is_refused(tmp_path: Path, per_task: Any) -> None:
    directory = ComparisonDirectory(tmp_path)
    plain = as_plain(Comparison(SETTINGS, (0, 1), {"in range": RESULTS}))
    plain["results"]["in range"]["methods"]["oracle"]["per_task"] = per_task
    write_json(directory.results, plain)
    with pytest.raises(UserError, match="is damaged"):
        read_comparison(directory)


def test_a_comparison_keeps_with_which_actions_returns_were_earned(tmp_path: Path) -> None:
    directory = ComparisonDirectory(tmp_path)
    plain = as_plain(Comparison(SETTINGS, (0, 1), {"in range": RESULTS}, actions="mean"))
    write_json(directory.results, plain)
    stored = read_comparison(directory)
    assert stored is not None
    assert stored.actions == "mean"
    write_json(directory.results, plain | {"config": plain["config"] | {"actions": "some"}})
    with pytest.raises(UserError, match="is damaged"):
        read_comparison(directory)


def test_a_comparison_in_which_every_simulation_failed_shows_dashes_and_is_json(tmp_path: Path) -> None:
    failed = {method: MethodReturns(np.full((2, 3, 2), np.nan)) for method in PAPERS}
    directory = ComparisonDirectory(tmp_path)
    write_json(directory.results, as_plain(Comparison(SETTINGS, (0, 1), {"in range": failed})))
    stored = read_comparison(directory)
    assert stored is not None
    assert "nan" not in comparison_table(stored.results["in range"])


def test_seeds_that_are_named_twice_are_refused(tmp_path: Path) -> None:
    for seeds in ((), (1, 1)):
        with pytest.raises(UserError, match="give one or more different numbers"):
            compare(SETTINGS, {}, seeds, lambda _: forbidden, ComparisonDirectory(tmp_path), draw_rewards, beyond=False)


def test_every_method_has_a_colour_and_neighbours_different_ones() -> None:
    colours = [colour_of(method) for method in METHODS]
    assert len(set(colours)) == len(colours)


def test_the_json_is_plain_data() -> None:
    stored = json.loads(json.dumps(as_plain(Comparison(SETTINGS, (0, 1), {"in range": RESULTS}))))
    data = stored["results"]["in range"]
    assert data["methods"]["maml-trpo"]["mean"] == [-40.0, -10.0]
    assert data["fraction_recovered"]["maml-trpo"] == pytest.approx(70 / 78)
    assert stored["config"]["settings"]["run"]["evaluation_tasks"] == 3
    assert stored["config"]["seeds"] == [0, 1]


def written(folder: Path, settings: Settings = SETTINGS) -> Comparison:
    comparison = Comparison(settings, (4, 5), {"in range": RESULTS})
    folder.mkdir()
    write_json(ComparisonDirectory(folder).results, as_plain(comparison))
    return comparison


def test_a_comparison_is_read_as_it_was_written(tmp_path: Path) -> None:
    comparison = written(tmp_path / "a")
    stored = read_comparison(ComparisonDirectory(tmp_path / "a"))
    assert stored is not None
    assert (stored.settings, stored.seeds) == (SETTINGS, (4, 5))
    for method, reached in stored.results["in range"].items():
        np.testing.assert_array_equal(reached.per_task, comparison.results["in range"][method].per_task)
    assert read_comparison(ComparisonDirectory(tmp_path)) is None
    for foreign in ('{"in range": {}}', '{"results": {}, "config": {"settings": {}, "seeds": []}}', "no JSON"):
        ComparisonDirectory(tmp_path).results.write_text(foreign)
        with pytest.raises(UserError, match=r"is not of this version.*--overwrite"):
            read_comparison(ComparisonDirectory(tmp_path))


def test_a_comparison_of_other_settings_is_not_replaced() -> None:
    stored = Comparison(SETTINGS, (4, 5), {"in range": RESULTS})
    check_same(None, SETTINGS, (0,))
    check_same(stored, SETTINGS.changed(seed=4, threads=2), (4, 5))
    for settings, seeds, words in (
        (SETTINGS.changed(evaluation_tasks=9), (4, 5), "--evaluation-tasks was 3 and is now 9"),
        (SETTINGS.changed(max_kl=0.5), (4, 5), "--max-kl was 0.01 and is now 0.5"),
        (SETTINGS, (4,), "--seeds was 4 5 and is now 4"),
    ):
        with pytest.raises(UserError, match=words):
            check_same(stored, settings, seeds)


def test_the_comparison_around_runs_is_the_one_of_their_problem(tmp_path: Path) -> None:
    written(tmp_path / "a")
    written(tmp_path / "b", SETTINGS.changed(horizon=7))
    inside = [tmp_path / "a" / "maml-trpo-seed4", tmp_path / "b" / "maml-trpo-seed4"]
    found = comparison_around(inside, SETTINGS.changed(max_kl=0.5))
    assert found is not None
    assert found.settings == SETTINGS
    assert comparison_around([tmp_path / "alone"], SETTINGS) is None
    assert comparison_around(inside[1:], SETTINGS) is None
    written(tmp_path / "c")
    with pytest.raises(UserError, match="several comparisons"):
        comparison_around([*inside, tmp_path / "c" / "maml-trpo-seed4"], SETTINGS)


def forbidden(num_envs: int) -> TaskVectorEnv:
    raise AssertionError


def every_method(settings: Settings) -> dict[str, Settings]:
    return {method: as_method(settings, method, settings.policy) for method in PAPERS}


class Trainings:
    """What makes the environments of a comparison: counts the trainings, and interrupts one of them at its start."""

    def __init__(self, interrupted: Callable[[Settings], bool] = lambda settings: False) -> None:
        self.interrupted = interrupted
        self.steps: dict[str, int] = {}

    def __call__(self, settings: Settings) -> MakeEnv:
        run = settings.run
        oracle, name = run.observe_task, repr(settings)

        def make(num_envs: int) -> Any:
            env = make_tasks_env("Navigation2D-v0", num_envs, HORIZON, observe_task=oracle)
            if num_envs != run.num_tasks * run.num_episodes:
                return env

            def count(steps: int) -> float:
                self.steps[name] = self.steps.get(name, 0) + 1
                if self.interrupted(settings) and steps > HORIZON:
                    raise KeyboardInterrupt
                return 0.0

            return DisturbedRewards(env, count)

        return make


@pytest.mark.usefixtures("unchecked")
def test_a_comparison_that_was_interrupted_goes_on_and_a_finished_one_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlmaml.training.fine_tuning.FINE_TUNING", (1.0, 0.1))
    settings = SETTINGS.changed(iterations=1, inner_steps=1, stage_weights=(), evaluation_tasks=2, evaluation_steps=1)
    settings = settings.changed(evaluation_episodes=2, num_episodes=4)
    directory, told = ComparisonDirectory(tmp_path / "comparison"), list[str]()

    def go(
        make: Callable[[Settings], MakeEnv],
        chosen: Settings = settings,
        *,
        beyond: bool = True,
        overwrite: bool = False,
    ) -> Comparison:
        told.clear()
        return compare(
            chosen,
            every_method(chosen),
            (3, 5),
            make,
            directory,
            draw_rewards,
            beyond=beyond,
            overwrite=overwrite,
            tell=told.append,
        )

    in_its_midst = Trainings(lambda one: one.run.seed == 5 and one.inner.inner_steps == 0)
    with pytest.raises(InterruptedRunError):
        go(in_its_midst)
    assert len(in_its_midst.steps) == 5  # three of the first seed, for random is not trained, and two of the second
    assert not directory.results.exists()
    rest = Trainings()
    comparison = go(rest)
    assert len(rest.steps) == 2  # pretrained and oracle of the second seed
    assert list(in_its_midst.steps)[-1] in rest.steps
    assert told[0] == f"8 runs, 1 at once, in {directory.path}"
    assert [line for line in told if "maml-trpo" in line] == [
        f"run {done} of 8: maml-trpo, seed {seed}" for done, seed in ((1, 3), (5, 5))
    ]
    assert sum("fine-tuned with step sizes 0." in line for line in told) == 4

    assert list(comparison.results) == [IN_RANGE, BEYOND_RANGE]
    assert comparison.seeds == (3, 5)
    assert comparison.settings == settings.changed(seed=3)
    for place, name in ((IN_RANGE, "evaluation"), (BEYOND_RANGE, "beyond")):
        for method, reached in comparison.results[place].items():
            stages = 1 if method == "oracle" else 2
            assert reached.per_task.shape == (2, 2, stages)
            if method == "maml-trpo":
                files = [getattr(directory.run(method, seed), name) for seed in (3, 5)]
                assert reached.per_task.tolist() == [read_json(file)["per_task"] for file in files]
    assert directory.figure.read_bytes().startswith(b"\x89PNG")
    for method in PAPERS:
        assert directory.run(method, 5).fine_tuned.exists() == (method in ("pretrained", "random"))

    again = go(lambda one: forbidden)
    stored = read_comparison(directory)
    assert stored is not None
    for other in (again, stored):
        assert (other.settings, other.seeds) == (comparison.settings, comparison.seeds)
        assert other.costs == comparison.costs
        for place, methods in comparison.results.items():
            for method, reached in methods.items():
                np.testing.assert_array_equal(other.results[place][method].per_task, reached.per_task)

    more = settings.changed(evaluation_tasks=3)
    with pytest.raises(UserError, match="--evaluation-tasks was 2 and is now 3"):
        go(lambda one: forbidden, more)
    only_evaluates = Trainings()
    anew = go(only_evaluates, more, overwrite=True, beyond=False)
    assert only_evaluates.steps == {}
    assert list(anew.results) == [IN_RANGE]
    assert anew.results[IN_RANGE]["maml-trpo"].per_task.shape == (2, 3, 2)
    with pytest.raises(UserError, match=r"--max-kl was 0\.01 and is now 0\.5"):
        go(lambda one: forbidden, more.changed(max_kl=0.5), overwrite=True)
