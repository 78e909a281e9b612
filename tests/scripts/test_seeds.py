"""Neighbouring seeds are strangers: no episode of one is an episode of the other."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from rlmaml_envs.generators import CopyGenerators
from tests.scripts.test_scripts import run_script, trained

__all__ = ["trained"]

COMMANDS: dict[str, tuple[object, ...]] = {
    "adapt.py": ("--steps", 2, "--episodes-per-step", 3, "--output", "new.safetensors"),
    "adapt.py --online": ("--steps", 2, "--episodes-per-step", 3, "--output", "new.safetensors"),
    "render.py": ("--episodes-per-step", 3, "--steps", 2, "--output", "film.gif"),
    "export.py --int8": ("--output", "exported"),
}


@pytest.mark.usefixtures("operators_read_once")
@pytest.mark.parametrize(
    "command",
    [pytest.param(name, marks=[pytest.mark.slow] * name.startswith(("render", "export"))) for name in COMMANDS],
)
def test_no_episode_of_one_seed_begins_as_one_of_the_next(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    begun: set[int] = set()
    seeded = CopyGenerators.seed

    def seed(self: CopyGenerators, copies: Sequence[int], seeds: Sequence[int | None]) -> None:
        begun.update(one for one in seeds if one is not None)
        seeded(self, copies, seeds)  # type: ignore[arg-type]

    monkeypatch.setattr(CopyGenerators, "seed", seed)
    script, *flags = command.split()
    seen = []
    for number in range(2):
        begun.clear()
        assert run_script(script, trained, *flags, *COMMANDS[command], "--overwrite", "--seed", number) == 0
        seen.append(set(begun))
    assert all(len(one) >= 4 for one in seen)
    assert len(set.union(*seen)) == sum(map(len, seen))
