import os

import pytest

os.environ["SDL_VIDEODRIVER"] = "dummy"
pytest.register_assert_rewrite("tests.envs.contract")
