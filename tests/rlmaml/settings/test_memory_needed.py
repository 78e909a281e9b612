import pytest

from rlmaml.settings.memory_needed import NUMBER, OF_A_COPY, OF_A_STEP, episodes_bytes, network_bytes, training_bytes
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
