from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlmaml.base.errors import NonFiniteError, UserError
from rlmaml.deploy.adaptable import ActionKind
from rlmaml.evaluation.figures import draw_rewards
from rlmaml.results.contenders import (
    BEYOND_RANGE,
    IN_RANGE,
    Contender,
    asked_of,
    check_contenders,
    contender_settings,
    evaluated,
    evaluated_run,
    sampled_episodes,
)
from rlmaml.settings.methods.registry import METHODS, PAPERS
from rlmaml.settings.search import SearchSettings
from rlmaml.settings.whole import Settings, as_method, of_length
from rlmaml.storage.checkpoint import load_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.training.fine_tuning import FINE_TUNING
from rlmaml.training.run import EVALUATION_SEED, VALIDATION_SEED, MakeEnv, evaluate_run
from tests.rlmaml.results.test_compare import HORIZON, SETTINGS, forbidden, make_env
from tests.rlmaml.training.conftest import plain_figures

__all__ = ["plain_figures"]


def of_method(settings: Settings, method: str, seed: int) -> Settings:
    return contender_settings(settings, as_method(settings, method), seed)


def test_all_methods_sample_as_many_environment_steps_but_random_which_is_not_trained() -> None:
    every = {method: of_method(SETTINGS, method, 7) for method in PAPERS}
    steps = {
        method: s.run.iterations * s.run.num_tasks * s.run.num_episodes * HORIZON * (s.inner.inner_steps + 1)
        for method, s in every.items()
    }
    assert steps["random"] == 0
    assert steps["maml-trpo"] == steps["pretrained"] == steps["oracle"] == 2 * 2 * 3 * 5 * 3
    assert {s.run.seed for s in every.values()} == {7}
    assert [method for method, s in every.items() if s.run.observe_task] == ["oracle"]
    assert every["maml-trpo"] == SETTINGS.changed(seed=7)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_samples_as_many_environment_steps_whatever_stages_it_reads(method: str) -> None:
    own = of_method(SETTINGS.changed(iterations=20), method, 7)
    assert own.algorithm == method
    asked = 0 if method == "random" else 20 * sampled_episodes(SETTINGS)
    assert abs(own.run.iterations * sampled_episodes(own) - asked) <= sampled_episodes(own) / 2


def test_a_method_that_samples_more_episodes_has_fewer_meta_iterations() -> None:
    larger = SETTINGS.changed(iterations=99, num_tasks=4)
    assert sampled_episodes(larger) == 2 * sampled_episodes(SETTINGS) == 4 * 3 * 3
    assert contender_settings(SETTINGS.changed(iterations=20), larger, 7).run.iterations == 10


def test_a_training_of_another_length_has_schedules_of_that_length() -> None:
    # Twice as many episodes per meta-iteration leave half of them, and a cosine of 80 of 99 becomes one of 8 of 10.
    larger = SETTINGS.changed(iterations=99, num_tasks=4, cosine_iterations=80)
    fitted = contender_settings(SETTINGS.changed(iterations=20), larger, 7)
    assert (fitted.run.iterations, fitted.outer.cosine_iterations) == (10, 8)
    begun = as_method(SETTINGS.changed(iterations=100, inner_steps=2), "maml++")
    schedules = begun.outer.cosine_iterations, begun.inner.first_order_until, begun.outer.anneal_stage_weights
    assert schedules == (100, 20, 50)
    half = asked_of(begun, iterations=50)
    assert (half.outer.cosine_iterations, half.inner.first_order_until, half.outer.anneal_stage_weights) == (50, 10, 25)
    assert asked_of(begun, iterations=1).inner.first_order_until == 1  # and not 0, which is none
    short = as_method(SETTINGS.changed(iterations=20, inner_steps=2), "maml++")  # not of first order all along
    assert (short.outer.cosine_iterations, short.inner.first_order_until, short.outer.anneal_stage_weights) == (
        20,
        4,
        10,
    )
    assert asked_of(SETTINGS, iterations=7) == SETTINGS.changed(iterations=7)  # what has no schedule has none
    idle = SETTINGS.changed(iterations=0, cosine_iterations=100)
    assert of_length(idle, 0) == idle


def test_the_random_policy_and_the_oracle_start_from_nothing() -> None:
    settings = SETTINGS.changed(start_from="elsewhere")
    assert {m: of_method(settings, m, 0).run.start_from for m in PAPERS} == {
        "maml-trpo": "elsewhere",
        "pretrained": "elsewhere",
        "random": "",
        "oracle": "",
    }


def test_a_finished_run_is_used_again_and_one_of_other_settings_is_refused(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    first = evaluated_run(SETTINGS, make_env, run, draw_rewards, beyond=False)
    assert np.shape(first["per_task"]) == (3, 3)
    assert evaluated_run(SETTINGS, forbidden, run, draw_rewards, beyond=False) == first
    beyond = evaluated_run(SETTINGS, make_env, run, draw_rewards, beyond=True)
    assert beyond["tasks"] != first["tasks"]
    assert evaluated_run(SETTINGS, forbidden, run, draw_rewards, beyond=True) == beyond
    more = SETTINGS.changed(evaluation_tasks=4)
    assert len(evaluated_run(more, make_env, run, draw_rewards, beyond=False)["per_task"]) == 4
    for name, value in (("max_kl", 0.5), ("inner_step_sizes", (0.9,))):
        with pytest.raises(UserError, match=f"--{name.replace('_', '-')} was"):
            evaluated_run(SETTINGS.changed(**{name: value}), make_env, run, draw_rewards, beyond=False)


def test_mean_actions_have_evaluations_of_their_own_beside_those_of_sampled_ones(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    found: dict[tuple[str, bool], dict[str, Any]] = {}
    kinds: tuple[ActionKind, ...] = ("mean", "sampled")
    for actions in kinds:
        for beyond in (False, True):
            found[actions, beyond] = evaluated_run(
                SETTINGS, make_env, run, draw_rewards, beyond=beyond, actions=actions
            )
    assert len({str(report["per_task"]) for report in found.values()}) == 4
    for actions in kinds:
        for beyond in (False, True):
            again = evaluated_run(SETTINGS, forbidden, run, draw_rewards, beyond=beyond, actions=actions)
            assert again == found[actions, beyond]
    assert found["mean", False]["config"]["actions"] == "mean"
    assert found["mean", False]["tasks"] == found["sampled", False]["tasks"]
    asked = evaluate_run(
        load_checkpoint(run.checkpoint),
        make_env,
        num_tasks=3,
        num_episodes=2,
        steps=2,
        seed=EVALUATION_SEED,
        actions="mean",
    )
    np.testing.assert_allclose(found["mean", False]["per_task"], asked.returns)
    (run.path / "mean_beyond.json").write_bytes(run.beyond.read_bytes())
    again = evaluated_run(SETTINGS, make_env, run, draw_rewards, beyond=True, actions="mean")
    assert again["per_task"] == found["mean", True]["per_task"], "an evaluation of other actions is not taken for one"


@pytest.mark.usefixtures("unchecked")
def test_a_search_has_an_evaluation_of_its_own_beside_that_of_the_trained_rule(tmp_path: Path) -> None:
    run, search = RunDirectory(tmp_path / "run"), SearchSettings("hill-climbing", 6, 2)
    settings = of_method(SETTINGS, "cavia", 0).changed(inner_step_sizes=(2.0,))

    def evaluation(make: Any, search: SearchSettings | None = None, *, beyond: bool = False) -> dict[str, Any]:
        return evaluated_run(settings, make, run, draw_rewards, beyond=beyond, search=search)

    found = evaluation(make_env, search)
    assert np.shape(found["per_task"]) == (3, 3 + 1)
    assert evaluation(forbidden, search) == found
    trained = evaluation(forbidden)
    assert np.shape(trained["per_task"]) == (3, 2 + 1)
    assert [task[0] for task in trained["per_task"]] == [task[0] for task in found["per_task"]]
    beyond = evaluation(make_env, search, beyond=True)
    assert beyond["tasks"] != found["tasks"]
    assert evaluation(forbidden, search, beyond=True) == beyond
    assert np.shape(evaluation(make_env, SearchSettings("cmaes", 6, 1))["per_task"]) == (3, 6 + 1)


def sizes_of(report: dict[str, Any]) -> list[float]:
    """The step sizes with which a policy was evaluated."""
    sizes: list[float] = report["config"]["settings"]["inner"]["inner_step_sizes"]
    return sizes


@pytest.mark.usefixtures("unchecked")
def test_a_policy_that_was_not_meta_trained_takes_the_steps_that_validation_tasks_prefer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, run = of_method(SETTINGS, "pretrained", 0), RunDirectory(tmp_path)
    (size,) = SETTINGS.inner.inner_step_sizes
    report = evaluated_run(settings, make_env, run, draw_rewards, beyond=False)
    finals = []
    for factor in FINE_TUNING:
        scaled = settings.changed(inner_step_sizes=(factor * size,))
        trained = load_checkpoint(run.checkpoint)._replace(settings=scaled)
        validation = evaluate_run(trained, make_env, num_tasks=3, num_episodes=2, steps=2, seed=VALIDATION_SEED)
        finals.append(float(validation.returns[:, -1].mean()))
    assert len(set(finals)) == len(FINE_TUNING)
    sizes = [FINE_TUNING[int(np.argmax(finals))] * size]
    assert sizes_of(report) == sizes
    beyond = evaluated_run(settings, make_env, run, draw_rewards, beyond=True)
    assert sizes_of(beyond) == sizes
    assert evaluated_run(settings, make_env, run, draw_rewards, beyond=False) == report
    monkeypatch.setattr("rlmaml.training.fine_tuning.FINE_TUNING", (0.5,))
    anew = evaluated_run(settings, make_env, run, draw_rewards, beyond=False)
    assert sizes_of(anew) == [0.5 * size]


def test_steps_that_diverge_on_validation_tasks_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = of_method(SETTINGS, "random", 0)
    (size,) = SETTINGS.inner.inner_step_sizes
    monkeypatch.setattr("rlmaml.training.fine_tuning.FINE_TUNING", (1e38, 0.5))
    report = evaluated_run(settings, make_env, RunDirectory(tmp_path), draw_rewards, beyond=False)
    assert sizes_of(report) == [0.5 * size]
    options: dict[str, Any] = {"num_tasks": 3, "num_episodes": 2, "steps": 2, "seed": VALIDATION_SEED}
    diverging = load_checkpoint(RunDirectory(tmp_path).checkpoint)._replace(
        settings=settings.changed(inner_step_sizes=(1e38 * size,))
    )
    with pytest.raises(NonFiniteError):
        evaluate_run(diverging, make_env, **options)


def test_what_is_the_method_s_own_is_not_asked_of_it() -> None:
    asked = {"iterations": 3, "evaluation_steps": 5, "evaluation_tasks": 6}
    for method, own in (("random", {"iterations": 0}), ("oracle", {"evaluation_steps": 0}), ("cavia", {})):
        flat = asked_of(as_method(SETTINGS, method, SETTINGS.policy), **asked).flat()
        assert {name: flat[name] for name in asked} == asked | own


def test_a_method_of_more_episodes_than_the_family_s_is_trained_at_least_once() -> None:
    once = SETTINGS.changed(iterations=1)
    assert contender_settings(once, once.changed(num_tasks=100), 7).run.iterations == 1


def test_runs_of_other_settings_are_refused_before_any_is_trained(tmp_path: Path) -> None:
    contender = Contender(SETTINGS.changed(iterations=1, seed=7), RunDirectory(tmp_path))
    check_contenders([contender])
    evaluated_run(contender.settings, make_env, contender.directory, draw_rewards, beyond=False)
    check_contenders([contender])
    with pytest.raises(UserError, match=r"maml-trpo, seed 7.*--max-kl was .* and is now 0\.5.*--output"):
        check_contenders([contender._replace(settings=contender.settings.changed(max_kl=0.5))])


def make_environments(settings: Settings) -> MakeEnv:
    return make_env


def forbids(settings: Settings) -> MakeEnv:
    return forbidden


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_contenders_in_several_processes_are_those_of_one_after_another(tmp_path: Path, processes: int) -> None:
    settings = SETTINGS.changed(iterations=1, threads=2)
    places = (IN_RANGE, BEYOND_RANGE)
    every = [Contender(of_method(settings, "maml-trpo", seed), RunDirectory(tmp_path / str(seed))) for seed in (0, 1)]
    found = {
        contender.seed: reports
        for contender, reports in evaluated(every, places, make_environments, draw_rewards, processes=processes)
    }
    for seed in (0, 1):
        alone = RunDirectory(tmp_path / f"alone-{seed}")
        for place in places:
            own = evaluated_run(every[seed].settings, make_env, alone, draw_rewards, beyond=place == BEYOND_RANGE)
            assert found[seed][place]["per_task"] == own["per_task"]
    again = {
        contender.seed: reports for contender, reports in evaluated(every, places, forbids, draw_rewards, processes=2)
    }
    assert again == found  # nothing is missing, so no process begins


def fails_with_seed_0(settings: Settings) -> MakeEnv:
    if settings.run.seed == 0:
        raise UserError("No such environment.")
    return make_env


@pytest.mark.slow
def test_where_one_process_fails_the_others_end_and_no_other_begins(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = SETTINGS.changed(iterations=100_000, checkpoint_interval=1)
    every = [Contender(settings.changed(seed=seed), RunDirectory(tmp_path / str(seed))) for seed in (1, 0, 2)]
    with pytest.raises(UserError, match="maml-trpo, seed 0, ended with exit code 2; its message is above"):
        list(evaluated(every, [IN_RANGE], fails_with_seed_0, draw_rewards, processes=2))
    assert "error: No such environment." in capfd.readouterr().err
    assert not every[0].directory.evaluation.exists()
    assert not every[1].directory.path.exists()
    assert not every[2].directory.path.exists()
