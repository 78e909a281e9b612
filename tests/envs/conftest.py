import os

import pytest

from rlmaml_envs.registry import FAMILIES

os.environ["SDL_VIDEODRIVER"] = "dummy"
pytest.register_assert_rewrite("tests.envs.contract")


@pytest.fixture
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that asks for this makes robots without trying them out, which the contract of environments does."""
    monkeypatch.setattr("rlmaml_envs.episodes.try_out", lambda *_: None)
    monkeypatch.setattr("rlmaml_envs.episodes.FAMILIES", dict(FAMILIES))
