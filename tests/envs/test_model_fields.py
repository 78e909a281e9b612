"""Every model field of named objects, against MuJoCo's own named views; ``test_model_values`` compiles models anew."""

import mujoco
import numpy as np
import pytest
from mujoco.batch import MODEL_FIELDS

from rlmaml_envs.model_fields import check_kind, indices, places

XML = """<mujoco>
<asset><material name="first"/><material name="paint"/></asset>
<worldbody>
<light name="sun"/><light name="lamp"/><camera name="front"/><camera name="side"/><site name="start"/><site name="end"/>
<body name="base" pos="0 0 .5"><freejoint name="root"/><geom name="chassis" type="box" size=".2 .1 .05"/>
<body name="one" pos="0 .2 0"><joint name="left" axis="0 1 0" damping=".5"/><geom name="wheel" size=".05"/></body>
<body name="two" pos="0 -.2 0"><joint name="right" axis="0 1 0" damping=".5"/><geom name="other" size=".05"/></body>
</body>
<body name="three"><joint name="shoulder" type="ball" damping=".1"/><geom size=".05"/></body>
</worldbody>
<contact><pair name="near" geom1="chassis" geom2="wheel"/><pair name="far" geom1="wheel" geom2="other"/></contact>
<equality><joint name="axle" joint1="left" joint2="right"/><weld name="grip" body1="one" body2="three"/></equality>
<tendon><fixed name="belt"><joint joint="left" coef="1"/></fixed>
<fixed name="rope"><joint joint="right" coef="2"/></fixed>
</tendon>
<actuator><motor name="front_motor" joint="left"/><motor name="back_motor" joint="right"/></actuator>
<sensor><jointpos name="angle" joint="left"/><gyro name="gyro" site="end"/></sensor>
</mujoco>"""

LAST = {
    "actuator": "back_motor",
    "body": "three",
    "camera": "side",
    "equality": "grip",
    "geom": "other",
    "joint": "right",
    "light": "lamp",
    "material": "paint",
    "pair": "far",
    "sensor": "gyro",
    "site": "end",
    "tendon": "rope",
}
VIEWED = {
    "actuator": "actuator", "body": "body", "cam": "camera", "dof": "joint", "eq": "equality", "geom": "geom",
    "jnt": "joint", "light": "light", "mat": "material", "pair": "pair", "sensor": "sensor", "site": "site",
    "tendon": "tendon",
}  # fmt: skip


def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(XML)


def fields() -> list[tuple[str, str, str]]:
    """Fields of fractional numbers that MuJoCo keeps per copy and shows in a named view: field, kind, attribute."""
    found, whole = [], model()
    for field in sorted(MODEL_FIELDS):
        first, _, rest = field.partition("_")
        kind, attribute = ("joint", field) if first in ("qpos0", "qpos") else (VIEWED.get(first), rest)
        if kind is None:
            continue
        values, part = getattr(whole, field), getattr(getattr(whole, kind)(LAST[kind]), attribute, np.empty(0))
        if values.dtype.kind == "f" and np.shares_memory(values, part):
            found.append((field, kind, attribute))
    return found


@pytest.mark.parametrize(("field", "kind", "attribute"), fields())
def test_a_field_is_found_where_mujocos_own_view_of_the_named_object_is(field: str, kind: str, attribute: str) -> None:
    ours, theirs = model(), model()
    getattr(ours, field).reshape(-1)[places(ours, field, kind, [LAST[kind]])] = 7.0
    getattr(getattr(theirs, kind)(LAST[kind]), attribute)[:] = 7.0
    np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))
    assert (getattr(ours, field) != getattr(model(), field)).any()


def test_most_fields_are_covered() -> None:
    assert len(fields()) > 80
    assert {kind for _, kind, _ in fields()} == set(LAST)


def test_a_joint_with_several_degrees_of_freedom_has_the_numbers_of_all() -> None:
    np.testing.assert_array_equal(places(model(), "dof_damping", "joint", ["root"]), [range(6)])
    np.testing.assert_array_equal(places(model(), "dof_damping", "joint", ["shoulder"]), [[8, 9, 10]])
    np.testing.assert_array_equal(places(model(), "qpos0", "joint", ["shoulder"]), [[9, 10, 11, 12]])
    np.testing.assert_array_equal(places(model(), "dof_damping", "joint", ["root"], slice(3, 6)), [[3, 4, 5]])
    np.testing.assert_array_equal(places(model(), "dof_solref", "joint", ["left", "right"], slice(0, 1)), [[12], [14]])
    with pytest.raises(ValueError, match=r"'left': 1, 'shoulder': 3"):
        places(model(), "dof_damping", "joint", ["left", "shoulder"])
    with pytest.raises(ValueError, match="at least one"):
        places(model(), "geom_friction", "geom", ["wheel"], slice(3, 5))


@pytest.mark.parametrize(
    ("field", "kind", "words"),
    [
        ("dof_damping", "body", 'addressed by the names of a joint, not of a body: write "joint"'),
        ("body_mass", "geom", "names of a body"),
        ("tendon_stiffness", "tendons", 'no kind "tendons"'),
        ("dof_dampings", "joint", "no field of MuJoCo's model"),
        ("opt", "body", "no field of MuJoCo's model"),
    ],
)
def test_a_field_of_another_kind_is_refused(field: str, kind: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_kind(field, kind)


def test_an_unknown_name_or_one_listed_twice_is_refused() -> None:
    assert indices(model(), "tendon", ["rope", "belt"]).tolist() == [1, 0]
    with pytest.raises(ValueError, match=r'no site "middle".*start, end'):
        indices(model(), "site", ["middle"])
    with pytest.raises(ValueError, match="listed twice"):
        indices(model(), "joint", ["left", "left"])
    with pytest.raises(ValueError, match='no kind "dof"'):
        indices(model(), "dof", ["left"])
