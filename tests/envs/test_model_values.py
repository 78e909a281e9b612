"""A field of a copy that a task writes does what it does in a model compiled anew, or is refused."""

import re
from typing import Any

import mujoco
import numpy as np
import pytest
from mujoco.batch import MODEL_FIELDS

from rlmaml_envs.changes import COUNTED, placed, scaled
from rlmaml_envs.model_fields import BUILT, DERIVED, OF_FLEX, places
from rlmaml_envs.model_values import may_touch
from rlmaml_envs.physics import Physics, Simulation
from tests.envs.test_model_fields import LAST, VIEWED, fields

WHOLE = """<mujoco><compiler angle="radian" inertiafromgeom="false"/>
<size nuser_body="2" nuser_jnt="2" nuser_geom="2" nuser_site="2" nuser_cam="2" nuser_tendon="2" nuser_actuator="2"
nuser_sensor="2"/>
<asset><material name="first"/><material name="paint"/></asset>
<worldbody><geom name="floor" type="plane" size="5 5 .1"/>
<light name="sun"/><light name="lamp"/><camera name="front"/><camera name="side"/><site name="start"/>
<body name="base" pos="0 0 .5"><inertial pos="0 0 0" mass="1" diaginertia=".1 .2 .15"/><freejoint name="root"/>
<geom name="chassis" type="box" size=".2 .1 .05"/>
<body name="one" pos="0 .2 0"><inertial pos="0 0 0" mass="1" diaginertia=".1 .2 .15"/>
<joint name="left" axis="0 1 0"/><geom name="wheel" size=".05"/></body>
<body name="two" pos="0 -.2 0"><inertial pos=".1 0 0" mass="1" diaginertia=".1 .2 .15"/>
<joint name="right" axis="0 1 0" damping=".5" range="-1 1" actuatorfrcrange="-1 1" stiffness="2" springyield=".1"/>
<geom name="other" type="box" size=".05 .06 .07" fluidshape="ellipsoid"/><site name="end" pos="0 .1 .2"/></body></body>
<body name="three" pos="2 0 1"><inertial pos="0 0 0" mass="1" diaginertia=".1 .2 .15"/>
<joint name="shoulder" type="ball"/><geom size=".05"/></body></worldbody>
<contact><pair name="near" geom1="chassis" geom2="wheel"/><pair name="far" geom1="floor" geom2="other"/></contact>
<equality><joint name="axle" joint1="left" joint2="right"/>
<connect name="grip" body1="three" anchor="0 0 0"/></equality>
<tendon><fixed name="belt"><joint joint="left" coef="1"/></fixed>
<fixed name="rope" range="-1 1" actuatorfrcrange="-1 1" springlength=".1 .2" stiffness="1" springyield=".1">
<joint joint="right" coef="2"/></fixed></tendon>
<actuator><motor name="front_motor" joint="left"/>
<general name="back_motor" joint="right" dyntype="filter" gainprm="1" biastype="affine" dynprm=".1" ctrlrange="-1 1"
forcerange="-1 1" actlimited="true" actrange="-1 1" delay=".01" nsample="9"/></actuator>
<sensor><jointpos name="angle" joint="left"/><gyro name="gyro" site="end" delay=".01" nsample="9"/></sensor></mujoco>"""
"""A robot with inertias that do not follow from geoms, and objects of every kind."""

EDITED = {
    "dof_dampingpoly": "damping", "dof_solimp": "solimp_friction", "dof_solref": "solref_friction",
    "jnt_solimp": "solimp_limit", "jnt_solref": "solref_limit", "jnt_stiffnesspoly": "stiffness", "qpos0": "ref",
    "qpos_spring": "springref", "tendon_dampingpoly": "damping", "tendon_lengthspring": "springlength",
    "tendon_solimp_fri": "solimp_friction", "tendon_solimp_lim": "solimp_limit", "actuator_dampingpoly": "damping",
    "tendon_solref_fri": "solref_friction", "tendon_solref_lim": "solref_limit", "tendon_stiffnesspoly": "stiffness",
    "geom_fluid": "fluid_coefs", "eq_active0": "active", "actuator_user": "userdata", "body_user": "userdata",
    "cam_user": "userdata", "geom_user": "userdata", "jnt_user": "userdata", "sensor_user": "userdata",
    "site_user": "userdata", "tendon_user": "userdata",
}  # fmt: skip
"""Field -> the attribute of MjSpec, where it has another name."""

NUMBERS = {
    "geom_fluid": ([0.1, 0.2, 0.3, 0.4, 0.5], slice(1, 6)),
    "jnt_axis": ([0.6, 0.8, 0.0], slice(None)),
    "actuator_delay": ([0.004], slice(None)),
    "sensor_delay": ([0.004], slice(None)),
    "sensor_interval": ([0.004, 0.0], slice(None)),
    "light_dir": ([0.6, 0.0, -0.8], slice(None)),
    "cam_intrinsic": ([0.3, 0.4], slice(2, 4)),
    "eq_data": ([0.1, 0.2, 0.3], slice(0, 3)),
}
"""Field -> numbers of a copy and their columns, where any would not do."""

SWITCHES = {
    "actuator_actearly": 1, "actuator_actlimited": 0, "actuator_ctrllimited": 0, "actuator_forcelimited": 0,
    "eq_active0": 0, "geom_conaffinity": 0, "geom_condim": 4, "geom_contype": 0, "geom_priority": 2,
    "jnt_actfrclimited": 0, "jnt_actgravcomp": 1, "jnt_limited": 0, "light_active": 0, "light_castshadow": 0,
    "mat_texuniform": 1, "tendon_actfrclimited": 0, "tendon_limited": 0, "geom_castshadow": 0,
}  # fmt: skip
"""Whole-numbered field -> another value."""
KINDS = {**VIEWED, "qpos0": "joint", "qpos": "joint"}
END = {**LAST, "body": "two"}


NOT_WRITTEN = {
    r"(actuator|body|cam|dof|eq|geom|jnt|light|mat|pair|sensor|site|tendon)_[A-Za-z0-9]+": "whole numbers: types, "
    "groups and which object belongs to which",
    r"flex(edge)?_[A-Za-z0-9]+": "vertices, edges and elements of a flex, that have no names, and how it is built",
    r"[BDM]_[a-z]+|map(D2M|M2D|M2M)|name_[a-z]+adr|names_map": "the layout of the model",
    r"(numeric|text|tuple|key|plugin)_[a-z]+|plugin": "numbers and texts of a file that no simulation reads",
    r"exclude_signature|wrap_[a-z]+": "which bodies never touch, and by what a tendon goes: parts without names",
    r"opt\.[a-z_]+": "options of the simulation, which belong to no object; `Physics.field` writes them",
}
"""Fields that MuJoCo keeps per copy and no task writes by name -> why."""


def measures() -> list[str]:
    """Fields that MuJoCo keeps per copy, and that a task may write by the names of objects."""
    built, kinds = mujoco.MjModel.from_xml_string(WHOLE), set(KINDS)
    listed = {name: getattr(built, name, None) for name in MODEL_FIELDS if name.split("_")[0] in kinds}
    whole = {name for name, values in listed.items() if values is None or values.dtype == np.int32}
    return sorted(set(listed) - (whole - {name for name in whole if name.endswith(COUNTED)}) - DERIVED - BUILT)


def every_field(model: mujoco.MjModel) -> dict[str, Any]:
    names = [name for name in MODEL_FIELDS if isinstance(getattr(model, name, None), np.ndarray)]
    return {name: np.array(getattr(model, name)) for name in names}


def other_numbers(field: str, built: Any) -> tuple[Any, slice]:
    if field in NUMBERS:
        return NUMBERS[field]
    if field in SWITCHES:
        return [SWITCHES[field]], slice(None)
    numbers = 1.25 * built + 0.1 + 0.05 * np.arange(len(built))
    return (np.sort(numbers) if "range" in field else numbers), slice(None)


def edited(field: str, kind: str, numbers: Any) -> mujoco.MjModel:
    """The model compiled anew from a specification in which the named object has other numbers."""
    spec = mujoco.MjSpec.from_string(WHOLE)
    named = {**{pair.name: pair for pair in spec.pairs}, **{one.name: one for one in spec.materials}}
    thing = named.get(END[kind]) or getattr(spec, kind)(END[kind])
    attribute = EDITED.get(field) or field.split("_", 1)[1]
    given = getattr(thing, attribute)
    if isinstance(given, np.ndarray):
        whole, first = np.array(given), 1 if field.endswith("poly") else 2 * (field == "cam_intrinsic")
        whole.reshape(-1)[first : first + len(numbers)] = numbers
        setattr(thing, attribute, whole)
    else:
        setattr(thing, attribute, list(numbers) if attribute == "userdata" else type(given)(numbers[0]))
    return spec.compile()


@pytest.mark.parametrize("field", measures())
def test_a_copy_of_whom_a_field_was_written_is_a_model_compiled_anew_and_moves_like_it(field: str) -> None:
    built = mujoco.MjModel.from_xml_string(WHOLE)
    kind = KINDS[field.split("_")[0]]
    numbers, columns = other_numbers(
        field, getattr(built, field).reshape(-1)[places(built, field, kind, [END[kind]])[0]]
    )
    anew = edited(field, kind, numbers)
    physics = Physics(built, 2, Simulation(substeps=20), threads=1)
    placed(field, kind, [END[kind]], columns)(physics, np.array([1]), np.array([numbers]))
    physics.settle(np.arange(2))
    mine, theirs, untouched = every_field(physics.model_of(1)), every_field(anew), every_field(built)
    other = every_field(physics.model_of(0))
    assert not np.array_equal(theirs[field], untouched[field])
    assert not [name for name, values in theirs.items() if not np.allclose(mine[name], values, rtol=1e-6, atol=1e-12)]
    assert not [name for name, values in untouched.items() if not np.array_equal(other[name], values)]
    speeds, controls = np.random.default_rng(0).normal(size=(2, built.nv)), np.full((2, built.nu), 0.5)
    physics.reset(np.arange(2), np.stack([built.qpos0] * 2), speeds)
    data = mujoco.MjData(anew)
    data.qpos[:], data.qvel[:], data.ctrl[:] = built.qpos0, speeds[1], controls[1]
    assert physics.step(controls, np.ones(2, np.bool_)) is None
    mujoco.mj_step(anew, data, 20)
    np.testing.assert_allclose(physics.qpos[1], data.qpos, rtol=1e-6, atol=1e-8)


def write(field: str, numbers: Any, row: int, xml: str = WHOLE) -> Physics:
    """Two copies, of which the second has other numbers in one row of a field."""
    physics = Physics(mujoco.MjModel.from_xml_string(xml), 2, Simulation(substeps=1), threads=1)
    physics.field(field)[1, row] = numbers
    physics.settle(np.arange(2))
    return physics


def test_directions_have_length_one_as_in_a_compiled_model_and_those_of_others_keep_their_bits() -> None:
    physics = write("geom_quat", [3.0, 4.0, 0.0, 0.0], 3)
    np.testing.assert_allclose(physics.fields["geom_quat"][1, 3], [0.6, 0.8, 0.0, 0.0])
    np.testing.assert_array_equal(physics.fields["geom_quat"][1, :3], physics.model.geom_quat[:3])
    np.testing.assert_allclose(write("jnt_axis", [0.0, 3.0, 4.0], 2).fields["jnt_axis"][1, 2], [0.0, 0.6, 0.8])


def test_a_geom_that_grows_meets_what_it_would_have_missed() -> None:
    xml = """<mujoco><option gravity="0 0 0"/><worldbody>
    <body name="ball"><freejoint/><geom name="ball" size=".1" mass="1"/></body>
    <body name="wall" pos="1 0 0"><geom name="wall" type="box" size=".1 1 1"/></body></worldbody></mujoco>"""
    physics = write("geom_size", [0.95, 0.0, 0.0], 0, xml)
    physics.reset(np.arange(2), np.stack([physics.model.qpos0] * 2), np.zeros((2, 6)))
    assert [physics.data_of(copy).ncon for copy in range(2)] == [0, 1]
    for _ in range(20):
        physics.step(np.zeros((2, 0)), np.ones(2, np.bool_))
    assert physics.qpos[0, 0] == 0.0
    assert physics.qpos[1, 0] < -0.005  # pushed back by the wall


@pytest.mark.parametrize(
    ("field", "numbers", "row", "words"),
    [
        ("body_mass", -1.0, 1, '"body_mass" of the body "base" must be larger than 0'),
        ("body_inertia", 0.0, 1, "larger than 0"),
        ("geom_size", -0.1, 2, "not be negative"),
        ("geom_friction", -1.0, 2, "not be negative"),
        ("geom_quat", 0.0, 2, "no direction"),
        ("geom_condim", 2, 2, "must be 1, 3, 4 or 6"),
        ("jnt_range", [-2.0, 2.0], 1, '"left" has no effect, because jnt_limited is off: give the range in the MJCF'),
        ("jnt_springyield", 0.5, 1, "built without"),
        ("tendon_range", [-2.0, 2.0], 0, "tendon_limited is off"),
        ("actuator_ctrlrange", [-2.0, 2.0], 0, "actuator_ctrllimited is off"),
        ("body_pos", [0.0, 0.0, 2.0], 1, "because of its free joint: initial_state"),
        ("jnt_pos", 0.1, 0, "no effect on a joint of this type"),
        ("jnt_axis", [0.0, 1.0, 0.0], 3, "no effect on a joint of this type"),
        ("jnt_pos", 0.1, 3, '"shoulder" is part of how the body was compiled: write simple="false"'),
        ("qpos0", 0.1, 2, '"root" has no effect'),
        ("body_ipos", 0.1, 4, 'body "three" is compiled as simple'),
    ],
)
def test_numbers_that_would_not_do_what_they_say_are_refused(field: str, numbers: Any, row: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        write(field, numbers, row)


def test_a_geom_that_was_built_to_collide_with_nothing_is_refused_by_its_name() -> None:
    ghost = '<geom name="ghost" size=".1" contype="0" conaffinity="0"/>'
    xml = f'<mujoco><worldbody><geom size=".1"/>{ghost}</worldbody></mujoco>'
    with pytest.raises(ValueError, match=r'geom "ghost" collides but was not compiled to collide'):
        write("geom_contype", 1, 1, xml)


def test_a_limit_that_a_task_turns_on_takes_its_range() -> None:
    physics = Physics(mujoco.MjModel.from_xml_string(WHOLE), 2, Simulation(substeps=1), threads=1)
    physics.field("jnt_limited")[1, 1] = True
    physics.field("jnt_range")[1, 1] = [-0.1, 0.1]
    physics.settle(np.arange(2))
    assert physics.model_of(1).joint("left").range.tolist() == [-0.1, 0.1]


@pytest.mark.parametrize("field", ["geom_rbound", "body_subtreemass", "dof_invweight0", "tendon_length0"])
def test_a_field_that_mujoco_computes_is_refused(field: str) -> None:
    for change in (scaled, placed):
        with pytest.raises(ValueError, match="computed by MuJoCo from other fields"):
            change(field, VIEWED[field.split("_")[0]], ["any"])


def test_a_field_of_the_compiler_and_the_time_step_are_refused() -> None:
    with pytest.raises(ValueError, match="how the model is built"):
        placed("body_simple", "body", ["one"])
    with pytest.raises(ValueError, match="same for all copies"):
        write("opt.timestep", 0.1, 0)


def test_every_field_that_mujoco_keeps_per_copy_is_compared_or_refused_for_a_reason() -> None:
    assert len(measures()) >= 137
    assert set(OF_ONE_FLEX) | {field for fields in YOUNG.values() for field in fields} == OF_FLEX
    assert {field for field, _, _ in fields()} - set(measures()) <= DERIVED | BUILT
    built = Physics(mujoco.MjModel.from_xml_string(WHOLE), 1, Simulation(substeps=1), threads=1)
    words = r"says how (the model|a flex) is built|is no field of MuJoCo's model with a row"
    for field in sorted(set(MODEL_FIELDS) - set(measures()) - OF_FLEX - DERIVED - BUILT):
        assert len([why for pattern, why in NOT_WRITTEN.items() if re.fullmatch(pattern, field)]) == 1, field
        kind = {**KINDS, "flex": "flex"}.get(field.split("_")[0], "body")
        with pytest.raises(ValueError, match=words):
            placed(field, kind, [END.get(kind, "cloth")])(built, np.array([0]), np.zeros(1))


BENDS = """<mujoco><worldbody><geom name="floor" type="plane" size="5 5 .1" friction=".1"/>
<flexcomp name="cloth" type="grid" count="3 3 1" spacing=".1 .1 .1" pos="0 0 .02" dim="2" mass=".5" radius=".01">
<edge equality="false" damping=".5"/><contact friction=".7 .01 .001"/>
<elasticity young="1e3" poisson=".1" thickness="1e-2" elastic2d="both"/></flexcomp>
<flexcomp name="rope" type="grid" count="4 1 1" spacing=".1 .1 .1" pos="1 0 .02" dim="1" mass=".5" radius=".01">
<edge stiffness="10" damping=".1"/></flexcomp>
<flexcomp name="soft" type="grid" count="2 2 2" spacing=".1 .1 .1" pos="3 0 .12" dim="3" mass=".5" radius=".01">
<edge damping=".1"/><elasticity young="1e3" poisson=".1"/></flexcomp></worldbody></mujoco>"""
FLEXES = ("cloth", "rope", "soft")
OF_ONE_FLEX: dict[str, Any] = {
    "flex_condim": 4, "flex_conaffinity": 0, "flex_contype": 0, "flex_damping": 0.001, "flex_edgedamping": 0.7,
    "flex_edgestiffness": 20.0, "flex_friction": [0.3, 0.02, 0.002], "flex_gap": 0.02, "flex_margin": 0.03,
    "flex_priority": 2, "flex_radius": 0.02, "flex_rgba": [0.2, 0.3, 0.4, 1.0], "flex_solmix": 3.0,
    "flex_solimp": [0.8, 0.9, 0.01, 0.4, 1.5], "flex_solref": [0.05, 0.8],
}  # fmt: skip
YOUNG = {"cloth": ("flex_stiffness", "flex_bending"), "soft": ("flex_stiffness",)}
"""What follows from the modulus of elasticity, and in proportion to it."""


def moves_like(physics: Physics, anew: mujoco.MjModel, steps: int = 20) -> tuple[bool, bool]:
    """Whether the second copy goes on as a model compiled anew does, and whether that is not as the first one does."""
    speeds = np.random.default_rng(0).normal(size=physics.model.nv) * 0.3
    physics.reset(np.arange(2), np.stack([physics.model.qpos0] * 2), np.stack([speeds] * 2))
    data = mujoco.MjData(anew)
    data.qpos[:], data.qvel[:] = anew.qpos0, speeds
    for _ in range(steps):
        assert physics.step(np.zeros((2, 0)), np.ones(2, np.bool_)) is None
    mujoco.mj_step(anew, data, steps)
    return np.allclose(physics.qpos[1], data.qpos, rtol=1e-9), not np.allclose(physics.qpos[0], data.qpos, rtol=1e-4)


@pytest.mark.parametrize("field", sorted(OF_ONE_FLEX))
def test_a_number_of_what_bends_is_that_of_a_model_compiled_anew(field: str) -> None:
    built, spec = mujoco.MjModel.from_xml_string(BENDS), mujoco.MjSpec.from_string(BENDS)
    physics = Physics(built, 2, Simulation(substeps=1), threads=1)
    names = ["rope"] if field == "flex_edgestiffness" else ["soft", "cloth"]
    placed(field, "flex", names)(physics, np.array([1]), np.array([[OF_ONE_FLEX[field]] * len(names)]))
    physics.settle(np.arange(2))
    for name in names:
        setattr(spec.flexes[FLEXES.index(name)], field[5:], OF_ONE_FLEX[field])
    anew = spec.compile()
    mine, theirs, untouched = every_field(physics.model_of(1)), every_field(anew), every_field(built)
    assert not np.array_equal(theirs[field], untouched[field])
    assert not [one for one, values in theirs.items() if not np.allclose(mine[one], values, rtol=1e-6, atol=1e-12)]
    other = every_field(physics.model_of(0))
    assert not [one for one, values in untouched.items() if not np.array_equal(other[one], values)]
    alike, moved = moves_like(physics, anew)
    assert alike
    assert moved or field not in ("flex_edgedamping", "flex_edgestiffness", "flex_margin", "flex_radius")


@pytest.mark.parametrize("name", sorted(YOUNG))
def test_what_bends_is_as_stiff_as_a_model_compiled_with_another_modulus(name: str) -> None:
    physics = Physics(mujoco.MjModel.from_xml_string(BENDS), 2, Simulation(substeps=1), threads=1)
    for field in YOUNG[name]:
        scaled(field, "flex", [name])(physics, np.array([1]), np.array([[3.0]]))
    physics.settle(np.arange(2))
    spec = mujoco.MjSpec.from_string(BENDS)
    spec.flexes[FLEXES.index(name)].young = 3e3
    anew = spec.compile()
    mine, theirs = every_field(physics.model_of(1)), every_field(anew)
    assert not [one for one, values in theirs.items() if not np.allclose(mine[one], values, rtol=1e-9, atol=1e-12)]
    assert moves_like(physics, anew) == (True, True)


@pytest.mark.parametrize(
    ("field", "name", "words"),
    [
        ("flex_bending", "rope", "the numbers to be changed are as many as {'rope': 0}"),
        ("flex_friction", "flag", 'The model has no flex "flag". It has: cloth, rope, soft'),
        ("flex_edgestiffness", "soft", 'of the flex "soft" is that of a cable alone'),
        ("flex_vert", "rope", "holds numbers of vertices, .*Of a flex these can: flex_bending, .*body_mass"),
    ],
)
def test_what_is_no_number_of_a_flex_is_refused(field: str, name: str, words: str) -> None:
    physics = Physics(mujoco.MjModel.from_xml_string(BENDS), 1, Simulation(substeps=1), threads=1)

    def change() -> None:
        (placed if "edge" in field else scaled)(field, "flex", [name])(physics, np.array([0]), np.full((1, 1), 9.0))
        physics.settle(np.arange(1))

    with pytest.raises(ValueError, match=words):
        change()


def test_a_flex_that_touches_nothing_has_no_friction_that_could_differ() -> None:
    ghost = BENDS.replace("<contact friction", '<contact contype="0" conaffinity="0" selfcollide="none" friction')
    physics = Physics(mujoco.MjModel.from_xml_string(ghost), 1, Simulation(substeps=1), threads=1)
    with pytest.raises(ValueError, match=r'of the flex "cloth" has no effect.* are 0: name the flex that collides'):
        scaled("flex_friction", "flex", ["cloth"])(physics, np.array([0]), np.ones((1, 1)))


def stacked(generator: np.random.Generator) -> str:
    """Bodies all of whose geoms are at one place, with random masks, joints, pairs and excludes."""

    def geom(name: str) -> str:
        masks = 'contype="{}" conaffinity="{}"'.format(*generator.integers(0, 3, 2))
        return f'<geom name="{name}" size="{generator.uniform(0.3, 0.5):.2f}" {masks}/>'

    bodies, depth = "", 0
    for number in range(1, 5):
        if generator.random() < 0.5:
            bodies, depth = bodies + "</body>" * depth, 0
        joint = '<joint axis="0 1 0"/>' * (generator.random() < 0.75)
        inertial = '<inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>'
        bodies, depth = bodies + f'<body name="b{number}">{joint}{geom(f"g{number}")}{inertial}', depth + 1
    one, other = sorted(generator.choice(5, 2, replace=False).tolist())
    exclude = f'<exclude body1="{f"b{one}" if one else "world"}" body2="b{other}"/>'
    pair = '<pair geom1="g0" geom2="g1" friction="3 3 3 3 3"/>'
    flag = '<flag filterparent="disable"/>' * (generator.random() < 0.3)
    return (
        f'<mujoco><option gravity="0 0 0">{flag}</option><worldbody>{geom("g0")}{geom("more")}{bodies}'
        f"{'</body>' * depth}</worldbody><contact>{exclude}{pair * (generator.random() < 0.4)}</contact></mujoco>"
    )


def test_what_may_touch_is_what_mujoco_lets_touch() -> None:
    generator, seen = np.random.default_rng(0), []
    for _ in range(60):
        model = mujoco.MjModel.from_xml_string(stacked(generator))
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        touched = np.zeros(model.ngeom, np.bool_)
        for contact in data.contact[: data.ncon]:
            touched[contact.geom] |= contact.friction[0] != 3
        np.testing.assert_array_equal(may_touch(model, np.arange(model.ngeom)), touched)
        seen += touched.tolist()
    assert 0.2 < np.mean(seen) < 0.8


def test_nothing_is_printed_or_kept_of_a_change_that_mujoco_warns_of(
    capfd: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hinges = '<joint name="one" armature="1"/><joint name="two"/>'
    write("dof_armature", 0.0, 0, f'<mujoco><worldbody><body>{hinges}<geom size=".1"/></body></worldbody></mujoco>')
    assert not capfd.readouterr().err
    assert not list(tmp_path.iterdir())
