import time

import pytest

from rlmaml.settings.whole import configure
from rlmaml.storage.checkpoint import Checkpoint
from rlmaml.training.fine_tuning import FINE_TUNING, fine_tuned, fine_tuning, words_on_sizes
from tests.rlmaml.deploy.trained import checkpoint


def test_only_what_was_not_meta_trained_and_takes_steps_is_fine_tuned() -> None:
    assert fine_tuning(configure("pretrained")) == list(FINE_TUNING)
    assert fine_tuning(configure("pretrained", evaluation_steps=0)) is None
    for method in ("maml-trpo", "oracle", "rl2"):
        assert fine_tuning(configure(method)) is None


def test_steps_of_a_policy_that_was_trained_for_none_are_told_to_have_the_configured_size() -> None:
    words = words_on_sizes(configure("pretrained", inner_step_sizes=(0.2, 0.1)))
    assert words.startswith("The policy was trained for no inner step; these have the configured size, 0.2, 0.1.")
    for method in ("maml-trpo", "oracle", "rl2"):
        assert words_on_sizes(configure(method)) == ""


def test_all_sizes_are_scaled_alike_and_the_best_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    settings = configure("pretrained", inner_step_sizes=(0.2, 0.1))
    tried = []

    def reached(one: Checkpoint) -> float:
        sizes: tuple[float, ...] = one.settings.inner.inner_step_sizes
        tried.append(sizes)
        return -abs(sizes[0] - 0.06)

    found = fine_tuned(checkpoint(settings), reached, progress=False)
    assert capsys.readouterr().err == ""
    assert tried == [pytest.approx((0.2 * factor, 0.1 * factor)) for factor in FINE_TUNING]
    assert found.settings.inner.inner_step_sizes == pytest.approx((0.06, 0.03))


def test_who_waits_sees_how_many_sizes_were_tried(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []

    def reached(one: Checkpoint) -> float:
        time.sleep(0.11)  # a bar is drawn no more often
        shown.append(capsys.readouterr().err)
        return 0.0

    fine_tuned(checkpoint(configure("pretrained")), reached)
    assert f"trying step sizes:   0%|          | 0/{len(FINE_TUNING)}" in shown[0]
    assert f"2/{len(FINE_TUNING)}" in shown[2]
