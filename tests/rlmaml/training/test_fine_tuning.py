import pytest

from rlmaml.settings.whole import configure
from rlmaml.storage.checkpoint import Checkpoint
from rlmaml.training.fine_tuning import FINE_TUNING, fine_tuned, fine_tuning
from tests.rlmaml.deploy.trained import checkpoint


def test_only_what_was_not_meta_trained_and_takes_steps_is_fine_tuned() -> None:
    assert fine_tuning(configure("pretrained")) == list(FINE_TUNING)
    assert fine_tuning(configure("pretrained", evaluation_steps=0)) is None
    for method in ("maml-trpo", "oracle", "rl2"):
        assert fine_tuning(configure(method)) is None


def test_all_sizes_are_scaled_alike_and_the_best_are_taken() -> None:
    settings = configure("pretrained", inner_step_sizes=(0.2, 0.1))
    tried = []

    def reached(one: Checkpoint) -> float:
        sizes: tuple[float, ...] = one.settings.inner.inner_step_sizes
        tried.append(sizes)
        return -abs(sizes[0] - 0.06)

    found = fine_tuned(checkpoint(settings), reached)
    assert tried == [pytest.approx((0.2 * factor, 0.1 * factor)) for factor in FINE_TUNING]
    assert found.settings.inner.inner_step_sizes == pytest.approx((0.06, 0.03))
