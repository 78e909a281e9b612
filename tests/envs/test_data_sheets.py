"""The numbers of the robots' data sheets, written down a second time and by hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rlmaml_envs import KNOWN_IDS, horizon_of, make_tasks_env, published_returns
from rlmaml_envs.locomotion import LocomotionFamily, Motion
from rlmaml_envs.registry import load_family

Ranges = dict[str, tuple[Any, Any, Any, Any]]
"""Task parameter -> least and largest value in training, and beyond it."""


def factors(base: float) -> tuple[float, float, float, float]:
    return base**-3, base**3, base**-4, base**4


def changed(last_joint: int, heaviest: float) -> dict[str, Ranges]:
    ranges: dict[str, Ranges] = {
        "damaged": {"dead_joint": (1, last_joint - 1, 0, last_joint)},
        "intact": {"dead_joint": (0, 0, 0, last_joint)},
        "payload": {"payload": (0, heaviest, 0, 1.5 * heaviest)},
        "friction": {"friction": (0.4, 1.6, 0.2, 2.0)},
    }
    ranges["combined"] = ranges["damaged"] | ranges["payload"] | ranges["friction"]
    ranges |= {f"{name}_velocity": {**own, "velocity": (0, 3, 0, 4)} for name, own in ranges.items()}
    return ranges | {name: one_change(last_joint, kinds) for name, kinds in KINDS.items()}


KINDS = {
    "any": "dead inverted swapped offset",
    "dead": "dead",
    "inverted": "inverted",
    "swapped": "swapped",
    "offset": "offset",
    "unchanged": "",
    "any_but_dead": "inverted swapped offset",
    "any_but_inverted": "dead swapped offset",
    "any_but_swapped": "dead inverted offset",
    "any_but_offset": "dead inverted swapped",
}


def one_change(joints: int, kinds: str) -> Ranges:
    identity = np.eye(joints)
    return {
        "dead_joint": (0, joints if "dead" in kinds else 0, 0, joints),
        "motor_gain": (-1, 1, -1, 1) if "inverted" in kinds else (1, 1, -1, 1),
        "motor_permutation": (0, 1, 0, 1) if "swapped" in kinds else (identity, identity, 0, 1),
        "encoder_offset": (-0.3, 0.3, -0.3, 0.3) if "offset" in kinds else (0, 0, -0.3, 0.3),
    }


EITHER_WAY: Ranges = {"backward": (0, 1, 0, 1)}
ANY_WAY: Ranges = {"direction": (-np.pi, np.pi, -np.pi, np.pi)}
HALF_WAY: Ranges = {"direction": (-np.pi / 2, np.pi / 2, -np.pi, np.pi)}
PARAMETERS: Ranges = {
    "mass": factors(1.5),
    "inertia": factors(1.5),
    "damping": factors(1.3),
    "friction": factors(1.5),
}

RANGES: dict[str, dict[str, Ranges]] = {
    "HalfCheetahVel-v0": {
        "finn2017": {"velocity": (0, 2, 0, 3)},
        "rothfuss2019": {"velocity": (0, 3, 0, 4)},
        "raghu2020": {"velocity": (0, 2, 0, 3)},
    },
    "HalfCheetahDir-v0": {"finn2017": EITHER_WAY, "rothfuss2019": EITHER_WAY},
    "HalfCheetahChanged-v0": changed(6, 6.0),
    "AntVel-v0": {"finn2017": {"velocity": (0, 3, 0, 4)}, "gymnasium": {"velocity": (0, 3, 0, 4)}},
    "AntDir-v0": {"finn2017": EITHER_WAY, "gymnasium": EITHER_WAY},
    "AntDir2D-v0": {"gymnasium": ANY_WAY, "finn2017": ANY_WAY, "half_plane": HALF_WAY},
    "AntGoal-v0": {"rothfuss2019": {"distance": (0, 3, 0, 4.5), **ANY_WAY}},
    "AntChanged-v0": changed(8, 0.5),
    "Walker2dVel-v0": {"gymnasium": {"velocity": (0, 3, 0, 4)}, "rothfuss2019": {"velocity": (0, 10, 0, 12)}},
    "Walker2dParams-v0": {
        "rothfuss2019": PARAMETERS,
        "rakelly2019": PARAMETERS,
        "velocity": {"velocity": (0, 3, 0, 4), **PARAMETERS},
    },
    "HopperParams-v0": {"rothfuss2019": PARAMETERS, "velocity": {"velocity": (0, 2, 0, 3), **PARAMETERS}},
    "HumanoidDir2D-v0": {"gymnasium": ANY_WAY, "half_plane": HALF_WAY},
    "SwimmerVel-v0": {"gymnasium": {"velocity": (0, 0.2, 0, 0.3)}},
}
EVERY = [(env_id, variant) for env_id, variants in RANGES.items() for variant in variants]

SHORT = {("HalfCheetahVel-v0", "rothfuss2019"), ("HalfCheetahDir-v0", "rothfuss2019")}
"""Of 100 control steps, as all of HalfCheetahChanged; the other robots' episodes have 200."""

TASK = {"velocity": 0.5, "backward": 1, "direction": np.pi / 2, "distance": 2.0}
SPEED, PLACE, ACTION, FORCE = (2.0, -1.0), (1.0, -1.0), 0.5, 1000.0

AT_SPEED = {"velocity_error_cost": -1.5}  # -|2 - 0.5|
BACKWARD, LEFT, FORWARD = ({"forward_reward": value} for value in (-2.0, -1.0, 2.0))
CHEETAH = {"control_cost": -0.075}  # -0.05 * 6 * 0.25
CONTACT = {"contact_cost": -0.042}  # -0.0005 * 14 * 6 forces of 1, clipped
ANT_FINN = {"control_cost": -0.01, **CONTACT, "survive_reward": 0.05}  # -0.005 * 8 * 0.25
ANT = {"control_cost": -1.0, **CONTACT, "survive_reward": 1.0}  # -0.5 * 8 * 0.25
WALKER = {"control_cost": -0.0015}  # -0.001 * 6 * 0.25

TERMS: dict[tuple[str, str], dict[str, float]] = {
    ("HalfCheetahVel-v0", "finn2017"): AT_SPEED | CHEETAH,
    ("HalfCheetahVel-v0", "rothfuss2019"): AT_SPEED | CHEETAH,
    ("HalfCheetahVel-v0", "raghu2020"): AT_SPEED | CHEETAH,
    ("HalfCheetahDir-v0", "finn2017"): BACKWARD | CHEETAH,
    ("HalfCheetahDir-v0", "rothfuss2019"): BACKWARD | CHEETAH,
    ("AntVel-v0", "finn2017"): AT_SPEED | {"goal_reward": 1.0} | ANT_FINN,
    ("AntVel-v0", "gymnasium"): AT_SPEED | ANT,
    ("AntDir-v0", "finn2017"): BACKWARD | ANT_FINN,
    ("AntDir-v0", "gymnasium"): BACKWARD | ANT,
    ("AntDir2D-v0", "gymnasium"): LEFT | ANT,
    ("AntDir2D-v0", "finn2017"): LEFT | ANT_FINN,
    ("AntDir2D-v0", "half_plane"): LEFT | ANT,
    # the goal is at (0, 2): -|1 - 0| - |-1 - 2|; -0.1 * 8 * 0.25
    ("AntGoal-v0", "rothfuss2019"): {"distance_cost": -4.0, "control_cost": -0.2, **CONTACT},
    ("Walker2dVel-v0", "gymnasium"): AT_SPEED | WALKER | {"survive_reward": 5.0},
    ("Walker2dVel-v0", "rothfuss2019"): AT_SPEED | WALKER | {"survive_reward": 15.0},
    ("Walker2dParams-v0", "rothfuss2019"): FORWARD | WALKER | {"survive_reward": 1.0},
    ("Walker2dParams-v0", "rakelly2019"): FORWARD | WALKER | {"survive_reward": 1.0},
    ("Walker2dParams-v0", "velocity"): AT_SPEED | WALKER | {"survive_reward": 5.0},
    # -0.001 * 3 * 0.25
    ("HopperParams-v0", "rothfuss2019"): FORWARD | {"control_cost": -0.00075, "survive_reward": 1.0},
    ("HopperParams-v0", "velocity"): AT_SPEED | {"control_cost": -0.00075, "survive_reward": 4.0},
    # 1.25 * -1; -0.1 * 17 * (0.4 * 0.5)^2; at most 10; 5
    ("HumanoidDir2D-v0", "gymnasium"): {
        "forward_reward": -1.25,
        "control_cost": -0.068,
        "contact_cost": -10.0,
        "survive_reward": 5.0,
    },
    ("SwimmerVel-v0", "gymnasium"): AT_SPEED | {"control_cost": -0.00005},  # -0.0001 * 2 * 0.25
}
TERMS["HumanoidDir2D-v0", "half_plane"] = TERMS["HumanoidDir2D-v0", "gymnasium"]
for _id, _costs in (("HalfCheetahChanged-v0", CHEETAH), ("AntChanged-v0", ANT)):
    TERMS |= {(_id, name): (AT_SPEED if "velocity" in name else FORWARD) | _costs for name in RANGES[_id]}


def test_every_robot_and_variant_is_written_down() -> None:
    robots = {env_id for env_id in KNOWN_IDS if isinstance(load_family(env_id), LocomotionFamily)}
    known = robots - {"RoverGoal-v0"}  # it has tests of its own
    assert {(env_id, variant) for env_id in known for variant in load_family(env_id).variants} == set(EVERY)
    assert set(TERMS) == set(EVERY)
    for env_id in known:
        assert next(iter(load_family(env_id).variants)) == next(iter(RANGES[env_id]))


@pytest.mark.usefixtures("untried")
@pytest.mark.parametrize(("env_id", "variant"), EVERY)
def test_tasks_have_their_ranges_in_training_and_beyond(env_id: str, variant: str) -> None:
    env, ranges = make_tasks_env(env_id, 1, variant=variant), RANGES[env_id][variant]
    assert set(env.task_space) == set(env.wide_task_space) == set(ranges)
    for name, expected in ranges.items():
        bounds = []
        for space in (env.task_space[name], env.wide_task_space[name]):
            bounds += [space.start, space.start + space.n - 1] if hasattr(space, "n") else [space.low, space.high]  # type: ignore[attr-defined]
        for bound, value in zip(bounds, expected, strict=True):
            np.testing.assert_allclose(bound, value)


@pytest.mark.parametrize(("env_id", "variant"), EVERY)
def test_an_episode_is_as_long_as_published(env_id: str, variant: str) -> None:
    is_short = env_id == "HalfCheetahChanged-v0" or (env_id, variant) in SHORT
    assert load_family(env_id).variants[variant].horizon == (100 if is_short else 200)


@pytest.mark.parametrize(("env_id", "variant"), EVERY)
def test_terms_are_those_of_a_motion_reckoned_by_hand(env_id: str, variant: str) -> None:
    definition: Any = load_family(env_id).variants[variant]
    physics: Any = SimpleNamespace(outputs={"cfrc_ext": np.full((2, 14, 6), FORCE)})
    motion = Motion(
        velocity=np.tile(SPEED, (2, 1)),
        position=np.tile(PLACE, (2, 1)),
        actions=np.full((2, definition.body.build().nu), ACTION),
        healthy=np.array([True, False]),
        physics=physics,
    )
    task = {name: np.full(2, value) for name, value in TASK.items()}
    terms = {name: term(motion, task) for name, term in definition.reward_terms.items()}
    expected = TERMS[env_id, variant]
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        standing, fallen = terms[name]
        assert standing == pytest.approx(value, rel=1e-12)
        survives = name == "survive_reward" and variant != "finn2017"  # finn2017 pays also in the step of a fall
        assert fallen == (0.0 if survives else standing)


MAML = {
    ("Navigation2D-v0", "finn2017"): ("MAML, published", (-40.41, -11.68, -3.33, -3.23)),
    ("HalfCheetahVel-v0", "finn2017"): ("MAML, published", (-129.53, -78.57, -66.62, -60.78)),
    ("HalfCheetahDir-v0", "finn2017"): ("MAML, published", (-50.69, 293.19, 313.48, 315.65)),
    ("AntVel-v0", "finn2017"): ("MAML, published", (30.58, 96.74, 100.06, 101.41)),
    ("AntDir-v0", "finn2017"): ("MAML, 40 episodes, published", (8.66, 499.15, 500.68, 499.11)),
}


def test_published_returns_belong_to_their_own_problem_at_its_own_horizon_alone() -> None:
    for env_id in KNOWN_IDS:
        for variant in load_family(env_id).variants:
            horizon = horizon_of(env_id, variant)
            published = published_returns(env_id, variant, horizon)
            assert bool(published) == ((env_id, variant) in MAML)
            if published:
                name, returns = MAML[env_id, variant]
                assert published[name].means == returns
                assert len(published["oracle, published"].means) == 1
                assert all(len(row.means) in (1, 4) and row.tasks == 40 for row in published.values())
                few = {row.episodes for name, row in published.items() if "40 episodes" not in name}
                assert few == {40 if env_id == "Navigation2D-v0" else 20}
                assert not published_returns(env_id, variant, horizon + 1)
    with pytest.raises(ValueError, match="has no variant"):
        published_returns("AntDir-v0", "none", 200)
