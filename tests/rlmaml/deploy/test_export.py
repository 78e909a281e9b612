import contextlib
import dataclasses
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.base.files import write_atomically
from rlmaml.core.types import Meta
from rlmaml.deploy.adaptable import AdaptablePolicy, as_policy, load
from rlmaml.deploy.carried_state import Driven
from rlmaml.deploy.cost import latency
from rlmaml.deploy.driver import Driver
from rlmaml.deploy.export import (
    LARGEST_DIFFERENCE,
    Actor,
    as_metadata,
    card,
    export_program,
    largest_difference,
    load_onnx,
    returns_of,
    write_int8,
    write_onnx,
    write_program,
)
from rlmaml.deploy.robot import Actuation, Robot, normalised_actuation, robot_of
from rlmaml.policies.kinds import make_policy
from rlmaml.policies.sizes import Sizes
from rlmaml.sampling.recorded import RecordedEpisodes, read_episodes
from rlmaml.settings.whole import configure
from rlmaml.storage.checkpoint import Checkpoint
from rlmaml_envs import make_tasks_env
from tests.faults.process_wide import put_back
from tests.rlmaml.deploy.trained import HORIZON, LEARNED, LIVES, moved, navigation, student, trained_policy

pytestmark = pytest.mark.usefixtures("operators_read_once")

CONTROL_RANGE = np.array([[-0.4, 0.4], [0.0, 2.5]])
ACTUATION = Actuation(CONTROL_RANGE, names=("wheel", "brake"), units=("N m", "N"))
"""Of a motor, and of one that turns one way alone."""
ROBOT = Robot(ACTUATION, ("x", "y"), ("m", "m"), 0.1, {"goal": "m"})


def steered(xp: Any, actions: Any) -> Any:
    """Speed and turn to three wheels."""
    mixing = xp.asarray([[1.0, 1.0, 0.0], [-0.5, 0.5, 0.3]], dtype=actions.dtype)
    offset = xp.asarray([0.0, 0.1, 0.2], dtype=actions.dtype)
    return xp.tanh(actions @ mixing) + offset


STEERED = Actuation(np.array([[-2.0, 2.0]] * 3), steered)

WHOLE = Actuation(np.array([[-1.0, 1.0], [-1.0, 1.0]]))


@pytest.fixture(scope="module")
def policy() -> AdaptablePolicy:
    """Weights far from their initial values, so that some actions are clipped."""
    return moved(trained_policy(LEARNED.changed(hidden=(16, 8), observation_scales=(0.5, 3.0))), 1.0)


def test_the_actor_is_the_policy_in_the_robots_units(policy: AdaptablePolicy) -> None:
    seen = torch.randn(64, 2, generator=torch.Generator().manual_seed(1))
    controls = Actor(policy, ACTUATION)(seen).numpy()
    actions = policy.act(seen.numpy())
    np.testing.assert_allclose(controls[:, 0], 0.4 * actions[:, 0], atol=1e-6)
    np.testing.assert_allclose(controls[:, 1], 1.25 + 1.25 * actions[:, 1], atol=1e-6)
    at_an_end = np.isclose(controls[..., None], CONTROL_RANGE, atol=1e-6).any(-1)
    assert at_an_end.any(0).all()
    assert not at_an_end.all()


def test_the_files_do_what_the_policy_does_at_any_batch_size(tmp_path: Path, policy: AdaptablePolicy) -> None:
    actor = Actor(policy, ACTUATION)
    program, metadata = export_program(actor), as_metadata(card(policy, ROBOT, {"commit": "abc"}))
    write_onnx(program, tmp_path / "policy.onnx", actor, metadata)
    exported = write_program(program, tmp_path / "policy.pt2", metadata)
    assert [path.name for path in tmp_path.glob("policy.onnx*")] == ["policy.onnx"]
    for controls in (load_onnx(tmp_path / "policy.onnx"), exported):
        assert largest_difference(controls, policy, ACTUATION) < LARGEST_DIFFERENCE
        assert latency(controls, Actor(policy, ACTUATION), repeats=20) > 0
        assert controls(np.zeros((3, 2), np.float32)).shape == (3, 2)
    write_int8(tmp_path / "policy.onnx", tmp_path / "policy.int8.onnx")
    rounded = largest_difference(load_onnx(tmp_path / "policy.int8.onnx"), policy, ACTUATION)
    assert LARGEST_DIFFERENCE < rounded < 0.5
    for name in ("policy.onnx", "policy.int8.onnx"):
        session = onnxruntime.InferenceSession(tmp_path / name)
        assert [one.name for one in session.get_outputs()] == ["control"]
        assert session.get_modelmeta().custom_metadata_map.items() >= metadata.items()
    read, seen = dict.fromkeys(metadata, ""), np.ones((3, 2), np.float32)
    by_torch = torch.export.load(tmp_path / "policy.pt2", extra_files=read).module()
    assert read == metadata
    np.testing.assert_array_equal(by_torch(torch.from_numpy(seen)), exported(seen))


def test_a_program_that_somebody_put_in_place_of_ours_is_never_read(
    tmp_path: Path, policy: AdaptablePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``torch.export.load`` executes what a file holds."""
    file, program = tmp_path / "policy.pt2", export_program(Actor(policy, ACTUATION))

    def replaced(path: Path | str, content: bytes) -> None:
        write_atomically(path, content)
        file.write_bytes(pickle.dumps(file))

    monkeypatch.setattr("rlmaml.deploy.export.write_atomically", replaced)
    assert largest_difference(write_program(program, file, {}), policy, ACTUATION) < LARGEST_DIFFERENCE
    for read in (load, load_onnx, read_episodes):
        with pytest.raises(UserError, match=r"policy\.pt2"):
            read(file)


@pytest.mark.parametrize(
    "mode",
    [
        lambda: put_back(torch.set_default_dtype, torch.float64, torch.float32),
        lambda: put_back(torch.set_default_device, "meta", "cpu"),
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    ],
)
def test_files_are_the_same_whatever_somebodys_torch_is_set_to(
    tmp_path: Path, policy: AdaptablePolicy, mode: Callable[[], contextlib.AbstractContextManager[Any]]
) -> None:
    """In double precision they took other inputs, and in mixed precision they had three digits."""
    for name, somebodys in (("ours", contextlib.nullcontext), ("theirs", mode)):
        with somebodys():
            actor = Actor(policy, ACTUATION)
            program = export_program(actor)
            write_onnx(program, tmp_path / f"{name}.onnx", actor, {})
            exported = write_program(program, tmp_path / f"{name}.pt2", {})
            for controls in (load_onnx(tmp_path / f"{name}.onnx"), exported):
                assert largest_difference(controls, policy, ACTUATION) < LARGEST_DIFFERENCE
                assert latency(controls, actor, repeats=10) > 0
    assert (tmp_path / "ours.onnx").read_bytes() == (tmp_path / "theirs.onnx").read_bytes()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x08\x0a\x12" * 40])
def test_a_file_that_is_no_exported_policy_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "policy.x").write_bytes(content)
    for name in ("policy.x", "absent"):
        with pytest.raises(UserError, match=f"{name} is missing, damaged or no exported policy: .*Export it again"):
            load_onnx(tmp_path / name)


@pytest.mark.parametrize("package", ["onnxscript", "onnxruntime", "onnxruntime.quantization"])
def test_without_the_packages_for_onnx_the_message_names_them(
    tmp_path: Path, policy: AdaptablePolicy, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    needs: dict[str, Callable[[], object]] = {
        "onnxscript": lambda: write_onnx(
            export_program(Actor(policy, WHOLE)), tmp_path / "policy.onnx", Actor(policy, WHOLE), {}
        ),
        "onnxruntime": lambda: load_onnx(tmp_path / "policy.onnx"),
        "onnxruntime.quantization": lambda: write_int8(tmp_path / "policy.onnx", tmp_path / "policy.int8.onnx"),
    }
    with pytest.raises(UserError, match="pip install onnx onnxruntime onnxscript"):
        needs[package]()


def test_normalised_files_give_the_policys_actions_whatever_the_actuators(policy: AdaptablePolicy) -> None:
    rover = make_tasks_env("RoverGoal-v0", 1)
    assert robot_of(rover).actuation.half_width.tolist() == [20.0, 20.0]
    robot = robot_of(rover, normalised=True)
    seen = np.random.default_rng(2).standard_normal((5, 2)).astype(np.float32)
    given = Actor(policy, robot.actuation)(torch.from_numpy(seen)).numpy()
    np.testing.assert_allclose(given, policy.act(seen), atol=1e-6)
    told = card(policy, robot, {})
    assert told["control"]["is"] == normalised_actuation(2).output == "action"
    assert told["control"]["scale"] == [1.0, 1.0]
    assert (told["actuators"]["names"], told["actuators"]["scale"]) == (["left", "right"], [20.0, 20.0])
    assert told["actuators"]["units"] == ["rad/s", "rad/s"]
    assert "actuators" not in card(policy, robot_of(rover), {})
    assert robot.seconds_per_step == pytest.approx(0.1)
    assert robot.observation_names[:2] == ("range_0", "range_1")
    assert robot.observation_units[7:9] == ("m", "rad/s")


def test_a_wrong_file_is_seen(policy: AdaptablePolicy) -> None:
    shifted = lambda observations: 0.4 * (policy.act(observations) + np.float32(1e-3))
    motors = Actuation(np.array([[-0.4, 0.4]] * 2))
    assert largest_difference(shifted, policy, motors) == pytest.approx(1e-3, rel=0.01)


def test_the_return_of_a_file_is_that_of_the_policy(policy: AdaptablePolicy) -> None:
    env = navigation()
    actor = Actor(policy, WHOLE)
    controls = lambda observations, rewards: actor(torch.from_numpy(observations)).numpy()
    expected = 0.0
    observation, _ = env.reset(seed=[3, 4, 5, 6, 7, 8])
    for _ in range(HORIZON):
        observation, reward, *_ = env.step(policy.act(observation).astype(np.float64))
        expected += float(reward.mean())
    assert returns_of(env, controls, WHOLE, HORIZON, 3).mean() == pytest.approx(expected, rel=1e-5)


def recorded(policy: AdaptablePolicy, episodes: int, **options: Any) -> RecordedEpisodes:
    """Episodes of a policy where its teacher, if it has one, would be told the goal."""
    return policy.record(navigation(episodes, observe_task=bool(policy.sizes.task)), 0, **options)


REMEMBERING: dict[str, Callable[[], AdaptablePolicy]] = {
    "rl2": lambda: trained_policy(LIVES),
    "rl2, having lived through episodes": lambda: trained_policy(LIVES),
    "rma": student,
    "rma, having lived through episodes": lambda: student(trial_episodes=4),
}


QUICK = ("rl2, having lived through episodes", "rma")
"""Whose files every suite compares."""


@pytest.fixture(scope="module", params=REMEMBERING)
def remembering(request: pytest.FixtureRequest) -> AdaptablePolicy:
    """A policy with a memory, with weights far from their initial values."""
    policy = moved(REMEMBERING[request.param](), 0.3)
    return policy.adapt(recorded(policy, 6)) if "lived" in request.param else policy


@pytest.mark.parametrize(
    "remembering",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in REMEMBERING],
    indirect=True,
)
def test_files_of_a_policy_that_remembers_do_what_it_does_through_episodes(
    tmp_path: Path, remembering: AdaptablePolicy
) -> None:
    actor = Actor(remembering, ACTUATION)
    program = export_program(actor)
    write_onnx(program, tmp_path / "policy.onnx", actor, {})
    for controls in (load_onnx(tmp_path / "policy.onnx"), write_program(program, tmp_path / "policy.pt2", {})):
        assert largest_difference(controls, remembering, ACTUATION) < LARGEST_DIFFERENCE
        assert latency(controls, actor, repeats=20) > 0
    forgets = lambda *inputs: controls(inputs[0], inputs[1], np.zeros_like(inputs[2]))
    assert largest_difference(forgets, remembering, ACTUATION) > 0.01
    unpaid = lambda *inputs: controls(inputs[0], np.zeros_like(inputs[1]), inputs[2])
    assert largest_difference(unpaid, remembering, ACTUATION) > 0.01


def by_actor(policy: AdaptablePolicy) -> Any:
    """What a policy's files compute, without a file."""
    actor = Actor(policy, WHOLE)
    return lambda *inputs: [output.numpy() for output in actor(*map(torch.from_numpy, inputs))]


def test_a_memory_that_goes_wrong_in_the_last_step_of_an_episode_is_seen(remembering: AdaptablePolicy) -> None:
    long = dataclasses.replace(remembering, settings=remembering.settings.changed(horizon=40))
    exact, steps = by_actor(long), 0

    def tires(*inputs: np.ndarray) -> Any:
        nonlocal steps
        steps += 1
        commanded, state = exact(*inputs)
        return commanded + (steps % 40 == 0), state

    assert largest_difference(exact, long, WHOLE) < LARGEST_DIFFERENCE
    assert largest_difference(tires, long, WHOLE) > 0.9


@pytest.mark.parametrize(
    ("fresh", "seen"), [(trained_policy(LIVES), True), (student(trial_episodes=4), True), (student(), False)]
)
def test_a_file_that_forgets_what_was_before_an_episode_is_seen_but_of_who_forgets_it_too(
    fresh: AdaptablePolicy, *, seen: bool
) -> None:
    policy = moved(fresh, 0.3)
    exact = by_actor(policy)

    def forgets(observation: np.ndarray, reward: np.ndarray, state: np.ndarray) -> Any:
        begun = state[:, -1:] == 1
        return exact(observation, np.where(begun[:, 0], reward, 0), np.where(begun, state, 0))

    assert largest_difference(exact, policy, WHOLE) < LARGEST_DIFFERENCE
    assert (largest_difference(forgets, policy, WHOLE) > 0.01) == seen
    endless = dataclasses.replace(policy, settings=policy.settings.changed(horizon=None))
    with pytest.raises(UserError, match="over whole episodes, and its settings have --horizon None"):
        largest_difference(exact, endless, WHOLE)


@pytest.mark.filterwarnings("ignore:Nothing is remembered")
def test_with_the_state_that_the_card_keeps_the_next_episode_begins_as_that_of_a_policy_that_lived_through_the_last(
    remembering: AdaptablePolicy,
) -> None:
    controls, said = by_actor(remembering), card(remembering, ROBOT, {})["memory"]
    episode = recorded(remembering, 1, actions="mean")
    state = np.array([said["at_the_start"]], np.float32)
    earned = [said["reward_at_the_start"], *episode.rewards]
    for observation, reward in zip(episode.observations[:, : remembering.observed], earned, strict=False):
        _, state = controls(np.array([observation], np.float32), np.array([reward], np.float32), state)
    assert state[0, -1] == 1.0
    if keeps := said["next_episode_on_the_same_robot"].startswith("keep the state, and set its last number to 0"):
        state[0, -1] = 0.0
    else:
        assert said["next_episode_on_the_same_robot"].startswith("begin as at the start")
        state[0], earned[-1] = said["at_the_start"], said["reward_at_the_start"]
    next_one = card(remembering.adapt(episode), ROBOT, {})["memory"]
    np.testing.assert_allclose(state[0], next_one["at_the_start"], rtol=0, atol=1e-6)
    assert next_one["reward_at_the_start"] == pytest.approx(earned[-1])
    assert (np.abs(state[0] - said["at_the_start"]).max() > 0.1) == keeps


def test_the_card_says_how_a_memory_is_carried(remembering: AdaptablePolicy) -> None:
    state = json.loads(json.dumps(card(remembering, ROBOT, {})))["memory"]
    assert state["size"] == len(state["at_the_start"]) == Actor(remembering, WHOLE).state_size == 4 + 2 + 1
    lived = remembering.memory
    assert any(state["at_the_start"]) == (lived is not None)
    if lived is not None:
        assert state["at_the_start"][:4] == pytest.approx(lived.carry.flatten().tolist())
        assert state["at_the_start"][4:] == pytest.approx([*lived.last_action.flatten().tolist(), 0.0])
        assert state["reward_at_the_start"] == pytest.approx(float(lived.last_reward))
    assert state["each_step"] == "give the last reward and the state; keep next_state for the next step"
    assert "of zeros, and a reward of 0" in state["on_another_robot"]
    between = state["next_episode_on_the_same_robot"]
    if remembering.settings.algorithm == "rl2":
        assert between == "keep the state, and set its last number to 0"
    elif lived is None:  # a trial of one episode
        assert between == "begin as at the start: nothing is kept of an episode"
    else:  # the second of two trials of four episodes, two of which are over
        assert between.endswith("after 2 episodes, and then after every 4, set all of it to 0, and the reward")


def test_a_policy_that_remembers_earns_by_its_file_what_it_earns_in_person(remembering: AdaptablePolicy) -> None:
    env, controls, driver = navigation(), by_actor(remembering), Driver(remembering, 6)
    observation, _ = env.reset(seed=[3, 4, 5, 6, 7, 8])
    expected, reward = 0.0, np.zeros(6)
    for _ in range(HORIZON):
        observation, reward, *_ = env.step(driver.act(observation, reward).astype(np.float64))
        expected += float(reward.mean())
    by_file = returns_of(env, Driven(controls, remembering, 6), WHOLE, HORIZON, 3).mean()
    assert by_file == pytest.approx(expected, rel=1e-5)


def test_a_policy_that_chooses_is_refused() -> None:
    settings, sizes = configure(policy="categorical", hidden=(4,)), Sizes(2, 3, discrete=True)
    params = make_policy("categorical", settings.network, sizes).init(0)
    with pytest.raises(UserError, match="export"):
        Actor(as_policy(Checkpoint(Meta(params, {}), 0, settings, sizes)), ACTUATION)


def test_the_card_is_plain_data_with_units(policy: AdaptablePolicy) -> None:
    text = json.loads(json.dumps(card(policy, ROBOT, {"commit": "abc"})))
    assert text["observation"]["size"] == text["control"]["size"] == 2
    assert text["observation"] == {"size": 2, "names": ["x", "y"], "units": ["m", "m"]}
    assert text["control"]["range"] == [[-0.4, 0.4], [0.0, 2.5]]
    assert text["control"]["names"] == ["wheel", "brake"]
    assert text["control"]["units"] == ["N m", "N"]
    assert text["control"]["scale"] == [0.4, 1.25]
    assert text["control"]["offset"] == [0.0, 1.25]
    assert text["seconds_per_step"] == 0.1
    assert text["horizon"] == HORIZON
    assert text["memory"] is None
    assert text["task_units"] == {"goal": "m"}
    assert text["training"]["meta_iterations"] == 3
    assert text["network"]["kind"] == "gaussian"
    assert text["network"]["hidden"] == [16, 8]
    assert text["network"]["observations_divided_by"] == [0.5, 3.0]
    assert text["commit"] == "abc"


def test_the_files_hold_a_robots_function_from_actions_to_controls(tmp_path: Path, policy: AdaptablePolicy) -> None:
    actor = Actor(policy, STEERED)
    program = export_program(actor)
    write_onnx(program, tmp_path / "policy.onnx", actor, {})
    exported = write_program(program, tmp_path / "policy.pt2", {})
    seen = np.random.default_rng(2).standard_normal((5, 2)).astype(np.float32)
    expected = steered(np, policy.act(seen))
    for controls in (load_onnx(tmp_path / "policy.onnx"), exported):
        np.testing.assert_allclose(controls(seen), expected, atol=1e-6)
        assert largest_difference(controls, policy, STEERED) < LARGEST_DIFFERENCE
        assert latency(controls, actor, repeats=20) > 0
        other = STEERED._replace(function=lambda xp, actions: steered(xp, actions) + 0.2)
        assert largest_difference(controls, policy, other) == pytest.approx(0.1, rel=0.01)
    text = json.loads(json.dumps(card(policy, Robot(STEERED), {})))["control"]
    assert text["size"] == 3
    assert text["scale"] is text["offset"] is None
    assert "of 2 numbers, through the robot's function" in text["meaning"]
    with pytest.raises(UserError, match="cannot be measured"):
        returns_of(navigation(), lambda seen, rewards: seen, STEERED, HORIZON, 0)


@pytest.mark.parametrize(
    "function",
    [
        lambda xp, actions: actions @ np.ones((2, 3)),
        lambda xp, actions: actions * xp.asarray([1.0, 2.0], dtype=xp.float64),
        lambda xp, actions: np.tanh(actions.numpy()),
    ],
)
def test_a_function_that_tensors_cannot_take_is_refused_with_what_to_write(
    policy: AdaptablePolicy, function: Any
) -> None:
    with pytest.raises(UserError, match=r"cannot be exported.*xp.asarray\(numbers, dtype=actions.dtype\)"):
        Actor(policy, Actuation(np.array([[-2.0, 2.0]] * 3), function))
