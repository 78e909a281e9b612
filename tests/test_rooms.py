import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_rlmaml_never_imports_envs_and_envs_never_imports_torch_or_rlmaml() -> None:
    for path in (ROOT / "rlmaml").rglob("*.py"):
        assert not re.search(r"^\s*(import|from) envs\b", path.read_text(), re.MULTILINE), path
    for path in (ROOT / "envs").glob("*.py"):
        assert not re.search(r"^\s*(import|from) (torch|rlmaml)\b", path.read_text(), re.MULTILINE), path
