import subprocess
import sys

import gymnasium
import pytest

from envs import KNOWN_IDS, TaskVectorEnv, make_tasks_env
from envs.registry import FAMILIES, Entry, data_sheet, load_family


@pytest.mark.parametrize("env_id", KNOWN_IDS)
def test_the_default_horizon_is_in_gymnasiums_spec(env_id: str) -> None:
    assert gymnasium.spec(env_id).max_episode_steps == FAMILIES[env_id].horizon
    env = make_tasks_env(env_id, num_envs=2)
    assert isinstance(env, TaskVectorEnv)
    assert env.max_episode_steps == FAMILIES[env_id].horizon
    assert make_tasks_env(env_id, num_envs=2, horizon=7).max_episode_steps == 7


@pytest.mark.parametrize("env_id", KNOWN_IDS)
def test_a_familys_first_variant_is_its_default(env_id: str) -> None:
    default = make_tasks_env(env_id, num_envs=1)
    first = make_tasks_env(env_id, num_envs=1, variant=next(iter(load_family(env_id).variants)))
    assert default.task_space == first.task_space
    assert default.reward_terms == first.reward_terms


def test_an_unknown_id_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r'no task environment "Navigation3D-v0".*Navigation2D-v0'):
        make_tasks_env("Navigation3D-v0", num_envs=1)


def test_importing_the_package_is_silent_and_leaves_heavy_packages_alone() -> None:
    heavy = ("torch", "rlmaml", "pygame", "mujoco", "matplotlib")
    code = f"import sys, envs; print([name for name in {heavy} if name in sys.modules])"
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
