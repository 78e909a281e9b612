import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlmaml_envs import KNOWN_IDS
from rlmaml_envs.locomotion import LocomotionFamily
from rlmaml_envs.registry import load_family

ROBOTS = [env_id for env_id in KNOWN_IDS if isinstance(load_family(env_id), LocomotionFamily)]
MAKE = (
    "import gymnasium, rlmaml_envs; env = gymnasium.make('{}'); env.reset(seed=0); env.step(env.action_space.sample())"
)


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("content", ["raise ModuleNotFoundError('mujoco')", "__version__ = '3.3.0'"])
def test_without_mujoco_4_every_robot_says_which_version_is_needed(tmp_path: Path, content: str) -> None:
    (tmp_path / "mujoco").mkdir()
    (tmp_path / "mujoco" / "__init__.py").write_text(content + "\n")
    lines = [f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import gymnasium, rlmaml_envs"]
    for env_id in ROBOTS:
        lines += ["try:", f"    gymnasium.make({env_id!r})", "except ImportError as error:", "    print(error)"]
    result = python("\n".join(lines))
    assert result.stdout.count("MuJoCo 4 or newer") == len(ROBOTS), result.stderr
    assert result.stdout.count("pip install 'mujoco>=4'") == len(ROBOTS)


@pytest.mark.parametrize("backend", ["nothing", "osmesa", "EGL", "disable"])
def test_robots_are_stepped_whatever_backend_of_opengl_is_chosen(backend: str) -> None:
    result = python(MAKE.format("HopperParams-v0") + "; import os; print(os.environ['MUJOCO_GL'])", MUJOCO_GL=backend)
    assert result.stdout == f"{backend}\n", result.stderr
