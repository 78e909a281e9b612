import re
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest

from rlmaml.base.plain_data import read_json
from rlmaml.deploy.adaptable import load
from rlmaml.storage.run_directory import RunDirectory
from rlmaml_envs.registry import FAMILIES
from tests.scripts.test_scripts import TINY, run_script

FAMILY = '''"""Two carts on a rail."""

from rlmaml_envs.bodies import scalar_box
from rlmaml_envs.locomotion import LocomotionFamily
from fastest_cart import FASTEST
from tests.envs.robots import body, variant

LimitedCarts = LocomotionFamily(
    "LimitedCarts",
    {
        "mine": variant(
            body(control_range=0.5),
            horizon=5,
            task_parameters=variant().task_parameters | {"speed": scalar_box(0.1, FASTEST)},
            wide_task_parameters={"speed": scalar_box(0.1, 2 * FASTEST)},
        )
    },
)
Others, NUMBER = LimitedCarts, 3
'''


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    yield
    forget()
    sys.modules.pop("fastest_cart", None)


def forget() -> None:
    """Another process would not know the family."""
    for name in ("LimitedCarts-v0", "Others-v0"):
        FAMILIES.pop(name, None)
        gymnasium.registry.pop(name, None)


def write_family(folder: Path, text: str = FAMILY) -> str:
    """A file of the user's own in a directory of its own, and what to say of it on a command line."""
    folder.mkdir()
    (folder / "carts.py").write_text(text)
    (folder / "fastest_cart.py").write_text("FASTEST = 0.8\n")
    return f"{folder}/carts.py:LimitedCarts"


@pytest.mark.usefixtures("operators_read_once")
def test_a_family_from_a_file_in_another_directory_goes_through_every_script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["--family", write_family(tmp_path / "robots")]
    sizes = ["--tasks", 2, "--episodes", 3]
    assert run_script("train_locomotion.py", *own, *TINY) == 0
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert run_dir.name == "LimitedCarts-v0-mine-seed0"
    forget()
    assert run_script("train_locomotion.py", *own, *TINY, "--iterations", 3, "--resume") == 0
    written = read_json(run_dir / "run.json")["family"]
    assert written["from"] == "carts.py:LimitedCarts"
    assert written["sheet"]["tasks"]["speed"] == {"low": 0.1, "high": 0.8, "unit": "m/s"}
    capsys.readouterr()
    forget()
    assert run_script("evaluate.py", run_dir, *sizes, "--steps", 1) == 2
    assert "a task family of your own, LimitedCarts-v0, from carts.py:LimitedCarts. Say that" in capsys.readouterr().err
    for script, *words in (
        ("evaluate.py", run_dir, *sizes, "--steps", 1, "--beyond", "--json", "e.json"),
        ("adapt.py", run_dir, "--task", "speed=0.5", "load=1.5", "--episodes-per-step", 3, "--output", "a.safetensors"),
        ("render.py", run_dir, "--episodes-per-step", 2, "--output", "film.gif"),
        ("report.py", run_dir, *sizes, "--steps", 1),
        ("benchmark.py", *sizes, "--repeats", 2, "--json", "b.json"),
        ("export.py", "a.safetensors", "--output", "exported"),
    ):
        forget()
        assert run_script(str(script), *words, *own) == 0, script
    imitation: tuple[object, ...] = (
        "--demonstrator",
        run_dir,
        "--train-tasks",
        2,
        "--test-tasks",
        2,
        "--shots",
        1,
        "--queries",
        1,
    )
    imitation += ("--demonstrator-steps", 0, "--test-shots", 1, "--test-episodes", 2, "--iterations", 1, "--tasks", 1)
    imitation += ("--hidden", 4, "--evaluation-steps", 1, "--no-pretrained", "--run-dir", "imitating")
    forget()
    assert run_script("train_imitation.py", *imitation) == 2
    assert "Say that its code may be run: --family" in capsys.readouterr().err
    assert run_script("train_imitation.py", *imitation, *own) == 0
    assert load("a.safetensors").family == written
    card = read_json(tmp_path / "exported" / "policy.json")
    assert card["data_sheet"] == "Two carts on a rail."
    assert (run_dir / "report.html").exists()
    assert (tmp_path / "film.gif").exists()


@pytest.mark.filterwarnings("ignore:--family. fastest_cart is found in")
def test_a_policy_is_refused_by_a_family_that_has_changed_and_by_another_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--tasks", 2, "--episodes", 3, "--steps", 1]
    own = write_family(tmp_path / "robots")
    assert run_script("train_locomotion.py", "--family", own, *TINY, "--run-dir", "run") == 0
    forget()
    changed = FAMILY.replace("control_range=0.5", "control_range=0.4")
    other = write_family(tmp_path / "others", changed.replace("scalar_box(0.1, FASTEST)", "scalar_box(0.2, FASTEST)"))
    capsys.readouterr()
    names = "controls.pull.high was 0.5 and is now 0.4.*tasks.speed.low was 0.1 and is now 0.2"
    for script, *options in (
        ("evaluate.py", "run", *words),
        ("adapt.py", "run", "--episodes-per-step", 3),
        ("export.py", "run"),
        ("train_locomotion.py", *TINY, "--run-dir", "run", "--resume"),
    ):
        assert run_script(str(script), *options, "--family", other) == 2, script
        error = capsys.readouterr().err
        assert re.search(names, error), error
    assert not RunDirectory("run").adapted.exists()
    assert run_script("evaluate.py", "run", *words, "--family", own) == 2
    assert 'There is a task environment "LimitedCarts-v0" already' in capsys.readouterr().err
    forget()
    assert run_script("evaluate.py", "run", *words, "--family", own.replace("LimitedCarts", "Others")) == 2
    assert "The policy was trained on LimitedCarts-v0; --family" in capsys.readouterr().err
    assert run_script("evaluate.py", "run", *words, "--family", own) == 0


def test_a_family_of_ones_own_that_a_file_names_is_run_where_the_command_line_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = write_family(tmp_path / "elsewhere")
    (tmp_path / "mine.yaml").write_text(f"family: {named}\niterations: 1\n")
    begun = [*TINY, "--config", "mine.yaml", "--run-dir", "first"]
    assert run_script("train_locomotion.py", *begun) == 2
    assert f"no code runs because a file names it. Say that its code may be run: --family {named}." in (
        capsys.readouterr().err
    )
    assert not FAMILIES.keys() & {"LimitedCarts-v0"}
    assert run_script("train_locomotion.py", *begun, "--family", named) == 0
    forget()
    again = [*TINY, "--config", "first/run.json", "--run-dir", "second"]
    capsys.readouterr()
    assert run_script("train_locomotion.py", *again) == 2
    words = (
        "is of a run on LimitedCarts-v0, which is none of our families, from carts.py:LimitedCarts. Say that its code"
    )
    assert words in capsys.readouterr().err
    assert run_script("train_locomotion.py", *again, "--family", named) == 0
    first, second = (read_json(Path(run, "run.json"))["settings"] for run in ("first", "second"))
    assert first == second


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "train_locomotion.py --family absent.py:Carts",
            "--family is 'absent.py:Carts', but there is no file absent.py",
        ),
        ("train_locomotion.py --family robots/carts.py:NUMBER", "needs a task family: a LocomotionFamily"),
        ("train_locomotion.py --family robots/carts.py:Absent", "has no Absent at its top level"),
        ("train_locomotion.py HalfCheetahDir-v0 --family robots/carts.py:LimitedCarts", "Give one of them"),
        ("train_nav.py --family robots/carts.py:LimitedCarts", "this command trains Navigation2D-v0"),
        ("benchmark.py AntVel-v0 --family robots/carts.py:LimitedCarts", "Give one of them"),
        ("benchmark.py --repeats 2", "Give the task family first"),
        ("compare.py Nav --family carts.py", "Give one of them"),
        ("evaluate.py /nowhere --family carts", "it must be FILE.py:NAME or package.module:NAME"),
    ],
)
def test_a_family_that_is_none_ends_with_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, message: str
) -> None:
    write_family(tmp_path / "robots")
    assert run_script(*command.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_comparison_of_a_family_of_ones_own_runs_in_several_processes(tmp_path: Path) -> None:
    own = ["--family", write_family(tmp_path / "robots")]
    words = ["--algorithms", "maml-trpo", "random", "--iterations", 1, "--seeds", 0, "--tasks", 2, "--episodes", 2]
    assert run_script("compare.py", *own, *words, "--steps", 1, "--processes", 2, "--output", "compared") == 0
    assert (tmp_path / "compared" / "comparison.png").exists()
