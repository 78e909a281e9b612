"""What functions of a family are given cannot be written, and nothing that they may do to it goes unnoticed."""

from typing import Any

import numpy as np
import pytest

from rlmaml_envs.controls import Mapped
from rlmaml_envs.episodes import Episodes, tried_out
from rlmaml_envs.locomotion import LocomotionFamily
from rlmaml_envs.own_code import FamilyError
from rlmaml_envs.physics import Simulation
from rlmaml_envs.reading import of_a_write, read_only
from tests.envs.robots import body, family, paying, speed_error_cost


def made(sheet: LocomotionFamily) -> Episodes:
    return tried_out("Written-v0", sheet, 3, 20)


def begun(sheet: LocomotionFamily) -> Episodes:
    episodes = made(sheet)
    episodes.reset(np.arange(3), {copy: np.random.default_rng(copy) for copy in range(3)})
    return episodes


def moved(physics: Any) -> Any:
    physics.qvel[:, 0] = 0.0
    return physics.qpos[:, :2]


def faster(physics: Any) -> Any:
    velocities = physics.qvel
    velocities *= 2
    return velocities


def shown(physics: Any) -> Any:
    physics.outputs["xpos"][:] = 0.0
    return physics.qpos


def heavier(physics: Any) -> Any:
    physics.field("body_mass")[:, 1] = 9.0
    return physics.qpos


def of_all(physics: Any) -> Any:
    physics.fields["body_mass"][:, 1] = 9.0
    return physics.qpos


def louder(motion: Any, task: Any) -> Any:
    motion.actions[:] = 0.0
    return motion.actions[:, 0]


def easier(motion: Any, task: Any) -> Any:
    task["speed"] *= 0.5
    return motion.velocity[:, 0]


def upright(motion: Any, task: Any) -> Any:
    motion.healthy[:] = True
    return motion.velocity[:, 0]


def turned(signal: Any, load: Any) -> Any:
    signal *= load
    return signal


def halved(xp: Any, actions: Any) -> Any:
    actions *= 0.5
    return actions


SEEN: dict[str, Any] = {"simulation": Simulation(substeps=5, outputs=("xpos",))}


@pytest.mark.parametrize(
    ("sheet", "function"),
    [
        (family(body(position=moved)), "moved"),
        (family(body(observe=faster)), "faster"),
        (family(body(observe=shown, **SEEN)), "shown"),
        (family(body(observe=heavier)), "heavier"),
        (paying(lambda m, t: of_all(m.physics)[:, 0]), "of_all"),
        (paying(louder), "louder"),
        (paying(easier), "easier"),
        (paying(upright), "upright"),
        (family(commands={"load": turned}), "turned"),
        (family(readings={"load": turned}), "turned"),
        (family(body(control_range=Mapped(halved, 2))), "halved"),
        (family(changes={"load": lambda physics, copies, factors: moved(physics)}), "moved"),
    ],
)
def test_a_function_that_writes_into_what_it_is_given_is_named_when_the_environment_is_made(
    sheet: LocomotionFamily, function: str
) -> None:
    words = rf"Written-v0: .*the function {function} \(line \d+ of test_reading.py: .*\) writes into what it is given"
    with pytest.raises(ValueError, match=words):
        made(sheet)


def test_a_write_that_comes_later_ends_with_the_same_words() -> None:
    def late(motion: Any, task: Any) -> Any:
        if motion.physics.outputs["time"].max() > 0.4:
            motion.physics.qpos[:] = 0.0
        return motion.velocity[:, 0]

    terms = {"speed_error_cost": speed_error_cost, "late_reward": late}
    episodes = begun(family(body(simulation=Simulation(substeps=5, outputs=("time",))), reward_terms=terms))
    with pytest.raises(FamilyError, match=r"Written-v0.* at step \d.*the function late .*writes into what it is given"):
        any(episodes.step(np.zeros((3, 2))).truncated.all() for _ in range(20))


@pytest.mark.parametrize(
    "change",
    [
        lambda physics, copies, factors: physics.model.body_mass.__setitem__(1, float(factors[0, 0])),
        lambda physics, copies, factors: setattr(physics.model.body("front"), "mass", float(factors[0, 0])),
    ],
)
def test_a_change_of_the_model_that_all_begin_from_is_refused(change: Any) -> None:
    with pytest.raises(ValueError, match=r"a function wrote into the model, physics.model.*physics.field\(name\)"):
        made(family(changes={"load": change}))


def test_a_table_of_tasks_is_each_terms_own() -> None:
    def own(motion: Any, task: Any) -> Any:
        task["speed"] = np.full(len(motion.actions), 99.0)
        return motion.velocity[:, 0]

    episodes = begun(family(reward_terms={"own_reward": own, "speed_error_cost": speed_error_cost}))
    assert (episodes.step(np.zeros((3, 2))).info["speed_error_cost"] > -2.0).all()


def test_other_errors_of_numpy_are_none_of_a_write() -> None:
    with pytest.raises(ValueError, match="read-only") as caught:
        read_only(np.zeros(2))[0] = 1.0
    assert of_a_write(caught.value) is not None
    for other in (ValueError("cannot convert"), TypeError("it is read-only")):
        assert of_a_write(other) is None
