import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from envs import TaskVectorEnv, make_tasks_env
from rlmaml.base.errors import UserError
from rlmaml.evaluation.figures import draw_rewards
from rlmaml.results.compare import (
    COMPARISON,
    FINE_TUNED,
    FINE_TUNING,
    METHODS,
    VALIDATION_SEED,
    Comparison,
    MethodReturns,
    as_json,
    check_same,
    comparison_around,
    comparison_figure,
    comparison_table,
    evaluated_run,
    fraction_recovered,
    gather,
    method_config,
    read_comparison,
)
from rlmaml.settings.config import TrainConfig
from rlmaml.storage.checkpoint import CHECKPOINT, load_checkpoint
from rlmaml.training.run import evaluate_run

CONFIG = TrainConfig(
    iterations=2,
    num_tasks=2,
    num_episodes=3,
    horizon=5,
    hidden=(8,),
    inner_steps=2,
    learn_step_sizes=True,
    stage_weights=(0.0, 1.0, 1.0),
    evaluation_tasks=3,
    evaluation_episodes=2,
    evaluation_steps=2,
    threads=1,
)


def returns(*means: float, seeds: int = 2, tasks: int = 3) -> MethodReturns:
    """Equal returns of all seeds and tasks."""
    return MethodReturns(np.broadcast_to(means, (seeds, tasks, len(means))).astype(np.float64))


RESULTS = {
    "maml": returns(-40.0, -10.0),
    "pretrained": returns(-42.0, -38.0),
    "random": returns(-80.0, -70.0),
    "oracle": returns(-2.0),
}


def make_env(num_envs: int) -> TaskVectorEnv:
    return make_tasks_env("Navigation2D-v0", num_envs, CONFIG.horizon)


def test_all_methods_sample_as_many_environment_steps_but_random_which_is_not_trained() -> None:
    configs = {method: method_config(CONFIG, method, 7) for method in METHODS}
    steps = {
        method: c.iterations * c.num_tasks * c.num_episodes * c.horizon * (c.inner_steps + 1)
        for method, c in configs.items()
    }
    assert steps["random"] == 0
    assert steps["maml"] == steps["pretrained"] == steps["oracle"] == 2 * 2 * 3 * 5 * 3
    assert {c.seed for c in configs.values()} == {7}
    assert [method for method, c in configs.items() if c.observe_task] == ["oracle"]
    assert configs["maml"] == dataclasses.replace(CONFIG, seed=7)


def test_the_random_policy_and_the_oracle_start_from_nothing() -> None:
    config = dataclasses.replace(CONFIG, start_from="elsewhere")
    assert {m: method_config(config, m, 0).start_from for m in METHODS} == {
        "maml": "elsewhere",
        "pretrained": "elsewhere",
        "random": "",
        "oracle": "",
    }


def test_the_fraction_recovered_by_hand() -> None:
    assert fraction_recovered(RESULTS, "maml") == pytest.approx((-10 + 80) / (-2 + 80))
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
    assert lines[0] == "| method | after 0 | after 1 |"
    assert lines[2] == "| maml | -40.00 (± 0.00, ± 0.00) | -10.00 (± 0.00, ± 0.00) |"
    assert lines[5] == "| oracle | -2.00 (± 0.00, ± 0.00) |  |"
    assert "(–, ± 0.00)" in comparison_table({"maml": returns(1.0, seeds=1)})


def test_the_figure_has_a_panel_for_each_set_of_tasks_and_a_line_for_each_method() -> None:
    figure = comparison_figure({"in range": RESULTS, "beyond": RESULTS})
    assert [axes.get_title() for axes in figure.axes] == ["in range", "beyond"]
    for axes in figure.axes:
        assert [text.get_text() for text in axes.get_legend().get_texts()] == list(METHODS)  # type: ignore[union-attr]


def test_the_json_is_plain_data() -> None:
    stored = json.loads(json.dumps(as_json(Comparison(CONFIG, (0, 1), {"in range": RESULTS}))))
    data = stored["results"]["in range"]
    assert data["methods"]["maml"]["mean"] == [-40.0, -10.0]
    assert data["fraction_recovered"]["maml"] == pytest.approx(70 / 78)
    assert stored["settings"]["config"]["evaluation_tasks"] == 3


def written(folder: Path, config: TrainConfig = CONFIG) -> Comparison:
    comparison = Comparison(config, (4, 5), {"in range": RESULTS})
    folder.mkdir()
    (folder / COMPARISON).write_text(json.dumps(as_json(comparison)))
    return comparison


def test_a_comparison_is_read_as_it_was_written(tmp_path: Path) -> None:
    comparison = written(tmp_path / "a")
    stored = read_comparison(tmp_path / "a")
    assert stored is not None
    assert (stored.config, stored.seeds) == (CONFIG, (4, 5))
    for method, reached in stored.results["in range"].items():
        np.testing.assert_array_equal(reached.per_task, comparison.results["in range"][method].per_task)
    assert read_comparison(tmp_path) is None
    (tmp_path / COMPARISON).write_text('{"in range": {}}')
    with pytest.raises(UserError, match=r"is not of this version.*--overwrite"):
        read_comparison(tmp_path)


def test_a_comparison_of_other_settings_is_not_replaced() -> None:
    stored = Comparison(CONFIG, (4, 5), {"in range": RESULTS})
    check_same(None, CONFIG, (0,))
    check_same(stored, dataclasses.replace(CONFIG, seed=4, threads=2), (4, 5))
    for config, seeds, words in (
        (dataclasses.replace(CONFIG, evaluation_tasks=9), (4, 5), "--evaluation-tasks was 3 and is now 9"),
        (dataclasses.replace(CONFIG, max_kl=0.5), (4, 5), "--max-kl was 0.01 and is now 0.5"),
        (CONFIG, (4,), r"--seeds was \(4, 5\) and is now \(4,\)"),
    ):
        with pytest.raises(UserError, match=words):
            check_same(stored, config, seeds)


def test_the_comparison_around_runs_is_the_one_of_their_problem(tmp_path: Path) -> None:
    written(tmp_path / "a")
    written(tmp_path / "b", dataclasses.replace(CONFIG, horizon=7))
    inside = [tmp_path / "a" / "maml-seed4", tmp_path / "b" / "maml-seed4"]
    found = comparison_around(inside, dataclasses.replace(CONFIG, max_kl=0.5))
    assert found is not None
    assert found.config == CONFIG
    assert comparison_around([tmp_path / "alone"], CONFIG) is None
    assert comparison_around(inside[1:], CONFIG) is None
    written(tmp_path / "c")
    with pytest.raises(UserError, match="several comparisons"):
        comparison_around([*inside, tmp_path / "c" / "maml-seed4"], CONFIG)


def test_a_finished_run_is_used_again_and_one_of_other_settings_is_refused(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    first = evaluated_run(CONFIG, make_env, run_dir, draw_rewards, beyond=False)
    assert gather([first]).per_task.shape == (1, 3, 3)

    def forbidden(num_envs: int) -> TaskVectorEnv:
        raise AssertionError

    assert evaluated_run(CONFIG, forbidden, run_dir, draw_rewards, beyond=False) == first
    beyond = evaluated_run(CONFIG, make_env, run_dir, draw_rewards, beyond=True)
    assert beyond["tasks"] != first["tasks"]
    assert evaluated_run(CONFIG, forbidden, run_dir, draw_rewards, beyond=True) == beyond
    more = dataclasses.replace(CONFIG, evaluation_tasks=4)
    assert len(evaluated_run(more, make_env, run_dir, draw_rewards, beyond=False)["per_task"]) == 4
    with pytest.raises(UserError, match="--max-kl was"):
        evaluated_run(dataclasses.replace(CONFIG, max_kl=0.5), make_env, run_dir, draw_rewards, beyond=False)


def test_a_policy_that_was_not_meta_trained_takes_the_steps_that_validation_tasks_prefer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = method_config(CONFIG, "pretrained", 0)
    report = evaluated_run(config, make_env, tmp_path, draw_rewards, beyond=False)
    finals = []
    for factor in FINE_TUNING:
        scaled = dataclasses.replace(config, inner_step_sizes=(factor * CONFIG.inner_step_sizes[0],))
        trained = load_checkpoint(tmp_path / CHECKPOINT)._replace(config=scaled)
        validation = evaluate_run(trained, make_env, num_tasks=3, num_episodes=2, steps=2, seed=VALIDATION_SEED)
        finals.append(float(validation.returns[:, -1].mean()))
    assert len(set(finals)) == len(FINE_TUNING)
    best = FINE_TUNING[int(np.argmax(finals))]
    sizes = [best * CONFIG.inner_step_sizes[0]]
    assert report["config"]["config"]["inner_step_sizes"] == sizes
    beyond = evaluated_run(config, make_env, tmp_path, draw_rewards, beyond=True)
    assert beyond["config"]["config"]["inner_step_sizes"] == sizes
    assert evaluated_run(config, make_env, tmp_path, draw_rewards, beyond=False) == report
    monkeypatch.setattr("rlmaml.results.compare.FINE_TUNING", (0.5,))
    anew = evaluated_run(config, make_env, tmp_path, draw_rewards, beyond=False)
    assert anew["config"]["config"]["inner_step_sizes"] == [0.5 * CONFIG.inner_step_sizes[0]]


def test_a_meta_trained_run_of_other_step_sizes_is_not_used(tmp_path: Path) -> None:
    evaluated_run(CONFIG, make_env, tmp_path, draw_rewards, beyond=False)
    larger = dataclasses.replace(CONFIG, inner_step_sizes=(0.9,))
    with pytest.raises(UserError, match="--inner-step-sizes was"):
        evaluated_run(larger, make_env, tmp_path, draw_rewards, beyond=False)


def test_what_was_meta_trained_or_need_not_adapt_keeps_its_step_sizes(tmp_path: Path) -> None:
    for method in ("maml", "oracle"):
        config = method_config(CONFIG, method, 0)
        make = lambda num_envs, c=config: make_tasks_env("Navigation2D-v0", num_envs, 5, observe_task=c.observe_task)
        evaluated_run(config, make, tmp_path / method, draw_rewards, beyond=False)
        assert not (tmp_path / method / FINE_TUNED).exists()
