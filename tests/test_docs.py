import re
from pathlib import Path
from typing import Any

import pytest

from envs.registry import FAMILIES
from rlmaml.deploy.export import LARGEST_DIFFERENCE
from tests.rlmaml.shapes import shapes_checked

ROOT = Path(__file__).parents[1]


def test_the_page_about_your_own_robot_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "adapt_your_robot.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 8
    code = "\n".join(blocks)
    for setting in ("    iterations=60,\n", "            horizon=50,\n"):
        assert code.count(setting) == 1
    smaller = "iterations=1, num_tasks=2, num_episodes=4, evaluation_tasks=2, evaluation_episodes=2,"
    code = code.replace("    iterations=60,\n", smaller).replace(
        "            horizon=50,\n", "            horizon=8,\n"
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "envs").symlink_to(ROOT / "envs")
    names: dict[str, Any] = {}
    try:
        with shapes_checked(False):
            exec(code, names)
    finally:
        FAMILIES.pop("RoverSpeed-v0", None)
    output = capsys.readouterr().out
    assert re.search(r"^return -\d+\.\d before, -\d+\.\d after one step$", output, re.MULTILINE)
    assert re.search(r"^attempt 10: return -\d+\.\d(, undone)?$", output, re.MULTILINE)
    assert names["difference"] < LARGEST_DIFFERENCE
    assert (tmp_path / "runs" / "rover" / "adaptation.mp4").stat().st_size > 1000
    assert names["robot"].single_observation_space.shape == (10,)
    assert names["robot"].single_action_space.shape == (2,)
