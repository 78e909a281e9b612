from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from rlmaml.base.errors import UserError
from rlmaml.base.plain_data import read_json
from rlmaml.evaluation.figures import draw_rewards
from rlmaml.results import contenders
from rlmaml.results.compare import MethodReturns
from rlmaml.results.transfer import Side, Transfer, in_a_sentence, transfer, transfer_figure, transfer_table
from rlmaml.settings.whole import Settings, as_method
from rlmaml.storage.kept_checkpoints import newest_checkpoint
from rlmaml.storage.run_directory import ComparisonDirectory
from rlmaml.training.run import EVALUATION_SEED, MakeEnv, configured_evaluation
from rlmaml_envs import TaskVectorEnv, make_tasks_env
from tests.rlmaml.results.test_compare import HORIZON, SETTINGS
from tests.rlmaml.training.conftest import plain_figures

__all__ = ["plain_figures"]

ALONE = np.array([[[-5.0, -4.0], [-3.0, -2.0], [-4.0, -1.0]]] * 2)
BETTER = ALONE + np.array([[[1.0], [2.0], [3.0]], [[3.0], [2.0], [1.0]]])
OUTCOME = Transfer("finn2017", "dynamics", {"cavia": MethodReturns(BETTER)}, {"cavia": MethodReturns(ALONE)})


def make_env(settings: Settings) -> MakeEnv:
    run = settings.run
    return lambda num_envs: make_tasks_env(run.env_id, num_envs, HORIZON, variant=run.variant)


def side(variant: str, env_id: str = "Navigation2D-v0") -> Side:
    own = SETTINGS.changed(variant=variant, env_id=env_id, iterations=2)
    return Side({name: as_method(own, name) for name in ("maml-trpo", "reptile")}, draw_rewards)


def test_what_the_source_brings_is_paired_task_by_task_over_means_of_seeds() -> None:
    mean, half = OUTCOME.brought("cavia")
    np.testing.assert_array_equal(mean, [2.0, 2.0])  # 1 + 3, 2 + 2, 3 + 1 over two seeds: alike on every task
    np.testing.assert_allclose(half, [0.0, 0.0], atol=1e-12)
    assert in_a_sentence(OUTCOME, "cavia").endswith("brings 2.00 ± 0.00 after the last step.")
    turned = OUTCOME._replace(from_source=OUTCOME.alone, alone=OUTCOME.from_source)
    assert "costs 2.00" in in_a_sentence(turned, "cavia")
    unsure = OUTCOME._replace(from_source={"cavia": MethodReturns(ALONE + np.array([[[9.0], [-9.0], [1.0]]]))})
    assert "neither a gain nor a loss" in in_a_sentence(unsure, "cavia")


def test_the_table_and_the_figure_show_both_trainings_of_every_method() -> None:
    lines = transfer_table(OUTCOME).splitlines()
    assert lines[0] == "| on dynamics | zero-shot | after 1 |"
    assert [line.split("|")[1].strip() for line in lines[2:5]] == [
        "cavia, trained on finn2017",
        "cavia, trained on dynamics alone",
        "what the source brings",
    ]
    figure: Figure = transfer_figure(OUTCOME)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["cavia, trained on finn2017", "cavia, trained on dynamics alone"]


@pytest.mark.usefixtures("plain_figures")
def test_what_was_trained_on_the_source_adapts_to_the_targets_tasks_and_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, directory = side("dynamics"), side("finn2017"), ComparisonDirectory(tmp_path)
    budget, told = target.methods["maml-trpo"], list[str]()
    outcome = transfer(source, target, budget, (0,), make_env, directory, tell=told.append)
    assert [line.rpartition(", on ")[2] for line in told] == ["dynamics"] * 2 + ["finn2017"] * 2
    run = ComparisonDirectory(tmp_path / "dynamics").run("maml-trpo", 0)
    trained = newest_checkpoint(run)
    assert trained.settings.run.variant == "dynamics"
    there = trained.settings.changed(variant="finn2017")
    expected = configured_evaluation(trained._replace(settings=there), make_env(there), EVALUATION_SEED)
    np.testing.assert_array_equal(outcome.from_source["maml-trpo"].per_task[0], expected.returns_with_failed.double())
    assert (outcome.from_source["maml-trpo"].mean != outcome.alone["maml-trpo"].mean).all()
    iterations = {
        name: newest_checkpoint(ComparisonDirectory(tmp_path / "dynamics").run(name, 0)).settings.run.iterations
        for name in source.methods
    }
    assert iterations == {"maml-trpo": 2, "reptile": 3}  # as many episodes: three stages against two

    stored = read_json(directory.transfer)
    assert stored["config"]["source"] == "dynamics"
    assert stored["brought"]["maml-trpo"]["mean"] == pytest.approx(outcome.brought("maml-trpo").mean.tolist())
    assert directory.transfer_figure.stat().st_size > 1000
    for name in ("train", "configured_evaluation"):
        monkeypatch.setattr(contenders, name, None)
    monkeypatch.setattr("rlmaml.results.transfer.configured_evaluation", None)
    again = transfer(source, target, budget, (0,), make_env, directory, tell=told.append)
    np.testing.assert_array_equal(again.from_source["reptile"].per_task, outcome.from_source["reptile"].per_task)


@pytest.mark.usefixtures("plain_figures")
def test_a_range_of_a_variant_is_trained_on_and_adapted_to_as_a_variant_is(tmp_path: Path) -> None:
    lived: dict[str, list[np.ndarray]] = {}

    def make_watched(settings: Settings) -> MakeEnv:
        def make(num_envs: int) -> TaskVectorEnv:
            env = make_tasks_env(settings.run.env_id, num_envs, HORIZON, variant=settings.run.variant)
            lived.setdefault(settings.run.variant, []).append(env.reset(seed=0)[1]["task"]["goal"])
            set_tasks = env.set_tasks

            def watched(tasks: Any) -> None:
                lived[settings.run.variant].append(tasks["goal"])
                set_tasks(tasks)

            env.set_tasks = watched  # type: ignore[method-assign]
            return env

        return make

    sides = [side("finn2017"), side("finn2017-beyond")]
    source, target = (
        one._replace(methods={"maml-trpo": one.methods["maml-trpo"].changed(iterations=1)}) for one in sides
    )
    directory = ComparisonDirectory(tmp_path)
    outcome = transfer(source, target, target.methods["maml-trpo"], (0,), make_watched, directory, tell=str)
    inside, beyond = (np.abs(np.concatenate(lived[one.variant])).max(1) <= 0.5 for one in sides)
    assert len(inside) > 10 < len(beyond)
    assert inside.all()
    assert not beyond.any()
    assert (outcome.source, outcome.target) == ("finn2017", "finn2017-beyond")
    assert (outcome.from_source["maml-trpo"].mean != outcome.alone["maml-trpo"].mean).all()


def test_variants_between_which_no_policy_can_go_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    directory, plain = ComparisonDirectory(tmp_path / "none"), side("finn2017")
    for source, message in (
        (plain, "--source and --target are both finn2017"),
        (side("worn", "RoverGoal-v0"), "trained on worn does not fit finn2017: Sizes"),
    ):
        with pytest.raises(UserError, match=message):
            transfer(source, plain, SETTINGS, (0,), make_env, directory)
    assert not directory.path.exists()
