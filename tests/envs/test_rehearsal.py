import warnings
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rlmaml_envs.bodies import scalar_box
from rlmaml_envs.locomotion import LocomotionFamily
from rlmaml_envs.rehearsal import NUM_COPIES, try_out
from tests.envs.robots import body, family, paying, speed_error_cost


def tried(made: LocomotionFamily) -> None:
    try_out("Carts-v0", made(NUM_COPIES))


def test_a_sound_family_passes_without_a_word() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tried(family())


@pytest.mark.parametrize(
    ("term", "words"),
    [
        (lambda m, t: -0.01 * np.square(m.actions).sum(), r"must be numbers \(copy,\).*got shape \(\)"),
        (lambda m, t: m.physics.qvel[:, 0:1], r"got shape \(6, 1\)"),
        (lambda m, t: m.physics.qvel, r"got shape \(6, 2\)"),
        (lambda m, t: m.physics.qvel[:, 0].astype(complex), "dtype complex128"),
        (lambda m, t: np.log(-np.abs(m.actions[:, 0])), "must be finite; got nan"),
        (lambda m, t: np.full(len(m.actions), m.actions.sum()), "depends on the other copies"),
        (lambda m, t: m.actions[:, 0] - m.actions[:, 0].mean(), "depends on the other copies"),
        (lambda m, t: m.actions[::-1, 0], "depends on the other copies"),
        (lambda m, t: np.resize(t["speed"][:1], len(m.actions)), "depends on the other copies"),
        (lambda m, t: np.random.default_rng().normal(size=len(m.actions)), "draw no random numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_reward_term_that_is_no_function_of_its_copy_is_refused_by_name(term: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f'Carts-v0: The reward term "own_reward".*{words}'):
        tried(paying(term))


def test_a_reward_that_remembers_is_refused() -> None:
    total = np.zeros(NUM_COPIES)

    def remembering(motion: Any, task: Any) -> Any:
        total[:] += motion.velocity[:, 0]
        return total.copy()

    with pytest.raises(ValueError, match=r"own_reward\" of a copy depends on"):
        tried(paying(remembering))


@pytest.mark.parametrize(
    ("name", "words"),
    [("own_cost", "a cost is never positive"), ("own", 'must end in "_cost".*or in "_reward"')],
)
def test_a_term_is_what_its_name_says(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tried(paying(lambda m, t: np.ones(len(m.actions)), name))


def load(physics: Any, copies: Any, factors: Any) -> None:
    physics.field("body_mass")[copies, 1] *= factors[:, 0]


def everywhere(physics: Any, copies: Any, factors: Any) -> None:
    physics.field("body_mass")[:, 1] = physics.model.body_mass[1] * factors[0, 0]


@pytest.mark.parametrize(
    ("change", "words"),
    [(load, "start each change from the model as it was built"), (everywhere, "depends on the other copies")],
)
def test_a_change_that_leaves_traces_or_reaches_other_copies_is_refused(change: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tried(family(changes={"load": change}))


def coloured(physics: Any, copies: Any, factors: Any) -> None:
    """What pictures alone show."""
    physics.field("geom_rgba")[copies] = factors[:, None] / 2


@pytest.mark.parametrize(
    "changed",
    [
        {"changes": {}},  # the task says it, and nobody reads it
        {"changes": {"load": lambda physics, copies, factors: physics.field("body_mass")}},
        # what MuJoCo derives from other fields is derived again
        {"changes": {"load": lambda physics, copies, factors: physics.field("dof_M0")}},
        {"changes": {"load": coloured}},
    ],
)
def test_a_task_parameter_that_changes_nothing_is_named(changed: Any) -> None:
    with pytest.warns(UserWarning, match="Carts-v0: the task parameter 'load' was not seen to change anything"):
        tried(family(**changed))


def test_a_parameter_that_the_reward_alone_reads_is_seen_and_one_with_a_single_value_is_not_missed() -> None:
    parameters = {"speed": scalar_box(0.1, 0.8), "kind": spaces.Discrete(1)}
    made = family(task_parameters=parameters, task_units={"speed": "", "kind": ""}, changes={})
    tried(made)
    late = paying(lambda m, t: np.where(m.position[:, 0] > 0.05, t["load"][:, 0], 0.0))
    tried(late)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"task_units": {"speed": "m/s"}}, r"task_units says nothing of \['load'\]"),
        ({"task_units": {"speed": "", "load": "", "lod": ""}}, r"task_units names \['lod'\]"),
        ({"task_labels": {"speed": ("slow",)}}, 'names "speed", which is no Discrete space'),
        (
            {"task_elements": {"speed": (("x",),)}},
            r'names \(1,\) different elements along the axes of "speed"; its shape',
        ),
        ({"task_elements": {"pace": ()}}, "task_elements names .'pace'., which is no task parameter"),
        ({"sample_task": lambda space, generator: {"speed": np.array(9.0), "load": np.ones(1)}}, "sample_task drew"),
        ({"task_parameters": {}, "task_units": {}, "changes": {}}, "at least one task parameter"),
        ({"reward_terms": {}}, "at least one"),
    ],
)
def test_a_table_of_tasks_that_does_not_fit_is_refused(changed: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tried(family(**changed))


def test_labels_must_be_as_many_as_values() -> None:
    parameters = {"kind": spaces.Discrete(3), "speed": scalar_box(0.1, 0.8)}
    sheet: dict[str, Any] = {"task_parameters": parameters, "task_units": dict.fromkeys(parameters, ""), "changes": {}}
    term = {"kind_reward": lambda m, t: 1.0 * t["kind"], "speed_error_cost": speed_error_cost}
    tried(family(**sheet, reward_terms=term, task_labels={"kind": ("a", "b", "c")}))
    with pytest.raises(ValueError, match=r'2 labels for "kind", whose values are 0 to 2'):
        tried(family(**sheet, reward_terms=term, task_labels={"kind": ("a", "b")}))


def test_an_observation_of_the_other_copies_is_refused() -> None:
    with pytest.raises(ValueError, match=r"The observation of a copy depends on the other copies"):
        tried(family(body(observe=lambda physics: physics.qpos - physics.qpos.mean(axis=0))))


def test_a_bounded_parameter_is_needed() -> None:
    with pytest.raises(ValueError, match="needs finite bounds"):
        tried(
            family(task_parameters={"speed": scalar_box(0.1, np.inf), "load": spaces.Box(1.0, 2.0, (1,), np.float64)})
        )
