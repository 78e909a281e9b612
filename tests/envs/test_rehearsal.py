import time
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rlmaml_envs.bodies import scalar_box
from rlmaml_envs.episodes import tried_out
from rlmaml_envs.locomotion import LocomotionFamily, check_body
from rlmaml_envs.navigation import Navigation2D
from rlmaml_envs.physics import Simulation
from rlmaml_envs.registry import load_family
from rlmaml_envs.rehearsal import MORE_STEPS, NUM_COPIES, try_out
from rlmaml_envs.tasks import sample_uniform_task
from tests.envs.robots import CARTS, body, family, paying, speed_error_cost


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
        (lambda m, t: np.squeeze(m.physics.qvel[:, :1]), r"here \(1,\); got shape \(\)"),
        (lambda m, t: m.physics.qvel[:, 0].astype(complex), "dtype complex128"),
        (lambda m, t: np.ma.masked_less(m.physics.qvel[:, 0], 0.0), "must be plain numbers .* masked would count"),
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
    [
        ("own_cost", "a cost is never positive"),
        ("own", 'must end in "_cost".*or in "_reward"'),
        ("own\n_cost", r"must be of one line without control characters; got 'own\\n_cost'"),
    ],
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
        ({"wide_task_parameters": {"speed": scalar_box(0.2, 0.9)}}, 'wide values of the task parameter "speed"'),
    ],
)
def test_a_table_of_tasks_that_does_not_fit_is_refused(changed: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tried(family(**changed))


@pytest.mark.parametrize("path", ["commands", "readings"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda signal, load: signal[:, :1], r"numbers \(copy, .*, here .* got shape \(6, 1\)"),
        (lambda signal, load: signal.sum(axis=1), r"got shape \(6,\)"),
        (lambda signal, load: np.where(load > 1.0, np.nan, signal), r"must be finite; got nan at \[0, 0\]"),
        (lambda signal, load: signal.astype(complex), "dtype complex128"),
    ],
)
@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
def test_what_tasks_make_of_actions_and_observations_is_a_signal_like_it(path: str, change: Any, words: str) -> None:
    changed: dict[str, Any] = {path: {"load": change}}
    with pytest.raises(ValueError, match=rf'Carts-v0: What {path}\["load"\] gives.*{words}'):
        tried(family(**changed))


def test_marks_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Carts-v0: marks must give what pictures show of a task.*got 'target 0\."):
        tried(family(marks=lambda task: f"target {task['speed']:.1f} m/s"))


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


def fallen(physics: Any) -> Any:
    return np.abs(physics.qpos[:, 0]) > 0.5


def after(steps: int, late: Any, before: Any) -> Any:
    """A function of the physics that is another one after some steps of 0.05 s."""
    return lambda physics: (late if physics.outputs["time"].max() > 0.05 * steps - 0.01 else before)(physics)


LATER = replace(body(), simulation=Simulation(substeps=5, outputs=("time",)))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"is_healthy": lambda physics: np.full(len(physics.qpos), not fallen(physics).any())},
            "What is_healthy",
        ),
        (
            {"is_healthy": lambda physics: np.full(len(physics.qpos), not fallen(physics).all())},
            "What is_healthy",
        ),
        ({"is_healthy": lambda physics: physics.qpos[::-1, 0] < 1}, "What is_healthy"),
        (
            {"is_healthy": after(4, lambda physics: physics.qpos[::-1, 0] < 0, lambda physics: physics.qpos[:, 0] < 9)},
            "What is_healthy|The end of an episode",
        ),
        (
            {"position": lambda physics: physics.qpos - physics.qpos.max() * fallen(physics).any()},
            "What position",
        ),
        ({"velocity": lambda physics: physics.qvel * (physics.qvel > 1).any()}, "What velocity"),
        ({"observe": lambda physics: np.roll(physics.qpos, int(fallen(physics).any()), axis=0)}, "The observation"),
        ({"observe": after(3, lambda physics: physics.qpos[::-1], lambda physics: physics.qpos)}, "The observation"),
    ],
)
def test_what_mixes_copies_in_other_states_than_the_first_ones_is_refused_too(changed: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"({words})( gives)? of a copy depends on the other copies"):
        tried(family(replace(LATER, **changed)))


def test_a_reward_that_mixes_copies_once_one_has_fallen_is_refused() -> None:
    with pytest.raises(ValueError, match=r'"own_reward" of a copy depends'):
        tried(paying(lambda m, t: np.full(len(m.actions), 1.0 - fallen(m.physics).any())))


def test_what_gives_one_number_once_nobody_stands_is_refused_by_its_shape() -> None:
    def term(motion: Any, task: Any) -> Any:
        standing = ~fallen(motion.physics)
        return np.array(0.0) if standing.sum() in (0, len(standing)) and standing[0] == 0 else 1.0 * standing

    with pytest.raises(ValueError, match=r'"own_reward" must be numbers \(copy,\)'):
        tried(paying(term))


def test_states_that_episodes_do_not_come_to_are_not_held_against_a_family() -> None:
    def lookup(motion: Any, task: Any) -> Any:
        return np.arange(3.0)[np.floor(np.abs(motion.position[:, 0]) * 2).astype(int)]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tried(paying(lookup))
        tried(paying(lambda m, t: np.sqrt(0.3 - np.abs(m.position[:, 0]))))


STIFF = CARTS.replace('<motor name="pull" joint="slide"', '<position name="pull" joint="slide" kp="1e8"')


def test_a_robot_that_is_unstable_in_its_first_steps_is_refused() -> None:
    words = r"Carts-v0: [3-6] of 6 simulations had become unstable in control step [1-5] .*: acceleration diverged. Red"
    with pytest.raises(ValueError, match=words):
        tried(family(body(STIFF)))


def global_start(model: Any, generator: Any) -> Any:
    return np.random.default_rng().normal(size=model.nq), np.zeros(model.nv)  # as numpy.random would be


def start_of_some(model: Any, generator: Any) -> Any:
    return np.full(model.nq, np.nan if generator.integers(8) == 1 else 0.0), np.zeros(model.nv)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (global_start, "initial_state gave the positions .* and then .* for generators of the same seed. Draw from"),
        (start_of_some, "The positions of initial_state must be finite; got nan"),
        (lambda m, g: (m.qpos0.copy(), np.full(m.nv, np.inf)), "The velocities of initial_state must be finite"),
        (lambda m, g: (m.qpos0.astype(np.float16), np.zeros(m.nv)), "float16 has 3 digits"),
    ],
)
def test_an_initial_state_of_any_seed_is_finite_and_drawn_from_its_generator(start: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tried(family(body(initial_state=start)))


class Adrift(Navigation2D):  # type: ignore[misc]
    """Navigation whose points start at random, or nowhere."""

    nowhere = False

    def reset(self, copies: Any, generators: Any) -> None:
        super().reset(copies, generators)
        for copy in copies.tolist():
            lost = self.nowhere and generators[copy].integers(8) == 2
            self._position[copy] = np.nan if lost else np.random.default_rng().normal() * (not self.nowhere)


@pytest.mark.parametrize(("nowhere", "words"), [(True, "The observation must be finite"), (False, "depends on")])
def test_a_family_that_is_a_class_starts_by_its_generators_alone_too(nowhere: bool, words: str) -> None:
    world = Adrift(NUM_COPIES)
    world.nowhere = nowhere
    with pytest.raises(ValueError, match=words):
        try_out("Adrift-v0", world)


class Late(Navigation2D):  # type: ignore[misc]
    """Navigation that pays, or shows, other copies' numbers from one of an episode's steps on."""

    what, since = "reward", 30

    def reset(self, copies: Any, generators: Any) -> None:
        super().reset(copies, generators)
        self._age = np.where(np.isin(np.arange(NUM_COPIES), copies), 0, getattr(self, "_age", np.zeros(NUM_COPIES)))

    def step(self, actions: Any, running: Any) -> Any:
        outcome = super().step(actions, running)
        self._age += 1
        late = self._age[0] > self.since and self.what == "reward"
        return outcome._replace(terms={name: term[::-1] if late else term for name, term in outcome.terms.items()})

    def observe(self) -> Any:
        seen = super().observe()
        return seen - seen.mean(axis=0) if self._age[0] > self.since and self.what == "observation" else seen


@pytest.mark.parametrize("what", ["reward", "observation"])
def test_a_family_that_is_a_class_is_followed_for_longer(what: str) -> None:
    world = Late(NUM_COPIES)
    world.what = what
    with pytest.raises(ValueError, match=f"{what}.* of a copy depends on the other copies"):
        try_out("Late-v0", world)
    world.since = MORE_STEPS + 1
    try_out("Late-v0", world)


def test_a_start_without_an_orientation_is_refused() -> None:
    free = CARTS.replace('<joint name="slide" type="slide" axis="1 0 0" damping="1"/>', '<freejoint name="slide"/>')
    robot = body(free, initial_state=lambda m, g: (np.zeros(m.nq), np.zeros(m.nv)))
    with pytest.raises(
        ValueError, match='the quaternion of the joint "slide" at 3 to 6, which is 0 and no orientation'
    ):
        tried(family(robot))
    tried(family(body(free, initial_state=lambda m, g: (m.qpos0 + g.uniform(-0.1, 0.1, m.nq), np.zeros(m.nv)))))


def test_starts_and_tasks_in_an_array_that_is_filled_anew_are_each_copys_own() -> None:
    positions, speed = np.zeros(2), np.zeros(())

    def start(model: Any, generator: Any) -> Any:
        positions[:] = generator.uniform(-0.1, 0.1, 2)
        return positions, np.zeros(2)

    def draw(space: Any, generator: Any) -> Any:
        speed[...] = generator.uniform(0.1, 0.8)
        return {"speed": speed, "load": [1.0 + float(speed) / 2]}

    made = family(body(initial_state=start), sample_task=draw)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        episodes = tried_out("Carts-v0", made, 3)
    generators = {copy: np.random.default_rng(copy) for copy in range(3)}
    expected = [np.random.default_rng(copy) for copy in range(3)]
    episodes.reset(np.arange(3), generators)
    speeds = [generator.uniform(0.1, 0.8) for generator in expected]
    np.testing.assert_array_equal(episodes.tasks["speed"], speeds)
    np.testing.assert_array_equal(episodes.tasks["load"][:, 0], 1.0 + np.array(speeds) / 2)
    starts = [generator.uniform(-0.1, 0.1, 2) for generator in expected]
    np.testing.assert_array_equal(episodes.family.observe()[:, :2], starts)


def test_numbers_of_python_make_a_task_and_a_reward() -> None:
    drawn = family(sample_task=lambda space, g: {"speed": float(g.uniform(0.1, 0.8)), "load": [float(g.uniform(1, 2))]})
    paid = paying(lambda m, t: [float(action) for action in m.actions[:, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tried(drawn)
        tried(paid)
    with pytest.raises(ValueError, match="sample_task must give a dict of numbers or arrays by name; got None"):
        tried(family(sample_task=lambda space, generator: None))


def test_tasks_are_drawn_from_their_generator() -> None:
    def draw(space: Any, generator: Any) -> Any:
        return {"speed": np.asarray(np.random.default_rng().uniform(0.1, 0.8)), "load": np.ones(1)}

    with pytest.raises(ValueError, match=r"sample_task drew .* and then .* never from numpy.random"):
        tried(family(sample_task=draw))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"task_units": {"speed": None, "load": ""}}, "task_units must be texts; got None"),
        ({"task_elements": {"load": ("x",)}}, 'The elements of "load" in task_elements must be a sequence'),
        ({"task_elements": {"load": ((" ",),)}}, "must say something; number 0 is empty"),
        ({"reward_terms": {3: speed_error_cost}}, "The reward terms must be texts; got 3"),
    ],
)
def test_units_and_names_of_tasks_are_texts_that_say_something(changed: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tried(family(**changed))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ("abc", "must be a sequence of texts; got 'abc'"),
        (("a", "b", 3), "must be texts; got 3"),
        (("a", "", "c"), "must say something; number 1 is empty"),
        (("a", "b", "a"), 'must differ; "a" is there twice'),
    ],
)
def test_labels_are_different_texts(labels: Any, words: str) -> None:
    term = {"kind_reward": lambda m, t: 1.0 * t["kind"]}
    with pytest.raises(ValueError, match=f'The labels of "kind" in task_labels {words}'):
        tried(
            family(
                task_parameters={"kind": spaces.Discrete(3)},
                task_units={"kind": ""},
                changes={},
                reward_terms=term,
                task_labels={"kind": labels},
            )
        )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"observed": lambda m: [("x", "m")] * 3 + [("y", "m")]},
            'The names of observations must differ; "x" is there',
        ),
        ({"observed": lambda m: [("", "m")] * 4}, "The names of observations must say something; number 0 is empty"),
        ({"observed": lambda m: [(name, 1) for name in "abcd"]}, "The units of observations must be texts; got 1"),
        ({"observed": lambda m: ["ab", "cd", "ef", "gh"]}, "observed must give a name and a unit, a tuple, for each"),
        ({"observed": lambda m: [("x", "m")]}, "for each of the 4 numbers that observe gives; got 1"),
        ({"control_units": ["N", None]}, "control_units must be texts; got None"),
        ({"control_units": "Nm"}, "control_units must be a sequence of texts; got 'Nm'"),
    ],
)
def test_names_and_units_of_signals_are_texts_one_per_number(changed: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tried(family(body(**changed)))


def test_terms_of_half_precision_are_refused_and_truth_values_count_as_numbers() -> None:
    with pytest.raises(ValueError, match=r'"own_reward" must be of at least single precision; float16 has 3 digits'):
        tried(paying(lambda m, t: m.actions[:, 0].astype(np.float16)))
    with pytest.raises(ValueError, match="What observe gives must be of at least single"):
        tried(family(body(observe=lambda physics: physics.qpos.astype(np.float16))))
    tried(paying(lambda m, t: m.actions[:, 0] > 0))
    tried(paying(lambda m, t: (m.actions[:, 0] > 0).astype(np.int8)))


def vector(seen: int) -> LocomotionFamily:
    """Ants whose tasks have a vector of 30 numbers, of which the reward reads as many as said."""
    ant = next(iter(load_family("AntVel-v0").variants.values()))
    parameters = {**ant.task_parameters, "map": spaces.Box(-1.0, 1.0, (30,), np.float64)}
    return LocomotionFamily(
        "Ants",
        {
            "own": replace(
                ant,
                task_parameters=parameters,
                task_units=dict.fromkeys(parameters, ""),
                wide_task_parameters={},
                sample_task=sample_uniform_task,
                reward_terms={**ant.reward_terms, "map_reward": lambda m, t: t["map"][:, :seen].sum(axis=1)},
            )
        },
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*was not seen to change anything")
@pytest.mark.filterwarnings("ignore:.*joints start beyond their ranges")  # as published of the ant
@pytest.mark.parametrize(
    ("made", "variant"),
    [
        *((load_family(env_id), None) for env_id in ("HumanoidDir2D-v0", "RoverGoal-v0")),
        *((load_family("AntChanged-v0"), variant) for variant in ("any", "offset", "combined_velocity")),
        (load_family("Walker2dParams-v0"), "velocity"),
        (load_family("RoverGoal-v0"), "modalities"),
        *((vector(seen), None) for seen in (0, 15, 30)),
    ],
)
def test_a_family_of_400_copies_is_tried_out_in_less_than_a_fifth_of_a_second(made: Any, variant: str | None) -> None:
    world = made(400, variant=variant)
    seconds = []
    for _ in range(5):
        began = time.process_time()
        check_body(world._body, world.physics)
        try_out("Mine-v0", world.few(NUM_COPIES))
        seconds.append(time.process_time() - began)
    assert min(seconds) < 0.2


def test_a_robot_that_counts_as_fallen_where_it_starts_is_told_of() -> None:
    with pytest.warns(UserWarning, match="Carts-v0: all 6 episodes ended in their first step") as said:
        tried(family(body(is_healthy=lambda physics: physics.qpos[:, 0] > 5)))
    assert len(said) == 1


def test_one_copy_that_ends_at_once_is_not_told_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tried(family(body(is_healthy=lambda physics: physics.qpos[:, 0] > -0.05)))


def test_an_observation_outside_of_its_space_is_refused() -> None:
    worlds = family()(NUM_COPIES)
    worlds.few = lambda num_copies: None  # type: ignore[method-assign, assignment, return-value]
    observe = worlds.observe
    worlds.observe = lambda: np.minimum(observe(), 0.03)  # type: ignore[method-assign]
    worlds.observation_space = spaces.Box(-9.0, 0.03, (4,), np.float32)
    try_out("Carts-v0", worlds)
    worlds.observation_space = spaces.Box(-0.05, 9.0, (4,), np.float64)
    with pytest.raises(ValueError, match=r"Number \d of the observation is -0.\d+, outside of .*, \[-0.05, 9\]"):
        try_out("Carts-v0", worlds)
