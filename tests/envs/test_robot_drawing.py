import os
import subprocess
import sys
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest

from rlmaml_envs import robot_drawing
from rlmaml_envs.robot_drawing import Marks, RobotCamera, RobotPictures, default_backend, robot_body
from tests.envs.robots import put

TASKS = {
    "HalfCheetahChanged-v0": ({"dead_joint": 0}, {"dead_joint": 5}),
    "AntDir2D-v0": ({"direction": 0.5}, {"direction": -2.0}),
    "AntGoal-v0": ({"distance": 1.0, "direction": 0.0}, {"distance": 2.0, "direction": 1.0}),
    "Walker2dVel-v0": ({"velocity": 0.5}, {"velocity": 1.5}),
}


@pytest.mark.parametrize("env_id", TASKS)
def test_a_picture_shows_the_task(env_id: str) -> None:
    env = gymnasium.make(env_id, render_mode="rgb_array")
    pictures: list[Any] = []
    for task in (*TASKS[env_id], TASKS[env_id][0]):
        env.reset(seed=0, options={"task": task})
        pictures.append(env.render())
    assert (pictures[0] != pictures[1]).any()
    np.testing.assert_array_equal(pictures[0], pictures[2])


@pytest.fixture(scope="module")
def an_ant() -> tuple[RobotPictures, Any]:
    from rlmaml_envs.ant import CAMERA, VELOCITY

    world = VELOCITY(1)
    world.reset(np.arange(1), {0: np.random.default_rng(0)})
    return RobotPictures(world.physics.model, CAMERA), world.physics.data_of(0)


@pytest.mark.parametrize(
    ("marks", "channel"),
    [
        (Marks(heading=0.0), 1),
        (Marks(goal=np.array([1.0, 0.0])), 1),
        (Marks(damaged=("hip_1",)), 0),
        (Marks(text="target 1.50 m/s"), None),
    ],
    ids=["arrow", "goal", "limb", "words"],
)
def test_each_mark_is_seen(an_ant: tuple[RobotPictures, Any], marks: Marks, channel: int | None) -> None:
    pictures, data = an_ant
    seen = slice(0, robot_drawing.HEIGHT - 30)  # below are words about the marks
    plain, marked = (pictures.draw(data, shown)[seen].astype(int) for shown in (Marks(), marks))
    different = (plain != marked).any(axis=2)
    assert different.sum() > 100
    if channel is not None:  # green for where to go, red for a limb that is damaged
        others = np.delete(marked[different].mean(axis=0), channel)
        assert (marked[different].mean(axis=0)[channel] > others + 20).all()
    np.testing.assert_array_equal(pictures.draw(data, Marks())[seen], plain)


def test_words_of_a_picture_end_before_its_edge(an_ant: tuple[RobotPictures, Any]) -> None:
    pictures, data = an_ant
    plain = pictures.draw(data, Marks())
    for marks in (Marks(text=", ".join(["encoder offset -0.049"] * 9)), Marks(damaged=("hip_1", "ankle_1") * 5)):
        box = (pictures.draw(data, marks, "now 1.00 m/s") != plain).any(axis=2)
        assert box[:, : robot_drawing.WIDTH - 10].sum() > 1000
        assert not box[:100, robot_drawing.WIDTH - 2 :].any()
        assert not box[-60:, robot_drawing.WIDTH - 2 :].any()


def test_what_is_reached_is_said_in_the_terms_of_what_is_asked() -> None:
    position, velocity = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    assert Marks(heading=np.pi / 2).reached(position, velocity) == "now 4.00 m/s that way"
    assert Marks(goal=np.array([1.0, 0.5])).reached(position, velocity) == "now 1.50 m from it"
    assert Marks().reached(position, velocity) == "now 5.00 m/s"
    assert Marks(heading=0.0, damaged=("knee",)).legend == "green arrow: where to go; red: knee, changed"


def test_an_arrow_points_where_the_task_says(an_ant: tuple[RobotPictures, Any]) -> None:
    pictures, data = an_ant
    seen = slice(0, robot_drawing.HEIGHT // 2)
    plain = pictures.draw(data, Marks())[seen]
    middles = []
    for angle in (0.0, np.pi):
        different = (pictures.draw(data, Marks(heading=angle))[seen] != plain).any(axis=2)
        middles.append(np.argwhere(different)[:, 1].mean())
    assert middles[0] > middles[1] + 20  # x is to the right


def test_the_camera_follows_the_robot() -> None:
    from rlmaml_envs.half_cheetah import VELOCITY

    world = VELOCITY(1)
    world.reset(np.arange(1), {0: np.random.default_rng(0)})
    pictures = RobotPictures(world.physics.model, RobotCamera())
    for x in (0.0, 30.0):
        put(world.physics, 0, {0: x})
        picture = pictures.draw(world.physics.data_of(0), Marks())
        middle = picture[100:260, 140:340].reshape(-1, 3).astype(int)
        skin = (middle[:, 0] > middle[:, 2] + 25).mean()  # the robot alone is of a warm colour
        assert skin > 0.02


def test_without_opengl_the_message_names_package_and_variable_and_the_environment_is_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(robot_drawing, "import_module", _missing)
    env = gymnasium.make("HalfCheetahVel-v0", render_mode="rgb_array")
    env.reset(seed=0)
    before = dict(os.environ)
    with pytest.raises(RuntimeError, match=r'through "glfw".*libegl1.*MUJOCO_GL=egl'):
        env.render()
    assert dict(os.environ) == before


def _missing(name: str) -> Any:
    os.environ["VARIABLE_OF_OPENGL"] = name  # as MuJoCo's backends set PYOPENGL_PLATFORM
    raise ImportError(f"no {name}")


@pytest.mark.skipif(sys.platform != "linux", reason="a window always opens elsewhere")
def test_glfw_without_a_screen_ends_in_that_message_alone() -> None:
    code = (
        "import gymnasium, rlmaml_envs; env = gymnasium.make('AntVel-v0', render_mode='rgb_array'); env.reset(seed=0)\n"
        "try: env.render()\nexcept RuntimeError as error: print(error)"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**environment, "MUJOCO_GL": "glfw"}
    )
    assert 'through "glfw"' in result.stdout
    assert result.stderr == ""


def test_opengl_needs_no_window_where_there_is_no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert default_backend() == "egl"
    monkeypatch.setenv("DISPLAY", ":0")
    assert default_backend() == "glfw"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_backend() == "cgl"


def test_stepping_a_robot_loads_no_opengl() -> None:
    code = (
        "import gymnasium, sys, rlmaml_envs; env = gymnasium.make('AntVel-v0'); env.reset(seed=0); "
        "env.step(env.action_space.sample()); print([name for name in sys.modules if 'OpenGL' in name])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MUJOCO_GL"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert result.stdout == "[]\n"


TABLE = '<body name="table" pos="0 0 .2"><geom type="box" size=".3 .3 .02"/></body>'
ROBOT = """<body name="robot" pos="12 0 .5"><freejoint/><geom type="box" size=".1 .1 .1" rgba="1 0 0 1"/>
<body name="arm"><joint name="j" axis="0 1 0"/><geom size=".05" pos="0 0 .2"/>
<site name="s"/><body name="hand"><geom size=".02" mass=".1"/></body></body></body>"""


def scene(bodies: str, motors: str = '<motor joint="j"/>', more: str = "") -> mujoco.MjModel:
    world = f'<worldbody><light pos="0 0 3"/><geom type="plane" size="50 50 .1"/>{bodies}</worldbody>'
    return mujoco.MjModel.from_xml_string(f"<mujoco>{world}{more}<actuator>{motors}</actuator></mujoco>")


@pytest.mark.parametrize("bodies", [ROBOT + TABLE, TABLE + ROBOT])
def test_the_robot_is_in_the_picture_wherever_it_stands_in_the_file(bodies: str) -> None:
    model = scene(bodies)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    picture = RobotPictures(model, RobotCamera()).draw(data, Marks(heading=0.5)).astype(int)
    assert ((picture[..., 0] > 120) & (picture[..., 1:] < 60).all(-1)).sum() > 300


@pytest.mark.parametrize(
    "motors",
    [
        '<motor joint="j"/>',
        '<motor jointinparent="j"/>',
        '<motor tendon="fixed"/>',
        '<motor tendon="spatial"/>',
        '<motor site="s"/>',
        '<adhesion body="hand" ctrlrange="0 1"/>',
    ],
)
def test_the_robot_is_the_root_of_what_most_actuators_move(motors: str) -> None:
    door = '<body name="door"><joint name="hinge"/><geom size=".1"/></body>'
    fixed = '<fixed name="fixed"><joint joint="j" coef="1"/></fixed>'
    tendons = f'<tendon>{fixed}<spatial name="spatial"><site site="s"/><site site="w"/></spatial></tendon>'
    model = scene(door + TABLE + ROBOT + '<site name="w"/>', f'<motor joint="hinge"/>{motors * 2}', tendons)
    assert model.body(robot_body(model, None)).name == "robot"
    assert model.body(robot_body(model, "table")).name == "table"
    with pytest.raises(ValueError, match=r'no body "chair".*door, table, robot'):
        robot_body(model, "chair")


def test_a_model_of_many_geoms_is_drawn_whole() -> None:
    many = "".join(f'<geom size=".01" pos="{i % 50 * 0.02} 0 {i // 50 * 0.02}" rgba="1 0 0 1"/>' for i in range(2000))
    model = scene(f'<body name="wall" pos="0 0 .5"><joint name="j"/>{many}</body>')
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    picture = RobotPictures(model, RobotCamera()).draw(data, Marks(heading=0.0, goal=np.zeros(2), text="x")).astype(int)
    assert ((picture[..., 0] > 100) & (picture[..., 1:] < 60).all(-1)).sum() > 3000
