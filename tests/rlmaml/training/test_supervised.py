import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import rlmaml.training.supervised
from rlmaml.base.errors import UserError
from rlmaml.base.plain_data import read_json
from rlmaml.base.stopping import InterruptedRunError, StoppedRunError
from rlmaml.core.losses import squared_error
from rlmaml.core.parameters import meta_vector
from rlmaml.core.types import Examples, Outputs, Tasks
from rlmaml.families.sinusoid import Sinusoid
from rlmaml.policies.sizes import Sizes
from rlmaml.rules.adaptation_rule import trained_rule
from rlmaml.rules.gradient_rule import GradientRule, gradient_rule
from rlmaml.sampling.examples import Sets
from rlmaml.settings.whole import Settings, configure
from rlmaml.storage.checkpoint import Checkpoint, load_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.storage.run_lock import sole_writer
from rlmaml.training.begin import begin, make_method
from rlmaml.training.fine_tuning import FINE_TUNING
from rlmaml.training.run import EVALUATION_SEED, VALIDATION_SEED
from rlmaml.training.supervised import SupervisedTasks, score_run, train_supervised, validation_loss
from rlmaml.training.train import Learned, MetaLearner, guarded_iteration, meta_train
from tests.rlmaml.families.supervised import METHODS, Lines, halved, supervised
from tests.rlmaml.makers import gaussian_policy

ROOT = Path(__file__).parents[3]
SMALL: dict[str, Any] = {"num_tasks": 3, "evaluation_tasks": 4, "evaluation_steps": 2, "checkpoint_interval": 2}


def learned(settings: Settings, family: Any) -> Learned:
    method = make_method(settings, family)
    after = begin(settings, method)
    for result, _ in meta_train(family, method, after, settings):
        after = result
    return after


@pytest.mark.parametrize("first_order", [False, True], ids=["maml-trpo", "fomaml"])
def test_linear_regression_finds_the_solution_in_closed_form(unchecked: None, first_order: bool) -> None:
    family, size = Lines(), 0.2
    options = {"hidden": (), "num_tasks": 4, "iterations": 200, "inner_step_sizes": (size,)}
    method = "fomaml" if first_order else "maml-trpo"
    settings = supervised(method, **options, adam_step_size=0.06, cosine_iterations=200)
    weight, bias, *_ = learned(settings, family).meta.params.values()
    found = torch.cat([weight.flatten(), bias]).double()
    best, other = (family.best(size, first_order=order) for order in (first_order, not first_order))
    assert float((best - other).norm()) > 0.1
    assert float((found - best).norm()) < 2e-4


def test_reinforcement_learning_and_supervised_tasks_share_one_rule() -> None:
    policy, settings = gaussian_policy(), configure("meta-sgd", outer_optimiser="adam", inner_steps=2)
    ours, theirs = trained_rule(settings, policy, squared_error), trained_rule(settings, policy)
    assert isinstance(ours, GradientRule)
    assert dataclasses.replace(ours, loss=theirs.loss) == theirs  # type: ignore[attr-defined]
    assert ours.loss is squared_error
    family = Lines()
    family.loss = halved
    assert make_method(supervised("maml-trpo"), family).rule == gradient_rule(
        supervised("maml-trpo").inner, make_method(supervised("maml-trpo"), family).policy, halved
    )


@pytest.mark.parametrize("method", [*METHODS, "reptile", "random"])
def test_every_method_trains_on_supervised_tasks_and_is_scored(unchecked: None, tmp_path: Path, method: str) -> None:
    options = SMALL | METHODS.get(method, {}) | ({} if method == "random" else {"iterations": 2})
    settings, family = supervised(method, **options), Sinusoid(shots=3, queries=4)
    trained = train_supervised(SupervisedTasks(settings, family, family, "errors"), tmp_path / "run", progress=False)
    assert trained.scores.scores.shape == (4, 3)
    assert trained.scores.scores.isfinite().all()
    fresh = begin(settings, trained.method).meta
    moved = not torch.equal(meta_vector(fresh), meta_vector(trained.checkpoint.meta))
    assert moved == (method != "random")
    written = read_json(RunDirectory(tmp_path / "run").evaluation)
    assert written["errors"] == trained.scores.summary()
    stored = RunDirectory(tmp_path / "run").read_scores()
    np.testing.assert_array_equal(stored.per_task["errors"], trained.scores.scores.double().numpy())
    assert stored.held_out == ("Navigation2D-v0", "finn2017, 3-shot, 4 queries", 10_000)
    assert written["config"]["settings"]["run"]["variant"] == "finn2017, 3-shot, 4 queries"


@pytest.mark.parametrize("term", ["inner_l2", "inner_kl", "parameter_noise"])
def test_what_holds_task_parameters_near_theta_holds_them_on_supervised_tasks_too(unchecked: None, term: str) -> None:
    family = Sinusoid(shots=3, queries=4)
    options = SMALL | {"inner_steps": 2, "iterations": 2}
    plain, held = (learned(supervised("maml-trpo", **options, **more), family) for more in ({}, {term: 0.5}))
    assert not torch.equal(meta_vector(plain.meta), meta_vector(held.meta))
    assert meta_vector(held.meta).isfinite().all()


@pytest.mark.parametrize("method", ["maml-trpo", "fomaml", "reptile"])
def test_a_meta_update_is_lost_where_an_inner_step_on_a_support_set_explodes(unchecked: None, method: str) -> None:
    family, settings = Sinusoid(shots=3, queries=4), supervised(method, num_tasks=2, inner_step_sizes=(1e6,))
    trainer = make_method(settings, family)
    before = begin(settings, trainer)
    with pytest.warns(UserWarning, match=r"In meta-iteration 0 the meta-update was lost\. Inner step 1 exploded"):
        after, report = guarded_iteration(family, trainer, before, settings, 0)
    assert (after.lost.total, report.lost.total) == (1, 1)
    assert torch.equal(meta_vector(after.meta), meta_vector(before.meta))


def test_further_judges_score_the_same_adaptation(unchecked: None, tmp_path: Path) -> None:
    settings, family = supervised("maml-trpo", **SMALL, iterations=1), Sinusoid(shots=3, queries=4)
    judges = {"half": halved}
    train_supervised(
        SupervisedTasks(settings, family, family, "errors", judges=judges), tmp_path / "run", progress=False
    )
    stored = RunDirectory(tmp_path / "run").read_scores()
    assert list(stored.per_task) == ["errors", "half"]
    np.testing.assert_allclose(2.0 * stored.per_task["half"], stored.per_task["errors"], rtol=1e-6)
    assert read_json(RunDirectory(tmp_path / "run").evaluation)["half"]["mean"]


def test_one_task_of_each_family_is_looked_at_before_a_training_and_once(unchecked: None, tmp_path: Path) -> None:
    drawn: list[tuple[str, int]] = []

    class Counted(Sinusoid):
        def sample_tasks(self, num_tasks: int, seeds: Sequence[int]) -> Tasks:
            drawn.append((self.variant, num_tasks))
            return super().sample_tasks(num_tasks, seeds)

    family, held_out = Counted(shots=3, queries=4), Counted(shots=3, queries=5)
    for other in (held_out, family):
        drawn.clear()
        options = SMALL | {"evaluation_tasks": 3, "outer_optimiser": "trust_region"}
        tasks = SupervisedTasks(supervised("maml-trpo", iterations=1).changed(**options), family, other, "errors")
        train_supervised(tasks, tmp_path / other.variant, progress=False)
        looked_at = [variant for variant, num_tasks in drawn if num_tasks == 1]
        assert looked_at == [one.variant for one in dict.fromkeys((family, other))]
        assert [num_tasks for _, num_tasks in drawn[len(looked_at) :]] == [3, 3]


def test_query_examples_never_leak_into_the_inner_steps(unchecked: None) -> None:
    class Hidden(Sinusoid):
        """The same support sets, and other query sets."""

        def sets(self, tasks: Any, seeds: Any) -> Sets:
            support, query = super().sets(tasks, seeds)
            return Sets(support, query._replace(observations=-query.observations, targets=query.targets + 5.0))

    settings = supervised("reptile", iterations=2, num_tasks=3)  # learns from the inner steps alone
    one, other = (learned(settings, family()).meta for family in (Sinusoid, Hidden))
    assert torch.equal(meta_vector(one), meta_vector(other))
    settings = supervised("maml-trpo", iterations=2, num_tasks=3)
    one, other = (learned(settings, family()).meta for family in (Sinusoid, Hidden))
    assert not torch.equal(meta_vector(one), meta_vector(other))


@pytest.mark.parametrize(
    ("method", "options"),
    [("meta-sgd", {}), ("reptile", {}), ("maml-trpo", {"outer_optimiser": "trust_region"})],
    ids=["meta-sgd", "reptile", "natural gradient"],
)
def test_an_interrupted_and_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    unchecked: None, tmp_path: Path, method: str, options: dict[str, Any]
) -> None:
    family = Sinusoid(shots=3, queries=4)

    def trained(directory: str, iterations: int) -> None:
        settings = supervised(method, **SMALL, **options, iterations=iterations)
        train_supervised(
            SupervisedTasks(settings, family, family, "errors"), tmp_path / directory, resume=True, progress=False
        )

    trained("straight", 4)
    trained("resumed", 2)
    trained("resumed", 4)
    straight, resumed = (RunDirectory(tmp_path / name) for name in ("straight", "resumed"))
    assert straight.checkpoint.read_bytes() == resumed.checkpoint.read_bytes()
    errors = [read_json(run.evaluation)["errors"] for run in (straight, resumed)]
    assert errors[0] == errors[1]
    assert [line["iteration"] for line in resumed.read_metrics()] == [0, 1, 2, 3]


def test_a_run_that_is_asked_to_end_keeps_its_iteration_and_goes_on_to_the_same_end(
    unchecked: None, tmp_path: Path
) -> None:
    settings, family = supervised("maml-trpo", **SMALL, iterations=3), Sinusoid(shots=3, queries=4)

    def trained(directory: str, **options: Any) -> bytes:
        train_supervised(
            SupervisedTasks(settings, family, family, "errors"), tmp_path / directory, progress=False, **options
        )
        return RunDirectory(tmp_path / directory).checkpoint.read_bytes()

    with pytest.raises(StoppedRunError, match="--stop-after 1e-09 after 1 meta-iteration") as stopped:
        trained("stopped", stop_after=1e-9)
    assert stopped.value.exit_code == 75
    assert not RunDirectory(tmp_path / "stopped").evaluation.exists()
    assert trained("stopped", resume=True) == trained("straight")


def test_a_run_whose_evaluation_is_interrupted_says_so_and_its_settings_alone_say_how_its_tasks_were_made(
    unchecked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, family = supervised("maml-trpo", **SMALL, iterations=1), Sinusoid(shots=3, queries=4)
    tasks, run = SupervisedTasks(settings, family, family, "errors"), RunDirectory(tmp_path)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rlmaml.training.supervised.score_run_by", interrupt)
        with pytest.raises(InterruptedRunError, match="Interrupted in the evaluation"):
            train_supervised(tasks, tmp_path, progress=False)
    assert not run.evaluation.exists()
    data = "/home/somebody/pictures"
    trained = train_supervised(tasks, tmp_path, made_by={"images": data}, resume=True, progress=False)
    assert read_json(run.settings)["made_by"] == {"images": data}
    assert "made_by" not in trained.config
    telling = [path.name for path in tmp_path.rglob("*") if path.is_file() and data.encode() in path.read_bytes()]
    assert telling == [run.settings.name]


def test_one_process_trains_in_a_directory_at_a_time(unchecked: None, tmp_path: Path) -> None:
    settings, family = supervised("maml-trpo", **SMALL, iterations=1), Sinusoid(shots=3, queries=4)
    with sole_writer(RunDirectory(tmp_path)), pytest.raises(UserError, match="Another process is training in"):
        train_supervised(SupervisedTasks(settings, family, family, "errors"), tmp_path, progress=False)


def test_the_best_checkpoint_on_validation_tasks_is_that_of_the_least_loss(unchecked: None, tmp_path: Path) -> None:
    settings = supervised("maml-trpo", **SMALL, iterations=3, validation_interval=1, adam_step_size=0.3)
    family, other = Sinusoid(shots=3, queries=4), Sinusoid("li2017", 3, 4)
    reached: list[float] = []

    def remembered(*arguments: Any) -> float:
        reached.append(validation_loss(*arguments))
        assert arguments[2] is other
        return reached[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rlmaml.training.supervised, "validation_loss", remembered)
        train_supervised(
            SupervisedTasks(settings, family, family, "errors", validation=other), tmp_path, progress=False
        )
    assert len(set(reached)) == 3
    assert load_checkpoint(RunDirectory(tmp_path).best).iteration == 1 + reached.index(min(reached))


@pytest.mark.parametrize(("method", "what"), [("pretrained", "errors"), ("random", "accuracy"), ("random", "own")])
def test_what_was_not_meta_trained_takes_the_steps_that_validation_tasks_prefer(
    unchecked: None, tmp_path: Path, method: str, what: str
) -> None:
    class Scored(Sinusoid):
        def score(self, outputs: Outputs, data: Examples) -> Tensor:
            return {"errors": 1.0, "accuracy": -1.0, "own": -3.0}[what] * super().score(outputs, data)

    settings = supervised(method, **SMALL, iterations=0 if method == "random" else 2, inner_step_sizes=(0.1,))
    family, other = Scored(shots=3, queries=4), Scored("li2017", 3, 4)
    tasks = SupervisedTasks(settings, family, family, what, validation=other)
    trained = train_supervised(tasks, tmp_path, progress=False)

    def sized(factor: float) -> tuple[MetaLearner, Checkpoint]:
        own = settings.changed(inner_step_sizes=(factor * 0.1,), variant=family.variant)
        return make_method(own, family), load_checkpoint(RunDirectory(tmp_path).checkpoint)._replace(settings=own)

    ends = {
        factor: float(score_run(*sized(factor), other, squared_error, VALIDATION_SEED).scores[:, -1].mean())
        for factor in FINE_TUNING
    }
    best = min(ends, key=lambda factor: ends[factor])
    assert 0.003 < best < 30.0  # neither end of those that are tried
    assert trained.checkpoint.settings.inner.inner_step_sizes == (best * 0.1,)
    stored = RunDirectory(tmp_path).read_scores()
    expected = score_run(*sized(best), family, family.score, EVALUATION_SEED).scores
    np.testing.assert_array_equal(stored.per_task[what], expected.double())
    assert stored.settings.inner.inner_step_sizes == (best * 0.1,)
    assert stored.config["fine_tuning"] == list(FINE_TUNING)
    assert load_checkpoint(RunDirectory(tmp_path).checkpoint).settings == settings.changed(variant=family.variant)
    again = train_supervised(tasks, tmp_path, progress=False, resume=True)
    assert torch.equal(again.scores.scores, trained.scores.scores)


def test_steps_of_supervised_tasks_that_diverge_are_not_taken(unchecked: None, tmp_path: Path) -> None:
    family = Sinusoid(shots=3, queries=4)
    settings = supervised("random", **SMALL, iterations=0, inner_step_sizes=(1e20,))
    tasks = SupervisedTasks(settings, family, family, "errors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rlmaml.training.fine_tuning.FINE_TUNING", (1e18, 1e-22))
        trained = train_supervised(tasks, tmp_path, progress=False)
    assert trained.checkpoint.settings.inner.inner_step_sizes == (pytest.approx(0.01),)
    assert trained.scores.scores.isfinite().all()


def test_a_run_goes_on_with_its_own_family_alone(unchecked: None, tmp_path: Path) -> None:
    settings = supervised("maml-trpo", **SMALL, iterations=1)
    train_supervised(SupervisedTasks(settings, Sinusoid(shots=3), Sinusoid(), "errors"), tmp_path, progress=False)
    with pytest.raises(UserError, match="--variant was 'finn2017, 3-shot, 10 queries' and is now 'finn2017, 4-shot"):
        train_supervised(
            SupervisedTasks(settings, Sinusoid(shots=4), Sinusoid(), "errors"), tmp_path, resume=True, progress=False
        )
    with pytest.raises(UserError, match="--overwrite"):
        train_supervised(SupervisedTasks(settings, Sinusoid(shots=3), Sinusoid(), "errors"), tmp_path, progress=False)


def test_a_method_of_episodes_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--algorithm is 'promp'"):
        train_supervised(SupervisedTasks(configure("promp"), Sinusoid(), Sinusoid(), "errors"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_family_of_the_contributors_page_is_trained_on(unchecked: None, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {"np": np, "torch": torch, "Sizes": Sizes, "Sets": Sets, "Examples": Examples}
    names["squared_error"] = squared_error
    exec(code, names)
    family = names["Lines"]()
    trained = train_supervised(
        SupervisedTasks(supervised("fomaml", **SMALL, iterations=2), family, family, "errors"), tmp_path, progress=False
    )
    assert trained.scores.scores.isfinite().all()
