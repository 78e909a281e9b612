import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENTRIES = """[rlmaml.families]
Carts-v0 = offering.robots:Carts
Broken-v0 = offering.broken:Carts
Nothing-v0 = offering.robots:NOTHING
"""


def package(folder: Path, entries: str) -> None:
    """A package as pip would have installed it."""
    (folder / "offering").mkdir()
    (folder / "offering" / "robots.py").write_text(
        "from tests.envs.robots import family\nCarts, NOTHING = family(), 3\nprint('imported')\n"
    )
    (folder / "offering" / "broken.py").write_text("1 / 0\n")
    installed = folder / "offering-1.2.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: offering\nVersion: 1.2\n")
    (installed / "entry_points.txt").write_text(entries)


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    words = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(folder)!r}]\n{code}"
    return subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True, cwd=folder)


def test_a_package_that_is_installed_offers_its_families_and_is_imported_when_they_are_used(tmp_path: Path) -> None:
    package(tmp_path, ENTRIES)
    code = (
        "import gymnasium, rlmaml_envs\n"
        "print(gymnasium.spec('Carts-v0').id, len(rlmaml_envs.KNOWN_IDS))\n"
        "print(rlmaml_envs.make_tasks_env('Carts-v0', 2).origin)\n"
        "for broken in ('Broken-v0', 'Nothing-v0'):\n"
        "    try: rlmaml_envs.make_tasks_env(broken, 2)\n"
        "    except ValueError as error: print(error)\n"
    )
    done = run(tmp_path, code)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "Carts-v0 15",
        "imported",
        "offering.robots:Carts of offering 1.2",
        "Broken-v0, of offering.broken:Carts of offering 1.2, cannot be loaded: ZeroDivisionError('division by zero').",
        "Nothing-v0 needs a task family: a LocomotionFamily, or a class that implements TaskFamily and has "
        "`variants`; got 3.",
    ]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("Navigation2D-v0 = offering.robots:Carts", "Navigation2D-v0, which is taken already"),
        ("carts = offering.robots:Carts", "is not of the form MyRobot-v0 = module:NAME"),
        ("Carts-v0 = offering.robots", "is not of the form MyRobot-v0 = module:NAME"),
    ],
)
def test_what_cannot_be_offered_is_left_out_with_a_warning(tmp_path: Path, entry: str, words: str) -> None:
    package(tmp_path, f"[rlmaml.families]\n{entry}\n")
    done = run(tmp_path, "import rlmaml_envs; print(rlmaml_envs.make_tasks_env('Navigation2D-v0', 2).origin)")
    assert done.stdout == "rlmaml_envs.navigation:Navigation2D\n"
    assert "The package offering 1.2 offers as a task family" in done.stderr
    assert words in done.stderr
