import ast
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from rlmaml.deploy.adaptable import load
from rlmaml.deploy.export import LARGEST_DIFFERENCE, load_onnx
from rlmaml_envs import make_tasks_env
from rlmaml_envs.locomotion import Motion
from rlmaml_envs.registry import FAMILIES
from tests.rlmaml.shapes import shapes_checked
from tests.scripts.test_scripts import TINY, run_script

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "adapt_your_robot.md").read_text()


BLOCKS = re.findall(r"```python\n((?!# ).*?)```", PAGE, re.DOTALL)
"""What the page does with its first robot, in order: the last six from the family on."""


def smaller(code: str) -> str:
    """The page's training, as short as it gets."""
    assert code.count("    iterations=60,\n") == 1
    few = "iterations=1, num_tasks=2, num_episodes=4, evaluation_tasks=2, evaluation_episodes=2,"
    return code.replace("    iterations=60,\n", few)


def written(folder: Path) -> None:
    """The files of the page's second robot."""
    files = re.findall(r"```\w*\n((?:<!--|#) (\S+\.\w+).*?)```", PAGE, re.DOTALL)
    assert [name for _, name in files] == ["scene.xml", "leg.xml", "meshes/sole.obj", "servo_leg.py"]
    for text, name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.usefixtures("operators_read_once")
def test_the_page_about_your_own_robot_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(BLOCKS) == 9
    code = smaller("\n".join(BLOCKS))
    assert code.count("            horizon=50,\n") == 1
    code = code.replace("            horizon=50,\n", "            horizon=8,\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "envs").symlink_to(ROOT / "envs")
    names: dict[str, Any] = {}
    try:
        with shapes_checked(False):
            exec(code, names)
    finally:
        for name in ("RoverSpeed-v0", "SmoothRover-v0"):
            FAMILIES.pop(name, None)
    output = capsys.readouterr().out
    assert re.search(r"^return -\d+\.\d before, -\d+\.\d after one step$", output, re.MULTILINE)
    assert re.search(r"^attempt 10: return -\d+\.\d(, undone)?$", output, re.MULTILINE)
    assert names["difference"] < LARGEST_DIFFERENCE
    assert (tmp_path / "runs" / "rover" / "adaptation.mp4").stat().st_size > 1000
    assert names["robot"].single_observation_space.shape == (10,)
    still, physics = np.zeros((1, 2)), names["robot"].worlds.physics
    effort = Motion(still, still, np.ones((1, 2)), np.ones(1, np.bool_), physics)
    weighted = [names[one].reward_terms["control_cost"](effort, {}) for one in ("mine", "smooth")]
    np.testing.assert_allclose(weighted, [[-0.02], [-0.1]])
    assert names["robot"].single_action_space.shape == (2,)


SMALLER: dict[str, list[Any]] = {
    "train_locomotion.py": [*TINY],
    "evaluate.py": ["--tasks", 2, "--episodes", 2, "--steps", 1],
    "adapt.py": ["--episodes-per-step", 2],
    "render.py": ["--episodes-per-step", 2],
    "report.py": ["--tasks", 2, "--episodes", 2, "--steps", 1],
    "benchmark.py": ["--tasks", 2, "--episodes", 2, "--repeats", 2, "--horizon", 5],
    "compare.py": ["--algorithms", "random", "--seeds", 0, "--steps", 1, "--tasks=2", "--episodes=2", "--processes=1"],
    "export.py": [],
}
"""Script -> options with which what the page does takes seconds."""


@pytest.mark.slow
def test_the_servo_robot_of_the_page_goes_through_every_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    commands = [line.removeprefix("python scripts/").split() for line in block.splitlines()]
    assert {script for script, *_ in commands} == set(SMALLER)
    try:
        for script, *words in commands:
            assert run_script(script, *words, *SMALLER[script]) == 0, (script, capsys.readouterr().err)
        robot = make_tasks_env("ServoLeg-v0", 3)
        check_servos(robot)
    finally:
        FAMILIES.pop("ServoLeg-v0", None)
        gymnasium.registry.pop("ServoLeg-v0", None)
    policy, controls = load(Path("leg/adapted.safetensors")), load_onnx(Path("leg/adapted-export/policy.onnx"))
    seen = np.random.default_rng(0).standard_normal((5, policy.sizes.observation)).astype(np.float32)
    np.testing.assert_allclose(controls(seen), [-0.4, 0.8, 800] + np.array([0.4, 0.8, 800]) * policy.act(seen), 1e-5)
    card = json.loads(Path("leg/adapted-export/policy.json").read_text())["control"]
    assert card["names"] == ["hip", "knee", "fan"]
    assert card["units"] == ["rad", "rad", "rad/s"]
    assert card["range"][1] == [0.0, 1.6]


OF_THE_LEG = {
    '"RoverSpeed-v0"': '"ServoLeg-v0"',
    '"SmoothRover-v0"': '"SmoothLeg-v0"',
    '"SmoothRover"': '"SmoothLeg"',
    'variants["mine"]': 'variants["payload"]',
    'variant="mine"': 'variant="payload"',
    '"wear": np.array([[0.6, 1.0]]), "load": np.array([[1.5]])': '"payload": np.array([[1.4]])',
    "runs/rover": "runs/leg",
}
"""What the page says of the rover -> of the leg."""


@pytest.mark.slow
def test_the_servo_robot_of_the_page_takes_every_step_that_the_page_takes_with_the_rover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the family on: it is registered, weighted anew, trained, adapted, online as well, filmed and shipped."""
    written(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    imports = [line for line in "\n".join(BLOCKS[:3]).splitlines() if re.match("(from|import) ", line)]
    code = smaller("\n".join([*imports, "from servo_leg import ServoLeg as family", *BLOCKS[2:]]))
    for rover, leg in OF_THE_LEG.items():
        assert rover in code, rover
        code = code.replace(rover, leg)
    names: dict[str, Any] = {}
    try:
        with shapes_checked(False):
            exec(code.replace("threads=2)", "threads=2, horizon=20)"), names)
    finally:
        for name in ("ServoLeg-v0", "SmoothLeg-v0"):
            FAMILIES.pop(name, None)
            gymnasium.registry.pop(name, None)
        sys.modules.pop("servo_leg", None)
    output = capsys.readouterr().out
    assert re.search(r"^return -?\d+\.\d before, -?\d+\.\d after one step$", output, re.MULTILINE)
    assert re.search(r"^attempt 10: return -?\d+\.\d(, undone)?$", output, re.MULTILINE)
    assert names["difference"] < LARGEST_DIFFERENCE
    assert (tmp_path / "runs" / "leg" / "adaptation.mp4").stat().st_size > 1000
    assert names["robot"].single_observation_space.shape == (15,)
    assert names["robot"].single_action_space.shape == (3,)


def check_servos(robot: Any) -> None:
    """No action holds the pose, full ones reach the ends, and the fan turns faster than an unstable joint would."""
    robot.set_tasks({"speed": np.array([0.3]), "payload": np.array([[1.2]])})
    robot.reset(seed=0)
    for _ in range(40):
        *_, info = robot.step(np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 1.0], [1.0, -1.0, 0.0]]))
        assert "instability" not in info
    physics = robot.worlds.physics
    np.testing.assert_allclose(physics.act[:, 0], [-0.4, -0.4, 0.0], atol=0.01)
    np.testing.assert_allclose(physics.qpos[0, 2:4], [-0.4, 0.8], atol=0.25)
    np.testing.assert_allclose(physics.qpos[:, 4], -physics.qpos[:, 3] / 2, atol=0.1)
    assert physics.qpos[1, 3] > physics.qpos[0, 3] + 0.3
    assert physics.qvel[1, 5] > 1000 > physics.qvel[2, 5] > 300


OWN_ROBOT = (
    *("bodies", "changes", "checks", "controls", "locomotion", "model_fields", "model_values", "outputs", "own_code"),
    *("physics", "registry", "rehearsal", "speed_limits", "starts", "switched_off"),
)
"""Files of ``rlmaml_envs`` that look at what a user's robot hands in."""


def template(node: ast.AST, constants: Mapping[str, ast.AST]) -> str:
    """The text of a message, with ``{}`` for what is only known when it is made."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(template(part, constants) for part in parts)
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="format")) if name in constants:
            return template(constants[name], constants)
    return "{}"


def refusals(source: str) -> list[str]:
    """What a file raises and warns of, and what else it says of faults."""
    tree = ast.parse(source)
    constants = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    said: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            said += node.exc.args[:1]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
            said += node.args[:1]
        elif isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
            said += node.value.elts[1:]  # of model_values: in which rows, and why
    found = [template(node, constants) for node in said]
    return [text for text in found if re.search("[a-z]{4,}", text)]


EXPLAINED = [
    words
    for cell in re.findall(r"^\| (`.*?`) \|", PAGE.split("## What a refusal means")[1], re.MULTILINE)
    for words in re.findall(r"`(.*?)`", cell)
]


@pytest.mark.parametrize("file", OWN_ROBOT)
def test_every_refusal_of_an_own_robot_has_a_row(file: str) -> None:
    for text in refusals((ROOT / "envs" / "rlmaml_envs" / f"{file}.py").read_text()):
        assert any(words.lower() in text.lower() for words in EXPLAINED), f"{file}: {text}"


def test_every_refusal_that_the_page_explains_is_one_that_is_made() -> None:
    assert len(EXPLAINED) > 60
    sources = [path for room in ("envs", "rlmaml", "scripts") for path in (ROOT / room).rglob("*.py")]
    made = " ".join(path.read_text() for path in sources)
    text = re.sub(r'"\s*f?"', "", made).replace("\\'", "'").lower()
    for words in EXPLAINED:
        assert words.lower() in text, words


def test_a_new_refusal_without_a_row_would_be_seen() -> None:
    new = 'GONE = "The {what} is gone."\ndef look(x):\n    raise ValueError(f"{x} is of " "no avail.")\n'
    new += "    raise ValueError(GONE.format(what=x))\n    warnings.warn(f'mind {x}', stacklevel=2)\n"
    assert set(refusals(new)) == {"{} is of no avail.", "The {what} is gone.", "mind {}"}
