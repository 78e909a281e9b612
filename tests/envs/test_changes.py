import warnings
from typing import Any
from unittest.mock import Mock

import mujoco
import numpy as np
import pytest
from gymnasium import spaces

from rlmaml_envs import ant, half_cheetah, hopper, walker2d
from rlmaml_envs.bodies import factor_box, scalar_box
from rlmaml_envs.changes import (
    blanked,
    changed_variants,
    damaged_actuator,
    dampings,
    ground_friction,
    multiplied,
    payload,
    permuted,
    placed,
    random_parameters,
    sample_factors,
    scaled,
    shifted,
)
from rlmaml_envs.episodes import tried_out
from rlmaml_envs.locomotion import Body, LocomotionFamily
from rlmaml_envs.model_fields import indices
from rlmaml_envs.physics import Physics, Simulation
from tests.envs import robots

COPIES = np.arange(3)


def changed(family: LocomotionFamily, variant: str, **tasks: Any) -> Physics:
    world = family(3, variant=variant)
    arrays = {name: np.array(values) for name, values in tasks.items()}
    other = {name: np.roll(array, 1, axis=0) for name, array in arrays.items()}
    world.set_tasks(COPIES, other)  # which must leave no trace
    world.set_tasks(COPIES, arrays)
    return world.physics


@pytest.mark.parametrize("module", [half_cheetah, ant])
def test_a_dead_motor_is_that_of_the_named_joint_alone_and_of_none_in_an_intact_robot(module: Any) -> None:
    physics = changed(module.CHANGED, "damaged", dead_joint=[0, 2, 6])
    nominal = physics.model.actuator_gear
    for copy, dead in enumerate([0, 2, 6]):
        joint = physics.model.joint(module.JOINTS[dead - 1]).id if dead else None
        for actuator in range(physics.model.nu):
            gear = physics.model_of(copy).actuator_gear[actuator]
            expected = 0.0 if physics.model.actuator_trnid[actuator, 0] == joint else nominal[actuator]
            np.testing.assert_array_equal(gear, expected)


def test_a_payload_is_a_point_mass_at_the_torsos_centre_of_mass() -> None:
    physics = changed(half_cheetah.CHANGED, "payload", payload=[0.0, 2.0, 5.0])
    for copy, mass in enumerate([0.0, 2.0, 5.0]):
        model, nominal = physics.model_of(copy), physics.model
        assert model.body("torso").mass[0] == nominal.body("torso").mass[0] + mass
        assert model.body_subtreemass[0] == pytest.approx(14.0 + mass)
        np.testing.assert_array_equal(model.body_mass[2:], nominal.body_mass[2:])
        np.testing.assert_array_equal(model.body_inertia, nominal.body_inertia)


def test_ground_friction_scales_sliding_friction_alone() -> None:
    physics = changed(ant.CHANGED, "friction", friction=[0.4, 1.0, 1.6])
    for copy, factor in enumerate([0.4, 1.0, 1.6]):
        model = physics.model_of(copy)
        np.testing.assert_array_equal(model.geom_friction[:, 0], physics.model.geom_friction[:, 0] * factor)
        np.testing.assert_array_equal(model.geom_friction[:, 1:], physics.model.geom_friction[:, 1:])


def test_changes_combine_with_each_other_and_with_a_target_speed() -> None:
    numbers = {"payload": [1.0, 2.0, 3.0], "friction": [0.5, 1.0, 1.5], "velocity": [0.0, 1.0, 2.0]}
    physics = changed(half_cheetah.CHANGED, "combined_velocity", dead_joint=[1, 2, 3], **numbers)
    model = physics.model_of(2)
    assert model.actuator_gear[2, 0] == 0.0
    assert model.body_subtreemass[0] == pytest.approx(17.0)
    assert model.geom_friction[0, 0] == pytest.approx(1.5 * physics.model.geom_friction[0, 0])


@pytest.mark.parametrize(
    ("family", "module"), [(walker2d.PARAMETERS, walker2d), (hopper.PARAMETERS, hopper)], ids=["walker2d", "hopper"]
)
def test_random_parameters_scale_each_body_joint_and_geom_by_its_own_factor(
    family: LocomotionFamily, module: Any
) -> None:
    world = family(3)
    drawn = [world.sample_task(np.random.default_rng(seed)) for seed in range(3)]
    tasks = {name: np.stack([task[name] for task in drawn]) for name in drawn[0]}
    physics = changed(family, "rothfuss2019", **tasks)
    assert len(physics.model.body_mass) == 1 + tasks["mass"].shape[1]
    for copy in range(3):
        model, nominal = physics.model_of(copy), physics.model
        np.testing.assert_array_equal(model.body_mass[1:], nominal.body_mass[1:] * tasks["mass"][copy])
        np.testing.assert_array_equal(
            model.body_inertia[1:], nominal.body_inertia[1:] * tasks["inertia"][copy][:, None]
        )
        for index, joint in enumerate(module.JOINTS):
            expected = nominal.joint(joint).damping * tasks["damping"][copy][index]
            np.testing.assert_array_equal(model.joint(joint).damping, expected)
        for index, geom in enumerate(module.GEOMS):
            expected = nominal.geom(geom).friction * tasks["friction"][copy][index]
            np.testing.assert_array_equal(model.geom(geom).friction, expected)
        assert len(module.GEOMS) == nominal.ngeom


@pytest.mark.parametrize("body", [walker2d.body(5), hopper.BODY], ids=["walker2d", "hopper"])
def test_one_factor_moves_a_robot_in_a_plane_as_one_for_every_component_of_inertia_and_friction(body: Body) -> None:
    """Of factors that every component has for itself, as published, the first friction's and the y inertia's count."""
    inertias, frictions = (np.random.default_rng(seed).uniform(0.3, 3.4, (9, 3)) for seed in (1, 2))

    def places(of_inertia: Any, of_friction: Any) -> Any:
        model, generator = body.build(), np.random.default_rng(0)
        model.body_inertia *= of_inertia[: model.nbody]
        model.geom_friction *= of_friction[: model.ngeom]
        data, visited = mujoco.MjData(model), []
        for _ in range(60):
            data.ctrl = generator.uniform(-1, 1, model.nu)
            mujoco.mj_step(model, data, 5)
            visited.append(data.qpos.copy())
        return np.stack(visited)

    every = places(inertias, frictions)
    np.testing.assert_allclose(places(inertias[:, [1]], frictions[:, [0]]), every, rtol=0, atol=1e-9)
    for others in ((inertias[:, [0]], frictions[:, [0]]), (inertias[:, [1]], frictions[:, [1]])):
        assert np.abs(places(*others) - every).max() > 1e-3


def test_the_walker_of_published_random_parameters_has_another_right_foot_and_differs_in_nothing_else() -> None:
    newer, published = (walker2d.PARAMETERS(1, name) for name in ("rothfuss2019", "rakelly2019"))
    one, other = newer.physics.model, published.physics.model
    foot = other.geom("foot_geom").id
    assert (other.geom_friction[foot, 0], one.geom_friction[foot, 0]) == (0.9, 1.9)
    for name in ("body_mass", "body_inertia", "dof_damping", "geom_size", "body_pos", "actuator_gear", "jnt_range"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(np.delete(one.geom_friction, foot, 0), np.delete(other.geom_friction, foot, 0))
    assert newer.task_space == published.task_space
    assert newer.physics.model.opt.timestep * 5 == pytest.approx(0.01)


def test_factors_are_log_uniform_within_their_bounds_and_a_target_speed_is_not_one() -> None:
    space = spaces.Dict({"mass": factor_box(2, 1.5, 3.0), "velocity": scalar_box(0.0, 2.0)})
    speeds = [sample_factors(space, np.random.default_rng(seed))["velocity"] for seed in range(2000)]
    assert np.mean(speeds) == pytest.approx(1.0, abs=4 * 2.0 / np.sqrt(12 * 2000))
    logs = np.array([np.log(sample_factors(space, np.random.default_rng(seed))["mass"]) for seed in range(2000)])
    largest = 3.0 * np.log(1.5)
    assert np.abs(logs).max() <= largest * (1 + 1e-12)
    # uniform on [-L, L]: mean 0 with deviation L / sqrt(3 n), standard deviation L / sqrt(3)
    assert np.abs(logs.mean(axis=0)).max() < 4 * largest / np.sqrt(3 * 2000)
    assert logs.std() == pytest.approx(largest / np.sqrt(3), rel=0.05)


def test_an_unknown_joint_is_refused_with_the_models_own() -> None:
    world = half_cheetah.VELOCITY(3)
    with pytest.raises(ValueError, match=r'no joint "tail".*bthigh.*ffoot'):
        damaged_actuator(["tail"])(world.physics, COPIES, np.zeros(3, np.int64))


@pytest.mark.parametrize(("field", "columns"), [("body_mass", slice(None)), ("body_pos", slice(0, 2))])
def test_named_objects_are_scaled_and_placed_in_their_copies_alone(field: str, columns: slice) -> None:
    physics = Physics(half_cheetah.build(), 3, Simulation(substeps=1), threads=1)
    names, bodies = ["bshin", "torso"], indices(physics.model, "body", ["bshin", "torso"])
    built = np.array(getattr(physics.model, field)).reshape(physics.model.nbody, -1)
    scaled(field, "body", names, columns)(physics, np.array([2, 0]), np.array([[2.0, 3.0], [4.0, 5.0]]))
    numbers = physics.field(field).reshape(3, physics.model.nbody, -1)
    expected = np.stack([built] * 3)
    for copy, factors in ((2, (2.0, 3.0)), (0, (4.0, 5.0))):
        for body, factor in zip(bodies, factors, strict=True):
            expected[copy, body, columns] *= factor
    np.testing.assert_array_equal(numbers, expected)
    width = built[0, columns].size
    values = np.arange(2.0 * width).reshape(1, 2, width)
    placed(field, "body", names, columns)(physics, np.array([1]), values)
    after = physics.field(field).reshape(3, physics.model.nbody, -1)
    np.testing.assert_array_equal(after[1][bodies][:, columns], values[0])


def test_signals_are_multiplied_permuted_and_shifted_copy_by_copy() -> None:
    signal = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    given = signal.copy()
    factors = np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(multiplied(signal, factors), [[0.1, -0.2, 0.0], [-0.4, 0.5, 0.6]])
    matrices = np.array([[[0, 1, 0], [0, 0, 1], [1, 0, 0]], np.eye(3)])
    np.testing.assert_array_equal(permuted(signal, matrices), [[0.2, 0.3, 0.1], [0.4, 0.5, 0.6]])
    offsets = np.array([[0.5, 0.25], [0.0, -0.5]])
    arriving = shifted(slice(1, 3))(signal, offsets)
    np.testing.assert_array_equal(arriving, [[0.1, 0.2 + 0.5, 0.3 + 0.25], [0.4, 0.5, 0.6 - 0.5]])
    np.testing.assert_array_equal(signal, given)


def test_one_part_of_a_signal_is_blanked_exactly_or_none() -> None:
    signal = np.arange(1.0, 13.0).reshape(3, 4)
    given = signal.copy()
    arriving = blanked([slice(2, 4), slice(0, 1)])(signal, np.array([0, 1, 2]))
    np.testing.assert_array_equal(arriving, [[1, 2, 3, 4], [5, 6, 0, 0], [0, 10, 11, 12]])
    np.testing.assert_array_equal(signal, given)


def test_what_was_published_of_a_robot_says_nothing_of_one_that_is_changed() -> None:
    base = half_cheetah.VELOCITY.variants["finn2017"]
    assert base.published
    changed = changed_variants(base, base, joints=half_cheetah.JOINTS, heaviest=6.0)
    random = random_parameters(base, num_bodies=7, joints=half_cheetah.JOINTS, geoms=["floor"])
    for variant in (*changed.values(), random):
        assert not variant.published
        assert variant.horizon == base.horizon


TWO_WHEELS = """<mujoco><worldbody><body name="base" pos="0 0 .5"><freejoint/><geom type="box" size=".2 .1 .05"/>
<body pos="0 .2 0"><joint name="left" axis="0 1 0" damping=".5"/><geom name="l" size=".05"/></body>
<body pos="0 -.2 0"><joint name="right" axis="0 1 0" damping=".5"/><geom name="r" size=".05"/></body></body></worldbody>
<tendon><fixed name="belt"><joint joint="left" coef="1"/></fixed></tendon>
<actuator><motor tendon="belt"/><motor joint="right"/><motor joint="left"/><motor joint="left"/></actuator></mujoco>"""


def two_wheels() -> Physics:
    return Physics(mujoco.MjModel.from_xml_string(TWO_WHEELS), 2, Simulation(substeps=1), threads=1)


@pytest.mark.parametrize("make", [dampings, lambda names: scaled("dof_damping", "joint", names)])
def test_dampings_reach_their_joints_behind_a_free_joint(make: Any) -> None:
    physics = two_wheels()
    make(["left", "right"])(physics, np.array([1]), np.array([[3.0, 4.0]]))
    damping = [physics.model_of(copy).dof_damping[6:].tolist() for copy in range(2)]
    assert damping == [[0.5, 0.5], [1.5, 2.0]]
    assert not physics.field("dof_damping")[:, :6].any()


def test_a_dead_motor_is_every_one_of_its_joint_and_not_that_of_a_tendon() -> None:
    physics = two_wheels()
    damaged_actuator(["right", "left"])(physics, np.arange(2), np.array([2, 1]))
    np.testing.assert_array_equal(physics.field("actuator_gear")[..., 0], [[1, 1, 0, 0], [1, 0, 1, 1]])
    with pytest.raises(ValueError, match="No actuator moves the joint"):
        damaged_actuator(["rootx"])(half_cheetah.VELOCITY(2).physics, np.arange(2), np.array([0, 1]))


def test_a_change_of_the_wrong_shape_or_field_is_refused() -> None:
    physics, copies = two_wheels(), np.arange(2)
    with pytest.raises(ValueError, match="names of a joint"):
        scaled("dof_damping", "geom", ["l"])
    with pytest.raises(ValueError, match=r"shape \(2, 1\) per task; give the task parameter the shape \(2,\)"):
        scaled("geom_friction", "geom", ["l", "r"])(physics, copies, np.ones((2, 2, 1)))
    with pytest.raises(ValueError, match=r"the shape \(2, 3\)\."):
        placed("geom_pos", "geom", ["l", "r"])(physics, copies, np.ones((2, 3, 2)))
    with pytest.raises(ValueError, match="no measures"):
        scaled("geom_condim", "geom", ["l"])(physics, copies, np.ones((2, 1)))
    with pytest.raises(ValueError, match="says how the model is built"):
        placed("geom_bodyid", "geom", ["l"])(physics, copies, np.ones((2, 1)))
    placed("geom_condim", "geom", ["l"])(physics, copies, np.array([1, 4]))
    assert physics.field("geom_condim")[:, 1].tolist() == [1, 4]
    scaled("geom_friction", "geom", ["l"], slice(0, 1))(physics, copies, np.array([1.0, 4.0]))
    assert physics.field("geom_friction")[:, 1, 0].tolist() == [1, 4]


BY_PAIR = """<mujoco><worldbody><geom name="floor" type="plane" size="9 9 .1"/><body pos="0 0 .1"><freejoint/>
<geom name="box" type="box" size=".1 .1 .1" contype="0" conaffinity="0"/><geom name="skin" size=".01" contype="0"
conaffinity="0" mass="0"/></body></worldbody>
<contact><pair name="sole" geom1="floor" geom2="box" friction=".8 .7 .005 .0001 .0002"/></contact></mujoco>"""
ROLLING = [0.005, 0.0001, 0.0002]


def test_ground_friction_reaches_the_contact_of_a_pair_of_geoms() -> None:
    physics = Physics(mujoco.MjModel.from_xml_string(BY_PAIR), 2, Simulation(substeps=100), threads=1)
    ground_friction(physics, np.array([1]), np.array([0.25]))
    physics.settle(np.arange(2))
    np.testing.assert_allclose(physics.fields["pair_friction"][:, 0], [[0.8, 0.7, *ROLLING], [0.2, 0.175, *ROLLING]])
    start = np.zeros((2, 6))
    start[:, 0] = 1.0
    physics.reset(np.arange(2), np.stack([physics.model.qpos0] * 2), start)
    assert physics.step(np.zeros((2, 0)), np.ones(2, np.bool_)) is None
    slid = physics.qpos[:, 0]
    np.testing.assert_allclose(slid, [1 / (2 * 9.81 * 0.8), 0.2 - 9.81 * 0.2 * 0.2**2 / 2], rtol=0.2)


@pytest.mark.parametrize("make", [scaled, placed])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("box", "its contype and conaffinity are 0: write pair_friction of the pair sole"),
        ("floor", "nothing is left that it may touch: write pair_friction of the pair sole"),
        ("skin", "its contype and conaffinity are 0: name the geom that collides"),
    ],
)
def test_a_number_of_contacts_that_none_reads_is_refused(make: Any, name: str, words: str) -> None:
    physics = Physics(mujoco.MjModel.from_xml_string(BY_PAIR), 2, Simulation(substeps=1), threads=1)
    with pytest.raises(ValueError, match=f'"geom_friction" of the geom "{name}" has no effect, because {words}'):
        make("geom_friction", "geom", [name], slice(0, 1))(physics, np.arange(2), np.ones((2, 1)))
    scaled("pair_friction", "pair", ["sole"], slice(0, 2))(physics, np.arange(2), np.full((2, 1), 0.5))
    assert physics.field("pair_friction")[1, 0, :2].tolist() == [0.4, 0.35]


@pytest.mark.parametrize(
    ("geom", "more", "words"),
    [
        ('contype="0" conaffinity="0"', "", ['"geom_size" of the geom "skin" is seen in pictures alone']),
        ("", "", []),
        ('contype="0" conaffinity="0"', '<option density="1.2"/>', []),
        (
            'contype="0" conaffinity="0"',
            '<worldbody><site name="eye"/></worldbody><sensor><rangefinder site="eye"/></sensor>',
            [],
        ),
    ],
)
def test_a_size_that_pictures_alone_show_is_told_of(geom: str, more: str, words: list[str]) -> None:
    xml = f"""<mujoco>{more}<worldbody><geom type="plane" size="9 9 1"/><body pos="0 0 1"><freejoint/>
    <geom size=".1"/><geom name="skin" size=".2" {geom}/></body></worldbody></mujoco>"""
    physics = Physics(mujoco.MjModel.from_xml_string(xml), 1, Simulation(substeps=1), threads=1)
    scaled("geom_size", "geom", ["skin"], slice(0, 1))(physics, np.arange(1), np.full((1, 1), 2.0))
    (said,) = physics.remarks.values()
    assert [sentence.split(":")[0] for sentence in said] == words


@pytest.mark.parametrize("make", [scaled, placed])
@pytest.mark.parametrize("name", ["base", "shelf"])
def test_the_mass_of_what_does_not_move_is_refused(make: Any, name: str) -> None:
    """A base without a joint, and what is fixed to it; what hangs at a joint moves with its mass."""
    xml = """<mujoco><worldbody><body name="base"><geom size=".1"/><body name="shelf"><geom size=".1"/>
    <body name="arm"><joint name="turn"/><geom size=".1" pos="0 1 0"/><body name="hand"><geom size=".1" pos="0 2 0"/>
    </body></body></body></body></worldbody></mujoco>"""
    physics = Physics(mujoco.MjModel.from_xml_string(xml), 1, Simulation(substeps=1), threads=1)
    with pytest.raises(ValueError, match=f'"body_mass" of the body "{name}" has no effect, because it does not move'):
        make("body_mass", "body", [name])(physics, np.arange(1), np.ones((1, 1)))
    with pytest.raises(ValueError, match="has no effect, because it does not move"):
        payload(name)(physics, np.arange(1), np.ones(1))
    for moving in ("arm", "hand"):
        make("body_mass", "body", [moving])(physics, np.arange(1), np.ones((1, 1)))


@pytest.mark.parametrize(("factor", "words"), [(0.5, ""), (1.5, r"wider, \[-1.5, 1.5\], than .*, \[-1.0, 1.0\]")])
def test_a_range_of_controls_that_actions_never_leave_cannot_be_widened(factor: float, words: str) -> None:
    ranges = scaled("actuator_ctrlrange", "actuator", ["pull"])
    world = robots.family(changes={"load": ranges})(2)
    tasks = {"speed": np.array([0.1, 0.1]), "load": np.array([[1.0], [factor]])}
    if words:
        with pytest.raises(ValueError, match=f'"actuator_ctrlrange" of the actuator "pull" has no effect .*{words}'):
            world.set_tasks(np.arange(2), tasks)
        return
    world.set_tasks(np.arange(2), tasks)
    world.reset(np.arange(2), {copy: np.random.default_rng(0) for copy in range(2)})
    world.step(np.ones((2, 2)), np.ones(2, np.bool_))
    speeds = world.physics.qvel[:, 0]
    np.testing.assert_allclose(speeds[1], 0.5 * speeds[0])


SLEDGES = """<mujoco><worldbody><geom name="ground" type="plane" size="9 9 1"/>
<body pos="0 0 .1"><joint name="slide" type="slide" axis="1 0 0"/><geom name="front" size=".1"/></body>
<body pos="-1 0 .1"><joint name="follow" type="slide" axis="1 0 0"/><geom name="back" size=".1"/></body></worldbody>
<contact><pair name="bumper" geom1="front" geom2="back"/></contact>
<actuator><motor joint="slide" ctrlrange="-1 1"/><motor joint="follow" ctrlrange="-1 1"/></actuator></mujoco>"""


def test_a_number_that_some_contacts_of_a_geom_do_not_read_is_said_once() -> None:
    made = robots.family(robots.body(SLEDGES), changes={"load": scaled("geom_friction", "geom", ["front"])})
    words = '"geom_friction" of the geom "front" has no effect on its contacts of the pair bumper.*change pair_friction'
    with pytest.warns(UserWarning, match=words) as said:
        episodes = tried_out("Sledges-v0", made, 2)
    assert len(said) == 1
    episodes.assign({"speed": [0.1], "load": [[2.0]]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        episodes.reset(np.arange(2), {copy: np.random.default_rng(copy) for copy in range(2)})
    assert episodes.family.changed_fields()["geom_friction"][:, 1, 0].tolist() == [2.0, 2.0]


def test_whether_a_number_of_contacts_is_read_is_looked_up_once_for_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = Mock(return_value=[])
    monkeypatch.setattr("rlmaml_envs.physics.check_effect", look_up)
    world = robots.family(robots.body(SLEDGES), changes={"load": scaled("geom_friction", "geom", ["front"])})(2)
    for factor in (1.5, 2.0):
        world.set_tasks(np.arange(2), {"speed": np.array([0.1, 0.1]), "load": np.full((2, 1), factor)})
    assert look_up.call_count == 1
    assert world.physics.field("geom_friction")[:, 1, 0].tolist() == [2.0, 2.0]


APART = """<mujoco><worldbody><geom name="floor" type="plane" size="9 9 .1" contype="0"/>
<body name="one" pos="0 0 .1"><freejoint/><geom name="cube" size=".1 .1 .1" type="box" conaffinity="0"/></body>
<body name="two" pos="1 0 .1"><freejoint/><geom name="ball" size=".1" conaffinity="0"/></body></worldbody>
<contact>{}</contact></mujoco>"""


@pytest.mark.parametrize(
    ("contact", "word"),
    [("", ""), ('<exclude body1="two" body2="world"/>', "ball"), ('<exclude body1="one" body2="two"/>', "")],
)
def test_a_geom_that_an_exclude_leaves_nothing_to_touch_is_refused(contact: str, word: str) -> None:
    """Cube and ball touch the floor, and not each other."""
    physics = Physics(mujoco.MjModel.from_xml_string(APART.format(contact)), 2, Simulation(substeps=1), threads=1)
    for name in ("floor", "cube", "ball"):
        change = scaled("geom_friction", "geom", [name])
        if name == word:
            with pytest.raises(ValueError, match=f'"{name}" has no effect, because nothing is left that it may touch'):
                change(physics, np.arange(2), np.ones((2, 1)))
        else:
            change(physics, np.arange(2), np.full((2, 1), 0.5))


PAIRED = """<mujoco><worldbody><geom name="floor" type="plane" size="9 9 .1" friction=".3"/>
<body name="one" pos="0 0 .1"><freejoint/><geom name="cube" size=".1 .1 .1" type="box" friction=".6"/></body>
<body name="two" pos="1 0 .1"><freejoint/><geom name="other" size=".1 .1 .1" type="box"/></body>
<body name="three" pos="2 0 .1"><freejoint/>
<geom name="last" size=".1 .1 .1" type="box" contype="0" conaffinity="0"/></body>
<flexcomp name="rope" type="grid" count="4 1 1" spacing=".1 .1 .1" pos="3 0 .01" dim="1" mass=".5" radius=".01">
<edge stiffness="10" damping=".1"/></flexcomp></worldbody><contact>
<pair name="given" geom1="floor" geom2="other" friction=".5 .4 .005 .0001 .0002"/>
<pair name="plain" geom1="floor" geom2="last"/>
<exclude body1="one" body2="two"/></contact></mujoco>"""


def test_ground_friction_is_that_of_a_model_compiled_anew_with_pairs_excludes_and_what_bends() -> None:
    built, spec = mujoco.MjModel.from_xml_string(PAIRED), mujoco.MjSpec.from_string(PAIRED)
    physics = Physics(built, 2, Simulation(substeps=1), threads=1)
    ground_friction(physics, np.array([1]), np.array([0.5]))
    physics.settle(np.arange(2))
    for thing, count in [(one, 1) for one in (*spec.geoms, *spec.flexes)] + [(one, 2) for one in spec.pairs]:
        thing.friction = thing.friction * np.where(np.arange(len(thing.friction)) < count, 0.5, 1.0)
    anew = spec.compile()
    for field in ("geom_friction", "pair_friction", "flex_friction"):
        np.testing.assert_allclose(getattr(physics.model_of(1), field), getattr(anew, field))
        np.testing.assert_array_equal(getattr(physics.model_of(0), field), getattr(built, field))
    speeds = np.zeros((2, built.nv))
    speeds[:, ::6], speeds[:, 18:] = 1.0, np.tile([1.0, 0.0, 0.0], 4)
    physics.reset(np.arange(2), np.stack([built.qpos0] * 2), speeds)
    data = mujoco.MjData(anew)
    data.qvel[:] = speeds[1]
    for _ in range(60):
        assert physics.step(np.zeros((2, 0)), np.ones(2, np.bool_)) is None
    mujoco.mj_step(anew, data, 60)
    np.testing.assert_allclose(physics.qpos[1], data.qpos, rtol=1e-9, atol=1e-12)
    slid = physics.qpos - built.qpos0
    assert (slid[1, [0, 7, 14, 21]] > 1.005 * slid[0, [0, 7, 14, 21]]).all()  # three boxes and the rope
