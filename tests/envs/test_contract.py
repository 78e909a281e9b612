from typing import ClassVar

import numpy as np
import pytest

from envs import KNOWN_IDS
from envs.registry import load_family
from tests.envs.contract import Ending, EnvironmentContract

EVERY = [(env_id, variant) for env_id in KNOWN_IDS for variant in load_family(env_id).variants]


@pytest.mark.parametrize(("env_id", "variant"), EVERY)
class TestEveryEnvironment(EnvironmentContract):
    endings: ClassVar = {
        ("Navigation2D-v0", "finn2017"): Ending({"goal": np.array([0.15, -0.09])}, [0.5, -0.3]),
        ("Navigation2D-v0", "dynamics"): Ending(
            {"wind": np.array([0.02, 0.0]), "gain": np.array(1.0), "rotation": np.array(0.0)}, [0.55, 1.0]
        ),
    }
