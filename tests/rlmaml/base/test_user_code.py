import gc
import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from rlmaml.base.errors import UserError
from rlmaml.base.user_code import named_object


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_file_of_any_name_is_run_once_and_finds_what_lies_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "my robots"
    folder.mkdir()
    (folder / "beside_it.py").write_text("SIZE = 3\n")
    (folder / "the-robot.py").write_text(
        '"""Its sheet."""\nfrom __future__ import annotations\nfrom dataclasses import dataclass\n'
        "from beside_it import SIZE\n\n@dataclass\nclass Robot:\n    size: int = SIZE\n"
    )
    found = named_object("--family", f"{folder}/the-robot.py:Robot")
    assert found.value().size == 3
    assert (found.name, found.text) == ("Robot", "Its sheet.")
    assert found.place == f"{folder}/the-robot.py:Robot"
    assert named_object("--family", "my robots/the-robot.py:Robot") == found


def test_files_of_one_name_are_not_taken_for_each_other_or_for_a_module(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "json.py").write_text(f"NUMBER = {number}\n")
    assert [named_object("--family", f"{number}/json.py:NUMBER").value for number in (1, 2)] == [1, 2]
    assert not hasattr(sys.modules["json"], "NUMBER")


def test_what_lies_beside_a_file_is_not_taken_for_a_module_of_a_script_or_of_another_folder(tmp_path: Path) -> None:
    for number, folder in enumerate(("scripts", "robots", "others")):
        (tmp_path / folder).mkdir()
        for name in ("our_common", "our_render", "random"):
            (tmp_path / folder / f"{name}.py").write_text(f"NUMBER = {number}\n")
        text = "import our_common, our_render, random, sys\nsys.path.append('/of/their/own')\n"
        (tmp_path / folder / "robot.py").write_text(
            f"{text}SEEN = our_common.NUMBER, our_render.NUMBER, random.random() < 1\n"
        )
    sys.path.insert(0, str(tmp_path / "scripts"))
    ours = importlib.import_module("our_common")
    before = list(sys.path)
    for number, folder in ((1, "robots"), (2, "others")):
        also = pytest.warns(UserWarning, match="our_render is found in .*others") if number == 2 else nullcontext()
        with also:
            assert named_object("--family", f"{folder}/robot.py:SEEN").value == (number, number, True)
        assert sys.modules["our_common"] is ours
    added = ["/of/their/own", str(tmp_path / "robots"), str(tmp_path / "others")]
    assert sys.path == [*before, *added]


PARTS = "import parts, parts.wheels, loose.motors\n"
SEEN = f"{PARTS}SEEN = parts.OWNER, parts.wheels.OWNER, loose.motors.OWNER\n"


def test_packages_beside_files_of_two_folders_are_each_files_own_and_a_warning_names_them(tmp_path: Path) -> None:
    """With and without an ``__init__.py``."""
    for folder in ("one", "two"):
        (tmp_path / folder / "parts").mkdir(parents=True)
        (tmp_path / folder / "loose").mkdir()
        for file in ("parts/__init__", "parts/wheels", "loose/motors"):
            (tmp_path / folder / f"{file}.py").write_text(f"OWNER = {folder!r}\n")
        (tmp_path / folder / f"robot_{folder}.py").write_text(SEEN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert named_object("--family", "one/robot_one.py:SEEN").value == ("one",) * 3
    with pytest.warns(UserWarning, match="loose, parts is found in .*two and beside another file of your own"):
        assert named_object("--policy", "two/robot_two.py:SEEN").value == ("two",) * 3
    assert sys.modules["parts.wheels"].OWNER == "one"


def test_a_folder_of_our_name_beside_a_file_gives_it_no_second_package_of_ours(tmp_path: Path) -> None:
    (tmp_path / "rlmaml").mkdir()
    (tmp_path / "rlmaml" / "notes.py").write_text("")
    (tmp_path / "robot.py").write_text("from rlmaml.base.errors import UserError\n")
    assert named_object("--family", "robot.py:UserError").value is UserError


def test_a_module_that_is_called_as_one_of_a_script_is_found_in_the_working_directory(tmp_path: Path) -> None:
    for number, folder in enumerate((tmp_path / "scripts", tmp_path)):
        folder.mkdir(exist_ok=True)
        (folder / "our_defaults.py").write_text(f"NUMBER = {number}\n")
    sys.path.insert(0, str(tmp_path / "scripts"))
    assert importlib.import_module("our_defaults").NUMBER == 0
    assert named_object("--family", "our_defaults:NUMBER").value == 1
    assert importlib.import_module("our_defaults").NUMBER == 0


def test_a_file_that_goes_to_another_directory_leaves_the_caller_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    text = "import os\nos.chdir(os.path.dirname(__file__))\nSEEN = os.listdir()\n"
    (tmp_path / "folder" / "robot.py").write_text(text)
    assert "robot.py" in named_object("--family", "folder/robot.py:SEEN").value  # beside what Python may compile
    assert Path.cwd() == tmp_path


def test_a_module_is_imported_also_from_the_working_directory_which_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "robot.py").write_text("NUMBER = 5\n")
    (tmp_path / "json.py").write_text("NUMBER = 6\n")
    found = named_object("--family", "my_package.robot:NUMBER")
    assert (found.value, found.place) == (5, "my_package.robot:NUMBER")
    with pytest.raises(UserError, match="json has no NUMBER at its top level"):
        named_object("--family", "json:NUMBER")


class Importing:
    """What imports a module when it is thrown away."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        sys.modules[f"of_{id(self)}"] = sys


def test_what_python_throws_away_meanwhile_may_import_modules(tmp_path: Path) -> None:
    (tmp_path / "robot.py").write_text("NUMBER = 1\n")
    before = gc.get_threshold()
    try:
        for soon in (*range(20, 400, 20), *range(400, 3000, 200)):  # which of these is in the midst is not known
            gc.disable()
            Importing()
            gc.set_threshold(soon)
            gc.enable()
            assert named_object("--family", "robot.py:NUMBER").value == 1
    finally:
        gc.set_threshold(*before)
        gc.enable()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("robot.py", "--family is 'robot.py'; it must be FILE.py:NAME or package.module:NAME"),
        ("robot.py:", "it must be"),
        (300 * "x" + ".py:Robot", "there is no file"),
        (":Robot", "it must be"),
        ("robot.py:a.b", "it must be"),
        ("absent.py:Robot", "there is no file absent.py"),
        ("no_such_package.robot:Robot", "no_such_package.robot cannot be imported: ModuleNotFoundError"),
        ("broken.py:Robot", "broken.py cannot be run: ZeroDivisionError"),
        (
            "program.py:Robot",
            'program.py ends the program when it is run, with SystemExit.0.*if __name__ == "__main__"',
        ),
        ("empty.py:Robot", "empty.py has no Robot at its top level"),
    ],
)
def test_what_names_nothing_is_refused_with_a_sentence(tmp_path: Path, word: str, message: str) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "program.py").write_text("import sys\nRobot = 3\nsys.exit(0)\n")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UserError, match=message):
        named_object("--family", word)
