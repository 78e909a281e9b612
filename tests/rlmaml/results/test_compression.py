import json
from pathlib import Path

import numpy as np
import pytest

from rlmaml.base.errors import UserError
from rlmaml.families.sinusoid import Sinusoid
from rlmaml.results.compression import (
    COLUMNS,
    JudgedOn,
    SmallRow,
    as_judged,
    as_plain_table,
    exports,
    markdown,
    read_table,
    scored_rows,
    small_rows,
    table_cells,
)
from rlmaml.sampling.rollout import TaskEnvironment
from rlmaml.settings.whole import configure
from rlmaml.storage.checkpoint import checkpoint_bytes
from rlmaml.training.run import evaluate_run
from rlmaml.training.supervised import SupervisedTasks, score_run, train_supervised
from rlmaml_envs import make_tasks_env
from tests.rlmaml.deploy.trained import PLAIN, checkpoint, trained_policy
from tests.rlmaml.families.supervised import supervised
from tests.rlmaml.makers import categorical_policy, gaussian_policy, gru_policy

JUDGED = JudgedOn(num_tasks=3, num_episodes=3, steps=1, seed=4)
ROWS = [
    SmallRow("whole", 100, 2.0, 3.0, 4.0, 5.0, 6.0, np.array([[-10.0, -2.0], [-20.0, -4.0], [-15.0, -3.0]])),
    SmallRow("rank 1", 50, 1.0, 2.5, 3.0, 4.5, 5.5, np.array([[-11.0, -5.0], [-21.0, -3.0], [-16.0, -4.0]])),
]


def test_losses_are_the_first_rows_returns_less_the_others_task_by_task() -> None:
    whole, small = table_cells(ROWS)
    assert len(whole) == len(small) == len(COLUMNS)
    assert small[:7] == ["rank 1", "50", "1.0", "2.5", "3.0", "4.50", "5.50"]
    assert [cell.split(" ± ")[0] for cell in whole[7:]] == ["-15.00", "-3.00", "", ""]
    assert small[9] == "1.00 ± 0.00"  # one less on every task
    assert small[10] == "1.00 ± 4.97"  # 3 less, 1 more and 1 less: 4.303 · 2 / √3
    text = markdown(ROWS, JUDGED)
    assert text.count("\n| ") == 3
    assert "3 held-out tasks, 3 episodes each" in text
    scored = markdown(ROWS, JUDGED._replace(score="mse"))
    assert "export.py writes those of policies alone" in scored
    assert "export.py" not in text
    for table in (text, scored):
        assert "what was pruned stands in it as zeros, so that it is no smaller" in table


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    file.write_text(json.dumps(as_plain_table(ROWS, JUDGED, {"commit": "x"})))
    rows, judged = read_table(file)
    assert judged == JUDGED
    assert table_cells(rows) == table_cells(ROWS)
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.json")


@pytest.mark.parametrize(
    "change",
    [
        {"rows": []},
        {"judged": {"num_tasks": 2, "num_episodes": 3, "steps": 1, "seed": 4}},
        {"rows": [{"name": "x"}]},
        {"rows": None},
        {"judged": {}},
    ],
)
def test_a_damaged_table_is_refused_by_its_path(tmp_path: Path, change: dict[str, object]) -> None:
    file = tmp_path / "table.json"
    file.write_text(json.dumps(as_plain_table(ROWS, JUDGED, {}) | change))
    with pytest.raises(UserError, match=r"table\.json is damaged"):
        read_table(file)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.usefixtures("operators_read_once")
def test_a_policy_is_measured_in_32_bits_and_in_8() -> None:
    trained = checkpoint(PLAIN)
    horizon = PLAIN.run.horizon or 0
    exact, rounded = small_rows(trained, lambda copies: make_tasks_env("Navigation2D-v0", copies, horizon), JUDGED)
    assert [exact.name, rounded.name] == ["whole", "whole, int8"]
    assert exact.numbers == rounded.numbers == (2 * 8 + 8) + (8 * 2 + 2) + 2
    assert exact.kilobytes == len(checkpoint_bytes(trained_policy(PLAIN).checkpoint)) / 1000
    assert exact.onnx_kilobytes is not None
    assert exact.onnx_kilobytes > exact.numbers * 4 / 1000
    costs = (exact.microseconds, rounded.microseconds, exact.step_milliseconds, exact.step_megabytes)
    assert all(cost is not None and cost > 0 for cost in costs)
    assert exact.returns.shape == rounded.returns.shape == (3, 2)
    assert not np.array_equal(exact.returns, rounded.returns)
    np.testing.assert_allclose(exact.returns, rounded.returns, rtol=0.02)


@pytest.mark.usefixtures("unchecked")
def test_what_was_not_meta_trained_adapts_by_steps_of_the_sizes_that_are_best_on_validation_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Configured steps are so large that actions leave the range; those of a thousandth of the size are not."""
    monkeypatch.setattr("rlmaml.training.fine_tuning.FINE_TUNING", (1.0, 1e-3))
    settings = configure("pretrained", horizon=5, hidden=(8,), inner_step_sizes=(100.0,), num_tasks=3, num_episodes=3)

    def make(copies: int) -> TaskEnvironment:
        return make_tasks_env("Navigation2D-v0", copies, 5)

    trained = checkpoint(settings)
    assert as_judged(trained, make, JUDGED).settings.inner.inner_step_sizes == pytest.approx((0.1,))
    assert as_judged(trained, make, JUDGED._replace(steps=0)) is trained
    monkeypatch.setattr("rlmaml.results.compression.exports", lambda *_: False)
    (row,) = small_rows(trained, make, JUDGED)
    small = trained._replace(settings=settings.changed(inner_step_sizes=(0.1,)))
    own = evaluate_run(small, make, num_tasks=3, num_episodes=3, steps=1, seed=4, actions="mean")
    np.testing.assert_array_equal(row.returns, own.returns.double())


def test_what_was_meta_trained_or_takes_no_steps_is_judged_as_it_is() -> None:
    for settings in (PLAIN, configure("oracle", hidden=(8,))):
        trained = checkpoint(settings)
        assert as_judged(trained, lambda _: pytest.fail("nothing is tried"), JUDGED) is trained


@pytest.mark.usefixtures("unchecked", "operators_read_once")
def test_a_model_of_supervised_tasks_is_measured_in_32_bits_and_in_8_rounded_after_it_has_adapted(
    tmp_path: Path,
) -> None:
    family = Sinusoid(shots=5, queries=20)
    settings = supervised("maml-trpo", num_tasks=3, iterations=2, evaluation_tasks=3, hidden=(8,))
    tasks = SupervisedTasks(settings, family, family, "errors")
    trained = train_supervised(tasks, tmp_path, progress=False)
    judged = JudgedOn(3, 0, 2, 7, "errors")
    exact, rounded = scored_rows(trained.checkpoint, tasks, judged)
    assert [exact.name, rounded.name] == ["whole", "whole, int8"]
    own = score_run(
        trained.method,
        trained.checkpoint._replace(settings=settings.changed(evaluation_tasks=3, evaluation_steps=2)),
        *(family, family.score, 7),
    )
    np.testing.assert_array_equal(exact.returns, own.scores.double())
    assert rounded.returns.shape == (3, 3)
    assert (rounded.returns != exact.returns).all()
    np.testing.assert_allclose(exact.returns, rounded.returns, rtol=0.1)
    assert None not in (exact.onnx_kilobytes, rounded.onnx_kilobytes, rounded.microseconds)


def test_kinds_that_remember_or_say_choices_have_no_exported_file() -> None:
    for policy, expected in ((gaussian_policy(), True), (gru_policy(), False), (categorical_policy(), False)):
        assert exports(policy, policy.init(0)) == expected
