"""What is installed from a wheel is found beside whatever else is called ``envs``, ``rlmaml`` or ``rlmaml_envs``.

The environments are new, but for what the packages depend on: that is not installed anew, a path leads to the packages
of this interpreter.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Sequence
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

USED = """
import gymnasium, rlmaml, rlmaml_envs
print(rlmaml.__file__, rlmaml_envs.__file__, sep="\\n")
for family in ("Navigation2D-v0", "RoverGoal-v0"):
    env = gymnasium.make(family)
    env.reset(seed=0)
    print(env.step(env.action_space.sample())[0].shape)
"""

Python = Callable[..., str]

EMPTY = "rlmaml", "rlmaml_envs"
"""Folders that hold nothing, where programs are run."""


def pip(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words], check=True)


def copied_sources(folder: Path) -> Path:
    """What an installation is made of, in a folder that is not there yet."""
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "rlmaml", "envs"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, because setuptools leaves its own folders beside the sources."""
    sources = copied_sources(tmp_path_factory.mktemp("sources") / "rlmaml")
    pip("wheel", sources, "--no-deps", "--no-build-isolation", "--wheel-dir", sources.parent)
    (built,) = sources.parent.glob("*.whl")
    return built


@pytest.fixture
def python(tmp_path: Path, wheel: Path) -> Python:
    """An interpreter that has the wheel and a path to what it needs, in a directory with folders of the same names."""
    clean = tmp_path / "clean"
    venv.create(clean)
    interpreter = clean / "bin" / "python"
    installed = Path(sysconfig.get_path("purelib", vars={"base": str(clean)}))
    shutil.unpack_archive(wheel, installed, "zip")  # a wheel is its installation, where nothing is compiled
    (installed / "needed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    project = tmp_path / "project"
    (project / "envs").mkdir(parents=True)
    (project / "envs" / "__init__.py").write_text("NAME = 'their own'\n")
    for name in EMPTY:
        (project / name).mkdir()
        (project / "scripts" / name).mkdir(parents=True)

    def run(code: str, *others: Path, words: Sequence[str] = ("-c",)) -> str:
        for other in others:
            pip("install", other, "--no-deps", "--target", installed)
        (project / "scripts" / "drive.py").write_text(code)
        command = [str(interpreter), "-W", "ignore", *words, *([code] if "-c" in words else [])]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=project, env=environment).stdout

    return run


def check(output: str, tmp_path: Path) -> None:
    rlmaml, rlmaml_envs, *shapes = output.splitlines()
    assert rlmaml.startswith(str(tmp_path))
    assert rlmaml_envs.startswith(str(tmp_path))
    assert shapes == ["(2,)", "(10,)"]


def test_a_wheel_works_where_a_project_has_a_folder_of_environments_of_its_own(python: Python, tmp_path: Path) -> None:
    check(python(USED), tmp_path)
    assert python("import rlmaml_envs, envs; print(envs.NAME)") == "their own\n"


def test_empty_folders_of_our_packages_names_hide_nothing_from_programs_beside_them(
    python: Python, tmp_path: Path
) -> None:
    """A folder without code is looked at after all packages that have some: a clone, or runs kept under our name."""
    for words in (("scripts/drive.py",), ("-m", "scripts.drive")):
        output = python("import rlmaml.base, rlmaml_envs; print(rlmaml.__file__, rlmaml_envs.__file__)", words=words)
        assert [place.startswith(str(tmp_path / "clean")) for place in output.split()] == [True, True]


@pytest.mark.slow
def test_a_wheel_works_beside_the_package_that_is_called_envs_in_the_index(python: Python, tmp_path: Path) -> None:
    pip("download", "envs==1.4", "--no-deps", "--dest", tmp_path)
    (other,) = tmp_path.glob("envs-1.4*")
    check(python(USED, other), tmp_path)
    code = "import sys, rlmaml_envs; sys.path.pop(0); import envs; print(hasattr(envs, 'env'))"
    assert python(code) == "True\n"


@pytest.mark.slow
def test_an_editable_install_works_as_a_wheel_and_as_the_checkout_do(tmp_path: Path) -> None:
    """From a copy of the sources, into an environment of its own, run where a project has its own folder ``envs``."""
    sources, clean, project = copied_sources(tmp_path / "checkout"), tmp_path / "clean", tmp_path / "project"
    venv.create(clean)
    interpreter = clean / "bin" / "python"
    installed = Path(sysconfig.get_path("purelib", vars={"base": str(clean)}))
    (installed / "needed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    words = ("--no-deps", "--no-build-isolation", "--ignore-installed")
    pip("--python", interpreter, "install", *words, "--editable", sources)
    (project / "envs").mkdir(parents=True)
    (project / "envs" / "__init__.py").write_text("NAME = 'their own'\n")

    def run(code: str, where: Path) -> str:
        command = [str(interpreter), "-W", "ignore", "-c", code]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=where, env=environment)
        return done.stdout

    for where in (project, sources):
        check(run(USED, where), tmp_path)
        assert str(sources) in run("import rlmaml, rlmaml_envs; print(rlmaml.__file__, rlmaml_envs.__file__)", where)
    assert run("import rlmaml_envs, envs; print(envs.NAME)", project) == "their own\n"
    for name in EMPTY:  # which hide what the hook of an editable installation finds, but not from scripts
        (project / name).mkdir()
    shutil.copytree(ROOT / "scripts", sources / "scripts")
    script = [str(interpreter), str(sources / "scripts" / "train_nav.py"), "--help"]
    clear = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    assert "--config" in subprocess.run(script, check=True, capture_output=True, cwd=project, env=clear).stdout.decode()
    for name in EMPTY:
        (project / name).rmdir()
    added = sources / "envs" / "rlmaml_envs" / "added.py"  # what is edited is what runs
    added.write_text("NAME = 'added'\n")
    assert run("from rlmaml_envs.added import NAME; print(NAME)", project) == "added\n"


def test_the_folder_of_our_environments_is_no_package_itself() -> None:
    spec = PathFinder.find_spec("envs", [str(ROOT)])
    assert spec is not None
    assert spec.loader is None or spec.origin is None
    assert [path.name for path in (ROOT / "envs").iterdir() if path.name != "__pycache__"] == ["rlmaml_envs"]
