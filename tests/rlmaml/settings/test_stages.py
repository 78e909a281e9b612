import pytest

from rlmaml.settings.stages import stage_unit, stage_words
from rlmaml.settings.whole import configure


@pytest.mark.parametrize(
    ("method", "in_training", "words"),
    [
        ("maml-trpo", True, ["before adaptation", "after 1 inner step", "after 2 inner steps"]),
        ("rl2", True, ["before adaptation", "after 1 episode", "after 2 episodes"]),
        ("rma", True, ["teacher", "student, episode 1", "student, episode 2"]),
        ("rma", False, ["before adaptation", "after 1 episode", "after 2 episodes"]),
    ],
)
def test_stages_are_called_what_they_are(method: str, in_training: bool, words: list[str]) -> None:
    named = stage_words(configure(method), in_training=in_training)
    assert [named(k) for k in range(3)] == words


def test_what_is_counted_is_steps_or_episodes_lived_and_whether_each_of_them_begins_anew() -> None:
    assert stage_unit(configure()) == "steps"
    assert stage_unit(configure("rl2")) == "episodes lived"
    assert stage_unit(configure("rma")) == "episodes, each begun anew"
    assert stage_unit(configure("rma", trial_episodes=3)) == "episodes, begun anew after 3"
