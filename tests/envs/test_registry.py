import copy
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gymnasium
import pytest
from gymnasium.vector import SyncVectorEnv

from rlmaml_envs import (
    KNOWN_IDS,
    TaskVectorEnv,
    horizon_of,
    make_tasks_env,
    path_drawing,
    published_returns,
    register_family,
)
from rlmaml_envs.half_cheetah import VELOCITY
from rlmaml_envs.locomotion import Locomotion, LocomotionFamily
from rlmaml_envs.registry import FAMILIES, Entry, data_sheet, load_family


@pytest.mark.parametrize("env_id", KNOWN_IDS)
def test_the_default_horizon_is_in_gymnasiums_spec(env_id: str) -> None:
    assert gymnasium.spec(env_id).max_episode_steps == horizon_of(env_id)
    env = make_tasks_env(env_id, num_envs=2)
    assert isinstance(env, TaskVectorEnv)
    assert env.max_episode_steps == horizon_of(env_id)
    assert make_tasks_env(env_id, num_envs=2, horizon=7).max_episode_steps == 7


EVERY = [(env_id, variant) for env_id in KNOWN_IDS for variant in load_family(env_id).variants]


@pytest.mark.usefixtures("untried")
@pytest.mark.parametrize(("env_id", "variant"), EVERY)
def test_a_batch_has_the_horizon_that_its_variants_data_sheet_states(env_id: str, variant: str) -> None:
    stated = load_family(env_id).variants[variant].horizon
    assert horizon_of(env_id, variant) == stated
    for env in (make_tasks_env(env_id, 1, variant=variant), gymnasium.make_vec(env_id, num_envs=1, variant=variant)):
        assert isinstance(env, TaskVectorEnv)
        assert env.horizon == env.max_episode_steps == stated


def test_a_horizon_that_is_given_goes_before_the_variants() -> None:
    assert make_tasks_env("HalfCheetahVel-v0", 1, 300, variant="rothfuss2019").horizon == 300
    made: Any = gymnasium.make_vec("HalfCheetahVel-v0", num_envs=1, variant="rothfuss2019", max_episode_steps=300)
    assert made.horizon == 300
    again: Any = gymnasium.make_vec(made.spec)
    assert again.horizon == 300


def test_gymnasiums_single_environment_has_the_default_variants_horizon_until_it_is_told_another() -> None:
    short = horizon_of("HalfCheetahVel-v0", "rothfuss2019")
    for options, steps in (({}, 200), ({"variant": "rothfuss2019"}, 200), ({"max_episode_steps": short}, 100)):
        env = gymnasium.make("HalfCheetahVel-v0", **options)
        assert env.spec is not None
        assert env.spec.max_episode_steps == steps
        again = gymnasium.make(env.spec).spec
        assert again is not None
        assert again.max_episode_steps == steps
    unlimited = gymnasium.make("Navigation2D-v0", max_episode_steps=-1)
    unlimited.reset(seed=0, options={"task": {"goal": [0.5, 0.5]}})
    assert not any(unlimited.step(0 * unlimited.action_space.sample())[3] for _ in range(101))


def test_gymnasium_copies_prints_and_vectorises_the_specs() -> None:
    spec = gymnasium.spec("RoverGoal-v0")
    assert copy.deepcopy(spec) == spec
    assert "max_episode_steps=100" in str(spec.pprint(disable_print=True))
    assert gymnasium.envs.registration.EnvSpec.from_json(spec.to_json()).max_episode_steps == 100
    assert "RoverGoal-v0" in str(gymnasium.pprint_registry(disable_print=True))
    assert isinstance(gymnasium.make_vec("Navigation2D-v0", num_envs=2, vectorization_mode="sync"), SyncVectorEnv)


@pytest.mark.parametrize(("horizon", "expected"), [(None, 30), (8, 8)])
def test_a_family_of_ones_own_has_its_variants_horizon_or_the_one_it_is_registered_with(
    horizon: int | None, expected: int
) -> None:
    family = LocomotionFamily("Cheetah", {"mine": replace(VELOCITY.variants["finn2017"], horizon=30, published={})})
    try:
        register_family("Cheetah-v0", family, horizon)
        assert horizon_of("Cheetah-v0", "mine") == make_tasks_env("Cheetah-v0", 1).horizon == expected
        assert gymnasium.spec("Cheetah-v0").max_episode_steps == expected
    finally:
        FAMILIES.pop("Cheetah-v0", None)
        gymnasium.registry.pop("Cheetah-v0", None)


def test_a_family_without_any_horizon_is_refused_and_leaves_no_trace() -> None:
    silent: Any = lambda num_copies: None
    silent.variants = {"mine": SimpleNamespace()}
    with pytest.raises(ValueError, match=r"Silent-v0: the variant mine states no horizon.*horizon=\.\.\."):
        register_family("Silent-v0", silent)
    with pytest.raises(gymnasium.error.Error):
        register_family("no version: here", silent, 5)
    assert not {"Silent-v0", "no version: here"} & (set(FAMILIES) | set(gymnasium.registry))
    with pytest.raises(ValueError, match="Navigation2D-v0 has no variant"):
        horizon_of("Navigation2D-v0", "none")


def test_tasks_beyond_the_training_range_have_all_of_their_variant_but_what_was_published() -> None:
    for env_id in ("Navigation2D-v0", "HalfCheetahVel-v0"):
        horizon = horizon_of(env_id, "finn2017")
        assert horizon_of(env_id, "finn2017-beyond") == horizon
        assert path_drawing(env_id, "finn2017-beyond") == path_drawing(env_id, "finn2017")
        assert published_returns(env_id, "finn2017", horizon)
        assert not published_returns(env_id, "finn2017-beyond", horizon)


@pytest.mark.parametrize("env_id", KNOWN_IDS)
def test_a_familys_first_variant_is_its_default(env_id: str) -> None:
    default = make_tasks_env(env_id, num_envs=1)
    first = make_tasks_env(env_id, num_envs=1, variant=next(iter(load_family(env_id).variants)))
    assert default.task_space == first.task_space
    assert default.reward_terms == first.reward_terms


@pytest.mark.parametrize("env_id", KNOWN_IDS)
def test_a_family_says_whether_it_draws_paths_and_has_physics(env_id: str) -> None:
    env = make_tasks_env(env_id, num_envs=1)
    is_robot = isinstance(env.worlds, Locomotion)
    assert env.has_physics == is_robot
    assert (env.worlds.draw_episodes is None) == is_robot
    assert is_robot or path_drawing(env_id) is env.worlds.draw_episodes


def test_asking_how_paths_are_drawn_draws_nothing() -> None:
    code = (
        "import sys, rlmaml_envs; "
        "print(rlmaml_envs.path_drawing('Navigation2D-v0') is not None, 'matplotlib' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "True False\n"


def test_an_unknown_id_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r'no task environment "Navigation3D-v0".*Navigation2D-v0'):
        make_tasks_env("Navigation3D-v0", num_envs=1)


def test_importing_the_package_is_silent_and_leaves_heavy_packages_alone() -> None:
    heavy = ("torch", "rlmaml", "pygame", "mujoco", "matplotlib")
    code = f"import sys, rlmaml_envs; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
    assert result.stderr == ""


def test_every_family_has_a_data_sheet_that_names_it_but_those_registered_without_a_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for env_id in KNOWN_IDS:
        assert env_id in str(data_sheet(env_id))
    monkeypatch.setitem(FAMILIES, "Borrowed-v0", Entry(load_family("HalfCheetahVel-v0"), horizon=5))
    assert data_sheet("Borrowed-v0") is None
