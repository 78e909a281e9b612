import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt
import pytest

from rlmaml_envs.bodies import load_model
from rlmaml_envs.physics import Physics, Simulation, compiled
from rlmaml_envs.speed_limits import FASTEST
from tests.envs.robots import CARTS, put

NUM_COPIES = 5
ALL = np.arange(NUM_COPIES)
EVERYBODY = np.ones(NUM_COPIES, np.bool_)

walker = partial(load_model, "walker2d_v5.xml")


def started(threads: int = 1, **simulation: Any) -> Physics:
    physics = Physics(walker(), NUM_COPIES, Simulation(substeps=4, **simulation), threads)
    generator = np.random.default_rng(0)
    model = physics.model
    qpos = model.qpos0 + 0.005 * generator.standard_normal((NUM_COPIES, model.nq))
    physics.reset(ALL, qpos, 0.1 * generator.standard_normal((NUM_COPIES, model.nv)))
    return physics


def controls(steps: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(1).uniform(-1, 1, (steps, NUM_COPIES, 6))


def run(physics: Physics, steps: int = 30) -> npt.NDArray[np.float64]:
    states = []
    for control in controls(steps):
        assert physics.step(control, EVERYBODY) is None
        states.append(np.hstack([physics.qpos, physics.qvel]))
    return np.array(states)


@pytest.mark.parametrize("simulation", [{}, {"fresh": "velocities", "persistent": True}, {"fresh": "forces"}])
def test_the_number_of_threads_changes_no_bit(simulation: dict[str, Any]) -> None:
    one = run(started(threads=1, **simulation))
    assert one.std(axis=1).min() > 0
    for threads in (2, 3):
        np.testing.assert_array_equal(run(started(threads=threads, **simulation)), one)


@pytest.mark.parametrize("simulation", [{}, {"fresh": "velocities", "persistent": True}, {"fresh": "forces"}])
def test_a_copy_equals_a_simulation_of_its_own(simulation: dict[str, Any]) -> None:
    physics = started(**simulation)
    copy, model = 3, walker()
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = physics.qpos[copy], physics.qvel[copy]
    mujoco.mj_forward(model, data)
    for control in controls(30):
        data.ctrl[:] = control[copy]
        mujoco.mj_step(model, data, nstep=4)
        physics.step(control, EVERYBODY)
        np.testing.assert_array_equal(physics.qpos[copy], data.qpos)
        np.testing.assert_array_equal(physics.qvel[copy], data.qvel)


def test_only_running_copies_move() -> None:
    physics = started(outputs=("xpos",))
    run(physics, 2)
    before = [array.copy() for array in (physics.qpos, physics.qvel, physics.outputs["xpos"])]
    running = np.array([True, False, True, False, False])
    physics.step(controls(1)[0], running)
    for array, old in zip((physics.qpos, physics.qvel, physics.outputs["xpos"]), before, strict=True):
        np.testing.assert_array_equal(array[~running], old[~running])
        assert (array[running] != old[running]).reshape(2, -1).any(axis=1).all()


@pytest.mark.parametrize("simulation", [{}, {"fresh": "velocities", "persistent": True}, {"fresh": "forces"}])
def test_a_reset_concerns_the_listed_copies_and_forgets_what_was_before(simulation: dict[str, Any]) -> None:
    fresh, used = started(**simulation), started(**simulation)
    run(used, 10)
    qpos, qvel = used.qpos.copy(), used.qvel.copy()
    copies = np.array([1, 4])
    start = started()
    used.reset(copies, start.qpos[copies], start.qvel[copies])
    others = np.array([0, 2, 3])
    np.testing.assert_array_equal(used.qpos[others], qpos[others])
    np.testing.assert_array_equal(used.qvel[others], qvel[others])
    for control in controls(5):
        fresh.step(control, EVERYBODY)
        used.step(control, EVERYBODY)
        np.testing.assert_array_equal(used.qpos[copies], fresh.qpos[copies])


def test_a_copys_masses_and_gears_equal_a_model_of_its_own() -> None:
    physics = started()
    factors = np.random.default_rng(2).uniform(0.5, 2.0, (NUM_COPIES, physics.model.nbody))
    physics.field("body_mass")[:] = physics.model.body_mass * factors
    physics.field("actuator_gear")[2] *= 0.5
    physics.settle(ALL)
    own = []
    for copy in range(NUM_COPIES):
        model = walker()
        model.body_mass[:] *= factors[copy]
        model.actuator_gear[:] *= 0.5 if copy == 2 else 1.0
        data = mujoco.MjData(model)
        mujoco.mj_setConst(model, data)
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:] = physics.qpos[copy], physics.qvel[copy]
        own.append((model, data))
    physics.reset(ALL, physics.qpos.copy(), physics.qvel.copy())
    for model, data in own:
        mujoco.mj_forward(model, data)
    for control in controls(20):
        physics.step(control, EVERYBODY)
        for copy, (model, data) in enumerate(own):
            data.ctrl[:] = control[copy]
            mujoco.mj_step(model, data, nstep=4)
            np.testing.assert_array_equal(physics.qpos[copy], data.qpos)
            np.testing.assert_array_equal(physics.qvel[copy], data.qvel)
    np.testing.assert_array_equal(physics.model_of(1).body_mass, own[1][0].body_mass)


@pytest.mark.parametrize("simulation", [{}, {"fresh": "velocities", "persistent": True}, {"fresh": "forces"}])
def test_a_simulation_that_explodes_is_caught_and_stays_as_it_was(
    simulation: dict[str, Any],
) -> None:
    physics, sound = started(**simulation), started(**simulation)
    physics.field("actuator_gear")[1] *= 1e9
    before = np.hstack([physics.qpos, physics.qvel])
    causes = physics.step(controls(1)[0], EVERYBODY)
    assert causes is not None
    assert [bool(cause) for cause in causes] == [False, True, False, False, False]
    assert "diverged" in causes[1]
    after = np.hstack([physics.qpos, physics.qvel])
    np.testing.assert_array_equal(after[1], before[1])
    others = np.array([0, 2, 3, 4])
    for control in controls(5):
        sound.step(control, EVERYBODY)
    for control in controls(5)[1:]:
        assert physics.step(control, np.array([True, False, True, True, True])) is None
    np.testing.assert_array_equal(physics.qpos[others], sound.qpos[others])
    physics.field("actuator_gear")[1] = physics.model.actuator_gear
    start = started(**simulation)
    physics.reset(np.array([1]), start.qpos[[1]], start.qvel[[1]])
    start.step(controls(1)[0], EVERYBODY)
    assert physics.step(controls(1)[0], EVERYBODY) is None
    np.testing.assert_array_equal(physics.qpos[1], start.qpos[1])


@pytest.mark.parametrize("threads", [1, 2])
def test_mujocos_own_warning_of_an_explosion_is_neither_printed_nor_written_to_a_file(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    physics = started(threads)
    physics.field("actuator_gear")[:3] *= 1e9
    heard: list[str] = []
    mujoco.set_mju_user_warning(heard.append)
    try:
        assert physics.step(controls(1)[0], EVERYBODY) is not None
        assert mujoco.get_mju_user_warning() == heard.append  # what was there before is there again
    finally:
        mujoco.set_mju_user_warning(None)
    assert not heard
    assert physics.step(controls(1)[0], EVERYBODY) is not None
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_what_mujoco_says_of_a_robot_that_is_compiled_is_a_warning_and_no_line_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = mujoco.get_mju_user_warning()
    deprecated = CARTS.replace("<option", '<compiler settotalmass="2"/><option')
    with pytest.warns(UserWarning, match="MuJoCo says of a robot: compiler attribute 'settotalmass' is deprecated"):
        compiled(lambda: mujoco.MjModel.from_xml_string(deprecated))
    assert mujoco.get_mju_user_warning() is before
    assert not list(tmp_path.iterdir())


def test_a_state_that_is_not_finite_is_caught() -> None:
    physics = started()
    put(physics, 2, {}, {0: np.nan})
    causes = physics.step(controls(1)[0], EVERYBODY)
    assert causes is not None
    assert [copy for copy, cause in enumerate(causes) if cause] == [2]


def test_outputs_are_those_of_the_new_state_where_they_are_fresh() -> None:
    fresh, stale = started(outputs=("subtree_com",), fresh="velocities"), started(outputs=("subtree_com",))
    run(fresh, 3)
    run(stale, 3)
    for copy in range(NUM_COPIES):
        data = fresh.data_of(copy)
        np.testing.assert_allclose(fresh.outputs["subtree_com"][copy], data.subtree_com, rtol=0, atol=1e-12)
        assert np.abs(stale.outputs["subtree_com"][copy] - data.subtree_com).max() > 1e-6


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValueError, match="BatchNope"):
        started().field("BatchNope")


def test_an_output_that_was_not_asked_for_is_refused_with_where_to_ask() -> None:
    with pytest.raises(KeyError, match=r"does not read sensordata: list it in Simulation\(outputs"):
        started().outputs["sensordata"]


@pytest.mark.parametrize("gear", [1e2, 1e3, 1e4, 1e6])
def test_no_valid_step_of_a_simulation_that_explodes_slowly_leads_to_an_absurd_speed(gear: float) -> None:
    physics = started()
    physics.field("actuator_gear")[1] *= gear
    caught = False
    for control in controls(40):
        causes = physics.step(control, np.array([False, not caught, False, False, False]))
        assert np.abs(physics.qvel[1]).max() <= FASTEST
        caught |= causes is not None
    assert caught


@pytest.mark.parametrize(
    "simulation",
    [
        {"outputs": ("subtree_com", "xpos")},
        {"outputs": ("xpos",), "fresh": "velocities", "persistent": True},
        {"outputs": ("cfrc_ext",), "fresh": "forces"},
    ],
)
def test_what_is_restored_from_a_snapshot_goes_on_bit_for_bit(simulation: dict[str, Any]) -> None:
    physics, other = started(**simulation), started(threads=2, **simulation)
    physics.field("body_mass")[:] *= np.arange(1.0, 6.0)[:, None]
    physics.settle(ALL)
    run(physics, 5)
    other.restore(physics.snapshot())
    for name, values in physics.outputs.items():
        np.testing.assert_array_equal(other.outputs[name], values)
    for control in controls(10):
        physics.step(control, EVERYBODY)
        other.step(control, EVERYBODY)
        np.testing.assert_array_equal(other.qpos, physics.qpos)
        np.testing.assert_array_equal(other.qvel, physics.qvel)
        for name, values in physics.outputs.items():
            np.testing.assert_array_equal(other.outputs[name], values)


FORKED = """
import faulthandler, os, sys
import numpy as np
from tests.envs.test_physics import ALL, EVERYBODY, controls, run, started
physics = started(threads=2)
run(physics, 2)
child = os.fork()
if not child:
    faulthandler.dump_traceback_later(20, exit=True)  # ends a wait for ever
    start = started()
    {what}
    print("sound", np.array_equal(run(physics, 5), run(start, 5)), flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
assert np.isfinite(run(physics, 2)).all()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize(
    "what",
    ["physics = started(threads=2)", "physics.reset(ALL, start.qpos.copy(), start.qvel.copy())"],
    ids=["a new one", "the parent's"],
)
def test_in_a_forked_process_physics_with_threads_neither_hang_nor_abort(what: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED.format(what=what)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "sound True\n"), done.stderr


@pytest.mark.parametrize(
    "wrong", [{"substeps": 0}, {"substeps": 2.0}, {"substeps": True}, {"fresh": "everything"}, {"outputs": ("xpos")}]
)
def test_a_simulation_that_cannot_be_stepped_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        Simulation(**{"substeps": 1} | wrong)
