from collections import Counter
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rlmaml_envs import ant, half_cheetah, make_tasks_env
from rlmaml_envs.kinds import LARGEST_OFFSET, variant_without
from rlmaml_envs.locomotion import Locomotion
from rlmaml_envs.model_fields import indices
from rlmaml_envs.tasks import Task, stack_tasks

Array = npt.NDArray[Any]

PARAMETERS = {
    "dead": "dead_joint",
    "inverted": "motor_gain",
    "swapped": "motor_permutation",
    "offset": "encoder_offset",
}
ROBOTS = pytest.mark.parametrize("robot", [half_cheetah, ant], ids=["half_cheetah", "ant"])
IDS = {"half_cheetah": "HalfCheetahChanged-v0", "ant": "AntChanged-v0"}


def intact(robot: ModuleType, **changes: Any) -> Task:
    count = len(robot.JOINTS)
    values = {"dead_joint": 0, "motor_gain": np.ones(count), "motor_permutation": np.eye(count)}
    values |= {"encoder_offset": np.zeros(count), **changes}
    return {name: np.asarray(value) for name, value in values.items()}


def kinds_in(robot: ModuleType, task: Task) -> list[str]:
    """The kinds whose parameter is not as in the intact robot."""
    as_built = intact(robot)
    return [kind for kind, name in PARAMETERS.items() if not np.array_equal(task[name], as_built[name])]


def world_of(robot: ModuleType, *tasks: Task, variant: str = "any") -> Locomotion:
    """A copy per task, all in the same state."""
    world = robot.CHANGED(len(tasks), variant=variant)
    copies = np.arange(len(tasks))
    world.set_tasks(copies, stack_tasks(tasks))
    world.reset(copies, {copy: np.random.default_rng(5) for copy in copies})
    assert isinstance(world, Locomotion)
    return world


def both(world: Locomotion, actions: Array) -> tuple[Array, list[Array]]:
    """States of two copies, [time, copy, state], and their reward terms, under actions [time, copy, action]."""
    states, rewards = [], []
    for action in actions:
        terms = world.step(action, np.ones(2, np.bool_)).terms
        states.append(np.hstack([world.physics.qpos, world.physics.qvel]))
        rewards.append(np.array(list(terms.values())))
    return np.array(states), rewards


def random_actions(robot: ModuleType, steps: int = 20) -> Array:
    return np.random.default_rng(1).uniform(-1, 1, (steps, len(robot.MOTORS)))


@ROBOTS
def test_an_inverted_motor_is_a_negated_action_on_the_intact_robot_step_for_step(robot: ModuleType) -> None:
    actions = random_actions(robot)
    gain = np.ones(actions.shape[1])
    gain[[1, 4]] = -1.0
    world = world_of(robot, intact(robot, motor_gain=gain), intact(robot))
    states, rewards = both(world, np.stack([actions, gain * actions], axis=1))
    np.testing.assert_array_equal(states[:, 0], states[:, 1])
    for terms in rewards:
        np.testing.assert_array_equal(terms[:, 0], terms[:, 1])
    same, _ = both(world_of(robot, intact(robot, motor_gain=gain), intact(robot)), np.stack([actions] * 2, axis=1))
    assert (same[0, 0] != same[0, 1]).any()


@ROBOTS
def test_swapped_motors_are_permuted_actions_on_the_intact_robot_step_for_step(robot: ModuleType) -> None:
    actions = random_actions(robot)
    order = np.roll(np.arange(actions.shape[1]), 1)  # motor i is driven by action i - 1; not its own inverse
    permutation = np.eye(len(order))[order]
    world = world_of(robot, intact(robot, motor_permutation=permutation), intact(robot))
    states, _ = both(world, np.stack([actions, actions[:, order]], axis=1))
    np.testing.assert_array_equal(states[:, 0], states[:, 1])
    back = world_of(robot, intact(robot, motor_permutation=permutation.T), intact(robot))
    other, _ = both(back, np.stack([actions, actions[:, order]], axis=1))
    assert (other[0, 0] != other[0, 1]).any()


@ROBOTS
def test_actions_are_permuted_before_they_meet_the_motors_gains(robot: ModuleType) -> None:
    action = random_actions(robot, 1)[0]
    gain, order = np.ones(len(action)), np.arange(len(action))
    gain[0], order[:2] = -1.0, (1, 0)
    world = world_of(robot, intact(robot, motor_gain=gain, motor_permutation=np.eye(len(action))[order]))
    np.testing.assert_array_equal(world.controls(action[None])[0], [-action[1], action[0], *action[2:]])


@ROBOTS
def test_control_costs_what_the_policy_commands_and_not_what_the_motors_get(robot: ModuleType) -> None:
    actions = np.repeat(random_actions(robot, 1), 3, axis=0)
    halved = intact(robot, motor_gain=np.full(actions.shape[1], 0.5))
    world = world_of(robot, intact(robot, dead_joint=2), halved, intact(robot))
    cost = world.step(actions, np.ones(3, np.bool_)).terms["control_cost"]
    assert cost[0] == cost[1] == cost[2] < 0


@ROBOTS
def test_a_dead_motor_is_that_of_the_variant_damaged_step_for_step(robot: ModuleType) -> None:
    actions = np.repeat(random_actions(robot)[:, None], 2, axis=1)
    ours, _ = both(world_of(robot, intact(robot, dead_joint=3), intact(robot)), actions)
    joints = [{"dead_joint": np.asarray(joint)} for joint in (3, 0)]
    theirs, _ = both(world_of(robot, *joints, variant="damaged"), actions)
    np.testing.assert_array_equal(ours, theirs)


@ROBOTS
def test_an_encoders_offset_moves_its_own_observation_and_nothing_else(robot: ModuleType) -> None:
    offset = np.linspace(0.05, 0.3, len(robot.JOINTS))
    world = world_of(robot, intact(robot, encoder_offset=offset), intact(robot))
    model = world.physics.model
    angles = model.jnt_qposadr[indices(model, "joint", robot.JOINTS)]
    for action in random_actions(robot):
        observed = world.observe()
        joints = np.flatnonzero(observed[0] != observed[1])
        np.testing.assert_array_equal(observed[1, joints], world.physics.qpos[1, angles])
        np.testing.assert_array_equal(observed[0, joints], world.physics.qpos[0, angles] + offset)
        terms = world.step(np.stack([action, action]), np.ones(2, np.bool_)).terms
        for state in (world.physics.qpos, world.physics.qvel, *(term for term in terms.values())):
            np.testing.assert_array_equal(state[0], state[1])


@ROBOTS
def test_gains_and_permutations_are_in_the_order_of_the_models_actuators(robot: ModuleType) -> None:
    model = robot.GYMNASIUM.build()
    assert [model.joint(joint).name for joint in model.actuator_trnid[:, 0]] == list(robot.MOTORS)


def drawn(robot: ModuleType, variant: str, count: int = 400, *, beyond: bool = False) -> list[Task]:
    env = make_tasks_env(IDS[robot.__name__.split(".")[1]], 1, variant=variant)
    tasks = env.sample_tasks(count, seeds=range(count), beyond=beyond)
    return [{name: values[i, ...] for name, values in tasks.items()} for i in range(count)]


@ROBOTS
def test_any_draws_every_kind_equally_often_and_exactly_one_per_task(robot: ModuleType) -> None:
    kinds = [kinds_in(robot, task) for task in drawn(robot, "any")]
    assert all(len(kind) == 1 for kind in kinds)
    counts = Counter(kind for (kind,) in kinds)
    assert set(counts) == set(PARAMETERS)
    # A count of 400 draws with probability 1/4 has standard deviation sqrt(400 * 3 / 16) = 8.7.
    assert all(abs(count - 100) < 4 * 8.7 for count in counts.values())


@ROBOTS
@pytest.mark.parametrize("kind", PARAMETERS)
def test_a_kind_that_is_held_out_is_never_drawn_and_is_all_that_is_beyond(robot: ModuleType, kind: str) -> None:
    variant = variant_without("it", robot.CHANGED.variants, kind)
    others = {other for other in PARAMETERS if other != kind}
    assert {name for task in drawn(robot, variant) for name in kinds_in(robot, task)} == others
    assert {tuple(kinds_in(robot, task)) for task in drawn(robot, variant, 40, beyond=True)} == {(kind,)}


@ROBOTS
@pytest.mark.parametrize("kind", PARAMETERS)
def test_the_variant_of_a_kind_draws_it_alone(robot: ModuleType, kind: str) -> None:
    assert {tuple(kinds_in(robot, task)) for task in drawn(robot, kind, 40)} == {(kind,)}


@ROBOTS
def test_an_unchanged_robot_is_as_it_was_built_and_any_change_is_beyond(robot: ModuleType) -> None:
    assert not any(kinds_in(robot, task) for task in drawn(robot, "unchanged", 10))
    beyond = {tuple(kinds_in(robot, task)) for task in drawn(robot, "unchanged", 60, beyond=True)}
    assert beyond == {(kind,) for kind in PARAMETERS}


@ROBOTS
def test_drawn_changes_are_those_of_the_data_sheet(robot: ModuleType) -> None:
    count = len(robot.JOINTS)
    assert {int(task["dead_joint"]) for task in drawn(robot, "dead")} == set(range(1, count + 1))
    gains = np.array([task["motor_gain"] for task in drawn(robot, "inverted")])
    assert set(np.unique(gains)) == {-1.0, 1.0}
    inverted = (gains == -1).sum(axis=1)
    assert set(inverted) == {1, 2}
    assert abs((inverted == 1).mean() - 0.5) < 4 * 0.5 / 20
    assert (gains == -1).any(axis=0).all()
    swaps = [task["motor_permutation"] for task in drawn(robot, "swapped")]
    assert all((matrix == matrix.T).all() and matrix.diagonal().sum() == count - 2 for matrix in swaps)
    assert len({matrix.tobytes() for matrix in swaps}) == count * (count - 1) / 2
    offsets = np.array([task["encoder_offset"] for task in drawn(robot, "offset")])
    assert 0.98 * LARGEST_OFFSET < np.abs(offsets).max() <= LARGEST_OFFSET
    assert offsets.std() == pytest.approx(LARGEST_OFFSET / np.sqrt(3), rel=0.05)


@ROBOTS
def test_a_policy_that_is_told_its_task_is_told_it_alike_in_all_these_variants(robot: ModuleType) -> None:
    seen = []
    task = {name: value[None] for name, value in intact(robot, motor_gain=-np.ones(len(robot.JOINTS))).items()}
    variants = ["any", "unchanged", *PARAMETERS, *(f"any_but_{kind}" for kind in PARAMETERS)]
    for variant in variants:
        env = make_tasks_env(IDS[robot.__name__.split(".")[1]], 1, variant=variant, observe_task=True)
        env.set_tasks(task)
        seen.append(env.reset(seed=3)[0])
    assert all(np.array_equal(observation, seen[0]) for observation in seen)


def test_pictures_say_what_has_changed_and_colour_the_limbs() -> None:
    def of(robot: ModuleType, **changes: Any) -> tuple[str, tuple[str, ...]]:
        marks = robot.CHANGED.variants["any"].marks(intact(robot, **changes))
        return marks.text, marks.damaged

    assert of(half_cheetah) == ("intact", ())
    assert of(half_cheetah, dead_joint=6) == ("dead motor: ffoot", ("ffoot",))
    assert of(ant, motor_gain=[-1, 1, 1, 1, 1, 1, 0.5, 1]) == ("motor gain: hip_4 -1, hip_3 0.5", ("hip_4", "hip_3"))
    swap = np.eye(6)[[0, 2, 1, 3, 4, 5]]
    assert of(half_cheetah, motor_permutation=swap) == ("swapped motors: bshin, bfoot", ("bshin", "bfoot"))
    text, limbs = of(half_cheetah, encoder_offset=[0.1, 0, 0, 0, 0, -0.25], dead_joint=1)
    assert text == "dead motor: bthigh; encoder offset: 0.1, 0, 0, 0, 0, -0.25"
    assert limbs == ("bthigh",)


def test_a_kind_that_cannot_be_held_out_is_refused_with_those_that_can() -> None:
    variants = half_cheetah.CHANGED.variants
    assert variant_without("HalfCheetahChanged-v0", variants, "dead") == "any_but_dead"
    with pytest.raises(ValueError, match=r'cannot hold out "payload".*dead, inverted, swapped, offset'):
        variant_without("HalfCheetahChanged-v0", variants, "payload")
    with pytest.raises(ValueError, match="Its kinds of change: none"):
        variant_without("HalfCheetahVel-v0", half_cheetah.VELOCITY.variants, "dead")
