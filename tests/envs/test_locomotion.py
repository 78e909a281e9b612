"""Our batched robots against Gymnasium's own environments, one step after the other."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import gymnasium
import mujoco
import numpy as np
import numpy.typing as npt
import pytest

from rlmaml_envs import KNOWN_IDS, ant, half_cheetah, hopper, humanoid, make_tasks_env, swimmer, walker2d
from rlmaml_envs.bodies import scalar_box
from rlmaml_envs.episodes import Episodes
from rlmaml_envs.locomotion import Body, Locomotion, LocomotionFamily, Motion, RewardTerm
from rlmaml_envs.problems import forwards
from rlmaml_envs.registry import load_family
from rlmaml_envs.rewards import control_cost
from tests.envs.robots import CARTS, body, family, put

Array = npt.NDArray[Any]


class Twin(NamedTuple):
    """One of our bodies, the terms that make Gymnasium's reward of it, and where contact forces are observed."""

    body: Body
    terms: Mapping[str, RewardTerm]
    weight: float = 1.0
    contact_observations: int = 0


def costing(weight: float) -> Mapping[str, RewardTerm]:
    return {"control_cost": lambda motion, task: control_cost(motion.actions, weight)}


TWINS = {
    "HalfCheetah-v5": Twin(half_cheetah.GYMNASIUM, costing(0.1)),
    "Ant-v5": Twin(ant.GYMNASIUM, ant.GYMNASIUM_TERMS, contact_observations=78),
    "Walker2d-v5": Twin(walker2d.body(substeps=4), walker2d.terms(1.0)),
    "Hopper-v5": Twin(hopper.BODY, hopper.terms(1.0)),
    "Humanoid-v5": Twin(humanoid.BODY, humanoid.TERMS, 1.25, contact_observations=78),
    "Swimmer-v5": Twin(swimmer.BODY, swimmer.TERMS),
}
NUM_COPIES, STEPS = 3, 60
COPIES = np.arange(NUM_COPIES)


def theirs(name: str) -> Any:
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)  # it would be written to a file in the working directory
    try:
        return gymnasium.make(name).unwrapped
    finally:
        mujoco.set_mju_user_warning(before)


def ours(name: str, threads: int = 2) -> Locomotion:
    twin = TWINS[name]
    family = LocomotionFamily(name, {"forward": forwards(twin.body, twin.terms, twin.weight)})
    return family(NUM_COPIES, threads=threads)


def reset(world: Locomotion, seeds: Any) -> None:
    world.reset(COPIES, {copy: np.random.default_rng(seed) for copy, seed in enumerate(seeds)})


@pytest.mark.parametrize("name", TWINS)
def test_dynamics_equal_gymnasiums_bit_for_bit(name: str) -> None:
    # The state, and all that is not a contact force in the observation, is equal bit for bit, from a reset with the
    # same seed on. Contact forces differ: Gymnasium computes them from the last stage of the last Runge-Kutta step,
    # which MuJoCo's batch does not show; what follows from them is compared below.
    world, reference = ours(name), theirs(name)
    own = world.physics
    same = slice(0, -TWINS[name].contact_observations or None)
    for copy in (0, 2):
        reset(world, [7, 8, 9])
        observation, _ = reference.reset(seed=7 + copy)
        np.testing.assert_array_equal(world.observe()[copy][same], observation[same])
        generator = np.random.default_rng(copy)
        for _ in range(STEPS):
            actions = generator.uniform(-1, 1, (NUM_COPIES, reference.model.nu))
            outcome = world.step(actions, np.ones(NUM_COPIES, np.bool_))
            observation, reward, terminated, _, info = reference.step(world.control_range[:, 1] * actions[copy])
            np.testing.assert_allclose(world.control_range[:, 1], reference.action_space.high)
            np.testing.assert_array_equal(own.qpos[copy], reference.data.qpos)
            np.testing.assert_array_equal(own.qvel[copy], reference.data.qvel)
            np.testing.assert_array_equal(world.observe()[copy][same], observation[same])
            assert outcome.terminated[copy] == terminated
            rewards = {term: values[copy] for term, values in outcome.terms.items()}
            rewards.pop("contact_cost", None)
            others = sum(rewards.values()) + info.get("reward_contact", 0.0)
            assert others == pytest.approx(reward, rel=1e-13, abs=1e-13)
            if terminated:
                break


@pytest.mark.parametrize("name", ["Ant-v5", "Humanoid-v5"])
def test_contact_forces_are_mujocos_at_the_beginning_of_the_last_physics_step(name: str) -> None:
    world, model = ours(name), TWINS[name].body.build()
    data, substeps = mujoco.MjData(model), TWINS[name].body.simulation.substeps
    reset(world, [1, 2, 3])
    own = world.physics
    data.qpos[:], data.qvel[:] = own.qpos[1], own.qvel[1]
    mujoco.mj_forward(model, data)
    generator, touched = np.random.default_rng(0), 0
    for _ in range(30):
        actions = generator.uniform(-1, 1, (NUM_COPIES, model.nu))
        world.step(actions, np.ones(NUM_COPIES, np.bool_))
        data.ctrl[:] = world.control_range[:, 1] * actions[1]
        mujoco.mj_step(model, data, nstep=substeps - 1)
        probe = mujoco.MjData(model)
        mujoco.mj_copyData(probe, model, data)
        mujoco.mj_forward(model, probe)
        mujoco.mj_rnePostConstraint(model, probe)
        np.testing.assert_allclose(own.outputs["cfrc_ext"][1], probe.cfrc_ext, rtol=1e-9, atol=1e-9)
        mujoco.mj_step(model, data)
        touched += bool(np.abs(probe.cfrc_ext).max() > 0)
    assert touched > 5


@pytest.mark.parametrize("name", ["Ant-v5", "Humanoid-v5"])
def test_from_gymnasiums_contact_forces_follow_gymnasiums_cost_and_observation(name: str) -> None:
    twin, reference = TWINS[name], theirs(name)
    data, body = reference.data, twin.body
    reference.reset(seed=3)
    generator, costs = np.random.default_rng(3), []
    for _ in range(STEPS):
        observation, _, terminated, _, info = reference.step(
            reference.action_space.high * generator.uniform(-1, 1, reference.model.nu)
        )
        outputs = {output: getattr(data, output)[None] for output in body.simulation.outputs}
        state: Any = SimpleNamespace(qpos=data.qpos[None], qvel=data.qvel[None], outputs=outputs)
        np.testing.assert_array_equal(body.observe(state)[0], observation)
        motion = Motion(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 1)), np.ones(1, np.bool_), physics=state)
        costs.append(twin.terms["contact_cost"](motion, {})[0])
        assert costs[-1] == pytest.approx(info["reward_contact"], rel=1e-13)
        if terminated:
            break
    assert min(costs) < -1e-3


@pytest.mark.parametrize("name", TWINS)
def test_finished_copies_stand_still_while_others_go_on(name: str) -> None:
    world = ours(name)
    reset(world, [1, 2, 3])
    generator = np.random.default_rng(0)
    running = np.array([True, False, True])
    before = world.observe()
    world.step(generator.uniform(-1, 1, (NUM_COPIES, world.action_space.shape[0])), running)
    np.testing.assert_array_equal(world.observe()[1], before[1])
    assert (world.observe()[running] != before[running]).any(axis=1).all()


@pytest.mark.parametrize(
    ("env_id", "variant"), [("AntVel-v0", "finn2017"), ("HalfCheetahVel-v0", "finn2017"), ("HopperParams-v0", None)]
)
def test_the_number_of_threads_changes_no_bit_of_an_environment(env_id: str, variant: str | None) -> None:
    runs = []
    for threads in (1, 2):
        env = make_tasks_env(env_id, 6, 20, variant=variant, threads=threads)
        env.set_tasks(env.sample_tasks(3, seeds=[1, 2, 3]))
        seen = [env.reset(seed=4)[0]]
        generator = np.random.default_rng(5)
        for _ in range(20):
            observation, reward, *_ = env.step(generator.uniform(-1, 1, env.action_space.shape))
            seen += [observation, reward]
        runs.append(np.concatenate([array.ravel() for array in seen]))
    np.testing.assert_array_equal(runs[0], runs[1])


FALLEN = {
    "AntVel-v0": {2: 1.5},
    "AntDir-v0": {2: 1.5},
    "AntDir2D-v0": {2: 1.5},
    "AntChanged-v0": {2: 1.5},
    "Walker2dVel-v0": {2: 1.2},
    "Walker2dParams-v0": {1: 0.5},
    "HopperParams-v0": {2: -0.3},
    "HumanoidDir2D-v0": {2: 0.7},
    "HalfCheetahVel-v0": {2: np.pi},
    "HalfCheetahDir-v0": {2: np.pi},
    "HalfCheetahChanged-v0": {2: np.pi},
    "AntGoal-v0": {2: 1.5},
    "SwimmerVel-v0": {2: np.pi},
}
"""Id -> position coordinates of a robot that fell or flew; the last five go on, by their data sheets."""
GOES_ON = tuple(FALLEN)[-5:]
EVERY_FALL = [(env_id, variant) for env_id in FALLEN for variant in load_family(env_id).variants]


@pytest.mark.parametrize(("env_id", "variant"), EVERY_FALL)
def test_a_robot_that_fell_ends_its_episode_and_lies_still_where_its_data_sheet_says(env_id: str, variant: str) -> None:
    episodes = Episodes(env_id, load_family(env_id), NUM_COPIES, 5, variant=variant)
    assert isinstance(episodes.family, Locomotion)
    physics = episodes.family.physics
    episodes.reset(COPIES, {copy: np.random.default_rng(copy) for copy in range(NUM_COPIES)})
    put(physics, 1, FALLEN[env_id])
    actions = np.random.default_rng(0).uniform(-1, 1, (NUM_COPIES, *episodes.family.action_space.shape))
    fell = [False, env_id not in GOES_ON, False]
    first = episodes.step(actions)
    assert first.terminated.tolist() == fell
    assert first.reward[1] != 0.0
    before = np.hstack([physics.qpos, physics.qvel])
    second = episodes.step(actions)
    assert second.terminated.tolist() == fell
    assert not second.truncated.any()
    assert (second.reward == 0.0).tolist() == fell
    still = (np.hstack([physics.qpos, physics.qvel]) == before).all(axis=1)
    assert still.tolist() == fell
    np.testing.assert_array_equal(second.observation[fell], first.observation[fell])


def test_every_robot_is_seen_to_fall() -> None:
    robots = {env_id for env_id in KNOWN_IDS if isinstance(load_family(env_id), LocomotionFamily)}
    assert set(FALLEN) == robots - {"RoverGoal-v0"}  # on wheels


def test_an_exploding_robot_ends_its_episode_with_the_cause() -> None:
    episodes = Episodes("HalfCheetahVel-v0", load_family("HalfCheetahVel-v0"), 3, 10, variant="rothfuss2019")
    assert isinstance(episodes.family, Locomotion)
    episodes.reset(COPIES, {copy: np.random.default_rng(copy) for copy in range(3)})
    episodes.family.physics.sealed = False
    episodes.family.physics.field("actuator_gear")[1] *= 1e9
    first = episodes.step(np.full((3, 6), 0.5))
    assert first.terminated.tolist() == [False, True, False]
    assert "diverged" in first.info["instability"][1]
    assert first.reward[1] == 0.0
    assert np.isfinite(first.observation).all()
    second = episodes.step(np.full((3, 6), 0.5))
    np.testing.assert_array_equal(second.observation[1], first.observation[1])
    assert "instability" not in second.info


def test_a_number_of_threads_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="HalfCheetahVel: threads must be a positive integer; got 0"):
        make_tasks_env("HalfCheetahVel-v0", 2, threads=0)


def test_an_ant_with_a_goal_knows_where_it_is_and_goes_on_after_a_fall() -> None:
    world = ant.GOAL(2)
    world.set_tasks(np.arange(2), {"distance": np.array([1.0, 1.0]), "direction": np.zeros(2)})
    world.reset(np.arange(2), {copy: np.random.default_rng(0) for copy in range(2)})
    x, y = world.physics.qpos[1, :2]
    put(world.physics, 1, {0: x + 2.0, 1: y + 1.0})
    observed = world.observe()
    np.testing.assert_allclose(observed[1, :2] - observed[0, :2], [2.0, 1.0])
    for copy in range(2):
        put(world.physics, copy, {2: 0.1})
    assert not world.step(np.zeros((2, 8)), np.ones(2, np.bool_)).terminated.any()


@pytest.mark.parametrize("variant", ["gymnasium", "rothfuss2019"])
def test_a_walker_that_stands_still_earns_more_than_one_that_fell(variant: str) -> None:
    world = walker2d.VELOCITY(1, variant)
    fastest = world.wide_task_space["velocity"].high  # type: ignore[attr-defined]
    world.set_tasks(np.arange(1), {"velocity": np.array([fastest])})
    world.reset(np.arange(1), {0: np.random.default_rng(0)})
    terms = world.step(np.zeros((1, 6)), np.ones(1, np.bool_)).terms
    assert sum(float(term[0]) for term in terms.values()) > 0


def two_numbers(physics: Any) -> Any:
    return physics.qpos


def written(model: mujoco.MjModel, generator: np.random.Generator) -> Any:
    model.qpos0[0] = generator.uniform(-1, 1)
    return model.qpos0, np.zeros(model.nv)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"observe": lambda p: p.qpos[:, 0]},
            r"observe gives must be numbers \(copy, observation\).*shape \(3,\)",
        ),
        ({"position": lambda p: p.qpos[:, :1]}, r"What position gives .*\(3, 2\); got shape \(3, 1\)"),
        ({"velocity": lambda p: p.qvel[0]}, r"What velocity gives .*got shape \(2,\)"),
        ({"is_healthy": lambda p: np.ones(3, int)}, "What is_healthy gives must be truth values .*int64"),
        ({"is_healthy": lambda p: (p.qpos > 0).all()}, r"What is_healthy gives .*got shape \(\)"),
        ({"initial_state": lambda m, g: m.qpos0}, r"must give \(positions, velocities\), or .*; got ndarray"),
        ({"initial_state": lambda m, g: (np.zeros(3), np.zeros(2))}, r"positions of initial_state .*\(2,\); got shape"),
        (
            {"initial_state": lambda m, g: (m.qpos0, np.zeros(m.nv) * np.nan)},
            "The velocities .* must be finite",
        ),
        ({"initial_state": written}, "initial_state wrote into the model"),
        ({"observe": lambda p: p.qpos / 0.0}, "What observe gives must be finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:divide by zero:RuntimeWarning")
def test_a_body_whose_functions_give_something_else_is_refused_when_it_is_made(changed: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        family(body(**changed))(3)


def test_a_model_without_actuators_is_refused() -> None:
    still = "<mujoco><worldbody><body><freejoint/><geom size='.1'/></body></worldbody></mujoco>"
    with pytest.raises(ValueError, match="no actuators"):
        family(body(still))(3)


@pytest.mark.parametrize("step", ["0", "-0.01", "1e-300"])
def test_a_model_without_a_time_step_is_refused(step: str) -> None:
    with pytest.raises(ValueError, match="it must be a finite time"):
        family(body(CARTS.replace('timestep="0.01"', f'timestep="{step}"')))(3)


def test_changes_commands_readings_and_wide_parameters_must_name_task_parameters() -> None:
    with pytest.raises(ValueError, match=r"changes names \['lode'\].*speed, load"):
        family(changes={"lode": lambda physics, copies, values: None})(3)
    for path in ("commands", "readings"):
        changed: dict[str, Any] = {path: {"gain": lambda signal, values: signal}}
        with pytest.raises(ValueError, match=rf"{path} names \['gain'\].*speed, load"):
            family(**changed)(3)
    with pytest.raises(ValueError, match=r"wide_task_parameters names \['sped'\]"):
        family(wide_task_parameters={"sped": scalar_box(0.0, 1.0)})(3)


def test_a_position_that_is_a_live_array_moves_and_an_observation_that_is_one_stays() -> None:
    world = family(body(position=two_numbers, observe=two_numbers))(3)
    reset(world, [7, 8, 9])
    seen = world.observe()
    before, held = world.physics.qpos.copy(), seen.copy()
    outcome = world.step(np.ones((3, 2)), np.ones(3, np.bool_))
    speed = (world.physics.qpos[:, 0] - before[:, 0]) / world.physics.duration
    assert (speed > 0).all()
    np.testing.assert_allclose(outcome.terms["speed_error_cost"], -np.abs(speed))
    np.testing.assert_array_equal(seen, held)
