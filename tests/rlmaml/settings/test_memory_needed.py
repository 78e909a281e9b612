from collections.abc import Callable

import pytest

from rlmaml.base.memory import MemoryNeededError
from rlmaml.settings.memory_needed import (
    NUMBER,
    OF_A_COPY,
    OF_A_STEP,
    SCORE,
    check_evaluation_fits,
    check_lived_fits,
    check_scores_fit,
    episodes_bytes,
    evaluation_bytes,
    network_bytes,
    training_bytes,
)
from rlmaml.settings.whole import as_method, configure

MAML = configure(num_tasks=3, num_episodes=5, horizon=7, hidden=(10, 20), inner_steps=2)


def test_a_network_needs_the_weights_between_its_layers_by_hand() -> None:
    assert network_bytes(MAML.network) == NUMBER * (10 * 20 + 10 + 20)
    assert network_bytes(configure("rl2", hidden=(10,), memory=4).network) == NUMBER * (10 + 3 * 4 * 4)


def test_a_meta_iteration_needs_every_stage_s_episodes_network_and_weights_by_hand() -> None:
    copies = 3 * 5
    assert episodes_bytes(MAML.run, copies) == copies * (OF_A_COPY + NUMBER * OF_A_STEP * 7)
    said, own = NUMBER * copies * 7 * 30, 3 * network_bytes(MAML.network)
    assert training_bytes(MAML, 3) == 3 * (episodes_bytes(MAML.run, copies) + said + own)


def test_without_a_derivative_through_the_steps_the_network_s_words_are_kept_for_one_stage() -> None:
    said, own = NUMBER * 15 * 7 * 30, 3 * network_bytes(MAML.network)
    for settings in (as_method(MAML, "reptile"), MAML.changed(first_order=True)):
        assert training_bytes(settings, 3) == 3 * episodes_bytes(MAML.run, 15) + said + own


@pytest.mark.parametrize("name", ["num_tasks", "num_episodes", "horizon", "inner_steps"])
def test_more_of_anything_needs_more(name: str) -> None:
    more = MAML.changed(**{name: 2 * MAML.flat()[name]})
    assert training_bytes(more, more.run.num_tasks) > 1.3 * training_bytes(MAML, 3)


def test_an_evaluation_needs_the_episodes_that_are_kept_and_every_return_by_hand() -> None:
    once = episodes_bytes(MAML.run, 15)
    assert evaluation_bytes(MAML.run, 15, 3, 4, kept=True) == 5 * once + 5 * 3 * SCORE
    assert evaluation_bytes(MAML.run, 15, 3, 4, kept=False) == once + 5 * 3 * SCORE


def test_what_is_asked_of_a_trained_policy_is_refused_from_the_byte_on_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    maml, rl2 = (one.changed(evaluation_tasks=2, evaluation_steps=9) for one in (MAML, as_method(MAML, "rl2")))
    two_shares, one_by_one = episodes_bytes(maml.run, 2 * 3), episodes_bytes(maml.run, 2)
    checks: list[tuple[Callable[[], None], int]] = [
        (lambda: check_evaluation_fits(maml.run, 15, 3, 4), evaluation_bytes(maml.run, 15, 3, 4, kept=True)),
        (lambda: check_scores_fit(maml.run), SCORE * 2 * 10),
        (lambda: check_lived_fits(maml, 6, searches=False), two_shares + SCORE * 2 * 6),
        (lambda: check_lived_fits(maml, 6, searches=True), one_by_one + SCORE * 2 * 6),
        (lambda: check_lived_fits(rl2, 6, searches=False), one_by_one + SCORE * 2 * 6),
    ]
    for check, needed in checks:
        monkeypatch.setattr("rlmaml.base.memory.available_memory", lambda: float(needed))  # noqa: B023
        check()
        monkeypatch.setattr("rlmaml.base.memory.available_memory", lambda: float(needed - 1))  # noqa: B023
        with pytest.raises(MemoryNeededError):
            check()
