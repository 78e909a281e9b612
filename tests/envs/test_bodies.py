from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlmaml_envs import ant, half_cheetah, hopper, humanoid, swimmer, walker2d
from rlmaml_envs.bodies import factor_box, gaussian_state, load_model
from rlmaml_envs.locomotion import Body, LocomotionFamily, LocomotionVariant
from rlmaml_envs.problems import forwards
from tests.envs.robots import put

BODIES = {
    "half_cheetah finn2017": half_cheetah.FINN2017,
    "half_cheetah gymnasium": half_cheetah.GYMNASIUM,
    "ant finn2017": ant.FINN2017,
    "ant gymnasium": ant.GYMNASIUM,
    "ant rothfuss2019": ant.ROTHFUSS2019,
    "walker2d": walker2d.body(substeps=4),
    "hopper": hopper.BODY,
    "humanoid": humanoid.BODY,
    "swimmer": swimmer.BODY,
}


def world(body: Body, num_copies: int = 2) -> Any:
    variant: LocomotionVariant = forwards(body, {})
    return LocomotionFamily("Test", {"forward": variant})(num_copies)


@pytest.mark.parametrize(
    ("name", "size", "substeps", "duration"),
    [
        ("half_cheetah finn2017", 20, 1, 0.01),
        ("half_cheetah gymnasium", 17, 5, 0.05),
        ("ant finn2017", 125, 1, 0.02),
        ("ant gymnasium", 105, 5, 0.05),
        ("ant rothfuss2019", 113, 5, 0.05),
        ("walker2d", 17, 4, 0.008),
        ("hopper", 11, 4, 0.008),
        ("humanoid", 348, 5, 0.015),
        ("swimmer", 8, 4, 0.04),
    ],
)
def test_observations_and_control_steps_are_those_of_the_data_sheet(
    name: str, size: int, substeps: int, duration: float
) -> None:
    made = world(BODIES[name])
    assert made.observation_space.shape == (size,)
    assert BODIES[name].simulation.substeps == substeps
    assert made.physics.duration == pytest.approx(duration)


@pytest.mark.parametrize(("name", "position", "velocity"), [("half_cheetah", 0.01, 0.1), ("ant", 0.01, 0.1)])
def test_finn2017_starts_with_gaussian_noise(name: str, position: float, velocity: float) -> None:
    body = BODIES[f"{name} finn2017"]
    model = body.build()
    states = [body.initial_state(model, np.random.default_rng(seed)) for seed in range(500)]
    qpos, qvel = (np.stack(rows) for rows in zip(*states, strict=True))
    start = model.numeric("init_qpos").data if name == "ant" else model.qpos0
    assert np.abs(qpos.mean(axis=0) - start).max() < 4 * position / np.sqrt(500)
    assert (qpos - start).std() == pytest.approx(position, rel=0.1)
    assert np.abs(qvel.mean(axis=0)).max() < 4 * velocity / np.sqrt(500)
    assert qvel.std() == pytest.approx(velocity, rel=0.1)


def test_the_centre_of_mass_velocity_is_the_derivative_of_its_position() -> None:
    for module in (half_cheetah, ant):
        made = world(module.FINN2017)
        made.reset(np.arange(2), {copy: np.random.default_rng(copy) for copy in range(2)})
        physics, actions = made.physics, np.random.default_rng(0).uniform(-1, 1, (2, made.action_space.shape[0]))
        velocities, positions = [], []
        for _ in range(40):
            made.step(actions, np.ones(2, np.bool_))
            velocities.append(module.FINN2017.velocity(physics).copy())
            positions.append(physics.outputs["subtree_com"][:, 1, :2].copy())
        middle = (np.array(velocities)[1:] + np.array(velocities)[:-1]) / 2
        slope = np.diff(positions, axis=0) / physics.duration
        assert np.abs(slope).max() > 0.05
        assert np.median(np.abs(slope - middle)) < 0.01 * np.abs(slope).max()  # not where a foot hits the ground


def test_an_ant_that_stands_feels_the_ground_and_its_weight() -> None:
    for body in (ant.FINN2017, ant.GYMNASIUM):
        made = world(body)
        made.reset(np.arange(2), {copy: np.random.default_rng(copy) for copy in range(2)})
        physics = made.physics
        for _ in range(int(15.0 / physics.duration)):
            made.step(np.zeros((2, 8)), np.ones(2, np.bool_))
        assert np.abs(physics.qvel).max() < 0.05  # it stands
        assert (np.abs(ant.clipped_forces(physics)).sum(axis=(1, 2)) > 1.0).all()
        weight = physics.model.body_mass.sum() * 9.81
        np.testing.assert_allclose(physics.outputs["cfrc_ext"][:, 1:, 5].sum(axis=1), weight, rtol=0.02)


@pytest.mark.parametrize(
    ("name", "unhealthy"),
    [
        ("ant finn2017", {2: 0.19}),
        ("ant gymnasium", {2: 1.01}),
        ("walker2d", {1: 0.79}),
        ("walker2d", {1: 2.01}),
        ("walker2d", {2: -1.01}),
        ("walker2d", {2: 1.01}),
        ("hopper", {1: 0.69}),
        ("hopper", {2: 0.21}),
        ("hopper", {2: -0.21}),
        ("hopper", {4: 101.0}),
        ("humanoid", {2: 0.99}),
        ("humanoid", {2: 2.01}),
    ],
)
def test_a_robot_is_unhealthy_where_its_data_sheet_says(name: str, unhealthy: dict[int, float]) -> None:
    made, body = world(BODIES[name]), BODIES[name]
    made.reset(np.arange(2), {copy: np.random.default_rng(copy) for copy in range(2)})
    assert body.is_healthy is not None
    assert body.is_healthy(made.physics).all()
    put(made.physics, 1, unhealthy)
    assert body.is_healthy(made.physics).tolist() == [True, False]


def test_a_fallen_ant_ends_its_episode() -> None:
    made = world(ant.FINN2017)
    made.reset(np.arange(2), {copy: np.random.default_rng(copy) for copy in range(2)})
    put(made.physics, 1, {2: 1.5})
    assert made.step(np.zeros((2, 8)), np.ones(2, np.bool_)).terminated.tolist() == [False, True]


def test_finn2017s_ant_has_the_papers_time_step_and_contacts() -> None:
    model = ant.FINN2017.build()
    assert model.opt.timestep == 0.02
    np.testing.assert_allclose(model.geom_solimp[:, :3], [[0.8, 0.8, 0.01]] * model.ngeom)


def test_small_helpers() -> None:
    np.testing.assert_allclose(factor_box(2, 1.5, 3.0).high, [3.375, 3.375])
    np.testing.assert_allclose(factor_box(2, 1.5, 3.0).low, [1 / 3.375] * 2)
    model = load_model("swimmer.xml")
    start = np.arange(model.nq, dtype=np.float64)
    positions, velocities = gaussian_state(
        model, np.random.default_rng(0), position_scale=0.0, velocity_scale=0.0, start=start
    )
    np.testing.assert_array_equal(positions, start)
    assert not velocities.any()


def test_a_relative_path_is_one_of_gymnasiums_robots_and_never_a_file_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_model("ant.xml").nq == 15
    own = Path("ant.xml")
    own.write_text('<mujoco><worldbody><body><joint/><geom size="1"/></body></worldbody></mujoco>')
    with pytest.raises(ValueError, match=r"ant\.xml is one of Gymnasium's robots and a file in the working directory"):
        load_model("ant.xml")
    assert load_model(own.resolve()).nq == 1
    with pytest.raises(ValueError, match=r"mine\.xml is a relative path, and none of .*Path\('mine.xml'\).resolve"):
        load_model(Path("mine.xml"))
