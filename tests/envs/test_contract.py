from typing import ClassVar

import numpy as np
import pytest

from rlmaml_envs import KNOWN_IDS
from rlmaml_envs.registry import FAMILIES, load_family
from tests.envs.contract import Ending, EnvironmentContract, PictureContract, RecordingContract, make

__all__ = ["make"]

WALKER = {"mass": np.ones(7), "inertia": np.ones(7), "damping": np.ones(6), "friction": np.ones(8)}
HOPPER = {"mass": np.ones(4), "inertia": np.ones(4), "damping": np.ones(3), "friction": np.ones(5)}
WALKER_FALLS, HOPPER_FALLS = [-1.0, -1.0, -1.0, -1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]
HUMANOID_FALLS = [
    float(sign)
    for sign in ["-1", "-1", "-1", "1", "1", "-1", "-1", "1", "-1", "-1", "-1", "1", "1", "1", "1", "-1", "-1"]
]

FEW_CHANGES = {"damaged", "swapped", "any"}
"""Of the ant, in the fast suite: the changes themselves are those of the half-cheetah, all of which are there."""
EVERY = [
    pytest.param(
        *(env_id, variant),
        marks=[pytest.mark.slow] if env_id == "AntChanged-v0" and variant not in FEW_CHANGES else [],
    )
    for env_id in KNOWN_IDS
    for variant in load_family(env_id).variants
]
FIRST = [(env_id, next(iter(load_family(env_id).variants))) for env_id in KNOWN_IDS]
OF_EVERY_FILE = {str(FAMILIES[env_id].family).split(":")[0]: (env_id, variant) for env_id, variant in reversed(FIRST)}
"""File of ``rlmaml_envs`` -> a variant: every robot, and navigation."""
OF_EVERY_CLASS = {
    maker if isinstance(maker := load_family(env_id), type) else type(maker): (env_id, variant)
    for env_id, variant in reversed(FIRST)
}


@pytest.mark.parametrize(("env_id", "variant"), EVERY)
class TestEveryEnvironment(EnvironmentContract):
    endings: ClassVar = {
        ("Navigation2D-v0", "finn2017"): Ending({"goal": np.array([0.15, -0.09])}, [0.5, -0.3]),
        ("Navigation2D-v0", "dynamics"): Ending(
            {"wind": np.array([0.02, 0.0]), "gain": np.array(1.0), "rotation": np.array(0.0)}, [0.55, 1.0]
        ),
        ("Walker2dVel-v0", "gymnasium"): Ending({"velocity": np.array(1.0)}, WALKER_FALLS, horizon=8),
        ("Walker2dVel-v0", "rothfuss2019"): Ending({"velocity": np.array(1.0)}, WALKER_FALLS, horizon=5),
        ("Walker2dParams-v0", "rothfuss2019"): Ending(WALKER, WALKER_FALLS, horizon=7),
        ("Walker2dParams-v0", "rakelly2019"): Ending(WALKER, WALKER_FALLS, horizon=7),
        ("HopperParams-v0", "rothfuss2019"): Ending(HOPPER, HOPPER_FALLS, horizon=8),
        ("HumanoidDir2D-v0", "gymnasium"): Ending({"direction": np.array(0.0)}, HUMANOID_FALLS, horizon=15),
        ("HumanoidDir2D-v0", "half_plane"): Ending({"direction": np.array(0.0)}, HUMANOID_FALLS, horizon=15),
    }


@pytest.mark.parametrize(("env_id", "variant"), OF_EVERY_FILE.values())
class TestEveryRobot(PictureContract):
    pass


@pytest.mark.parametrize(("env_id", "variant"), OF_EVERY_CLASS.values())
class TestEveryClass(RecordingContract):
    pass
