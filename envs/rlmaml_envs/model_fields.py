"""Where the numbers of named objects are in MuJoCo's model fields.

A field has a row for each object of one kind, which is not always the kind that its user thinks of: ``dof_damping`` has
a row per degree of freedom and not per joint, so that a free joint at the root shifts all others by five rows.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rlmaml_envs.simulator import mujoco

_KINDS = {
    "actuator": "actuator",
    "body": "body",
    "cam": "camera",
    "dof": "joint",
    "eq": "equality",
    "flex": "flex",
    "geom": "geom",
    "jnt": "joint",
    "light": "light",
    "mat": "material",
    "pair": "pair",
    "qpos0": "joint",
    "qpos": "joint",
    "sensor": "sensor",
    "site": "site",
    "tendon": "tendon",
}
"""First word of a field's name -> the kind of object whose numbers it holds."""

_COUNTS = {
    "actuator": "actuator_gear",
    "body": "body_mass",
    "camera": "cam_fovy",
    "equality": "eq_type",
    "flex": "flex_dim",
    "geom": "geom_type",
    "joint": "jnt_type",
    "light": "light_type",
    "material": "mat_rgba",
    "pair": "pair_dim",
    "sensor": "sensor_type",
    "site": "site_type",
    "tendon": "tendon_width",
}
"""Kind of object -> a field with one row for each."""

_GIVEN_TOO = frozenset(("eq_data", "geom_fluid", "geom_size"))
DERIVED = (frozenset(mujoco.MjModel._setconst_outputs) - _GIVEN_TOO) | {"dof_length"}
"""Fields that ``mj_setConst`` writes after every change, so that what a task writes there would be lost."""

BUILT = frozenset(("body_simple", "cam_sensorsize"))
"""Fields that the compiler alone reads: whether a body is simple, and from what a field of view follows."""

OF_FLEX = frozenset(
    f"flex_{word}"
    for word in (
        *("bending", "conaffinity", "condim", "contype", "damping", "edgedamping", "edgestiffness", "friction", "gap"),
        *("margin", "priority", "radius", "rgba", "solimp", "solmix", "solref", "stiffness"),
    )
)
"""Fields of a flex that are numbers of it as a whole, or of all of its elements at once. The others are of vertices,
edges and elements, or say how it is built."""

_STARTS = {"flex_stiffness": "flex_stiffnessadr", "flex_bending": "flex_bendingadr"}
"""Field of elements or edges -> where the numbers of each flex begin in it; -1 for one that has none."""

_LOOKS = re.compile(r"light_.*|mat_.*|.*_(rgba|group|user|matid)|tendon_width|sensor_noise|cam_ipd")
"""Fields that pictures and people read, and no simulation: MuJoCo adds no noise to sensors."""

_DOFS, _COORDINATES = {0: 6, 1: 3, 2: 1, 3: 1}, {0: 7, 1: 4, 2: 1, 3: 1}
"""Type of joint (free, ball, slide, hinge) -> its degrees of freedom, and the numbers of its position."""


def check_kind(field: str, kind: str) -> None:
    """Refuse a model field whose numbers do not belong to objects of a kind.

    Args:
        field: MjModel field, e.g. ``"dof_damping"``.
        kind: the kind of object by whose names it is addressed, e.g. ``"joint"``.

    Raises:
        ValueError: there is no such field or kind, the field belongs to another kind, or it is no measure that can be
            changed; the message names the kinds or the field's own.
    """
    if kind not in _COUNTS:
        raise ValueError(f'There is no kind "{kind}" of named objects. Choose one of: {", ".join(_COUNTS)}.')
    owner = _KINDS.get(field.split("_")[0])
    values = getattr(mujoco.MjModel, field, None)
    if owner is None or values is None:
        raise ValueError(
            f'"{field}" is no field of MuJoCo\'s model with a row per named object. Such fields begin with: '
            f"{', '.join(prefix + ('' if prefix == 'qpos0' else '_') for prefix in _KINDS)}. "
            "Write any other with Physics.field."
        )
    if owner != kind:
        raise ValueError(f'"{field}" is addressed by the names of a {owner}, not of a {kind}: write "{owner}".')


def check_measure(field: str) -> None:
    """Refuse a model field that no task can change: one that MuJoCo computes, or that says how a model is built.

    Raises:
        ValueError: names what to change instead.
    """
    if field in DERIVED:
        raise ValueError(f'"{field}" is computed by MuJoCo from other fields; change those from which it follows.')
    if field.startswith("flex_") and field not in OF_FLEX:
        raise ValueError(
            f'"{field}" holds numbers of vertices, edges or elements, or says how a flex is built, and cannot differ '
            f"between tasks. Of a flex these can: {', '.join(sorted(OF_FLEX))}; and body_mass of its vertices' bodies."
        )
    if field in BUILT:
        raise ValueError(f'"{field}" says how the model is built and cannot differ between tasks.')


def is_looks(field: str) -> bool:
    """Whether a model field is seen in pictures alone, so that the robot is the same with any values of it."""
    return _LOOKS.fullmatch(field) is not None


def objects(model: mujoco.MjModel, field: str) -> tuple[str, npt.NDArray[np.intp]]:
    """Whose numbers the rows of a model field are: the kind of object, and the id of each row's, (rows,)."""
    kind = _KINDS[field.split("_")[0]]
    if field.startswith("dof_"):
        return kind, model.dof_jntid.astype(np.intp)
    if field.startswith("qpos"):
        lengths = [_COORDINATES[int(kind_of)] for kind_of in model.jnt_type]
        return kind, np.repeat(np.arange(model.njnt), lengths)
    if field in _STARTS:
        return kind, np.repeat(np.arange(model.nflex), _lengths_of_flexes(model, field))
    return kind, np.arange(len(getattr(model, field)))


def name_of(model: mujoco.MjModel, kind: str, index: int) -> str:
    """The name of an object in the MJCF file, "" without one."""
    return mujoco.mj_id2name(model, _type_of(kind), index) or ""


def indices(model: mujoco.MjModel, kind: str, names: Sequence[str]) -> npt.NDArray[np.intp]:
    """The ids of named objects in a model.

    Args:
        model: the model.
        kind: ``"joint"``, ``"body"``, ``"geom"``, ``"site"``, ``"tendon"``, ``"actuator"`` and so on.
        names: their names in the MJCF file.

    Raises:
        ValueError: an unknown kind or name, or a name twice; the message lists the model's own.
    """
    if kind not in _COUNTS:
        raise ValueError(f'There is no kind "{kind}" of named objects. Choose one of: {", ".join(_COUNTS)}.')
    found = []
    for name in names:
        found.append(mujoco.mj_name2id(model, _type_of(kind), name))
        if found[-1] < 0:
            all_names = [name_of(model, kind, index) for index in range(len(getattr(model, _COUNTS[kind])))]
            own = ", ".join(filter(None, all_names)) or "none with a name"
            raise ValueError(f'The model has no {kind} "{name}". It has: {own}.')
        if found[-1] in found[:-1]:
            raise ValueError(f'The {kind} "{name}" is listed twice; list it once.')
    return np.array(found, np.intp)


def places(
    model: mujoco.MjModel, field: str, kind: str, names: Sequence[str], columns: slice = slice(None)
) -> npt.NDArray[np.intp]:
    """Where the numbers of named objects are in a flattened model field, (names, numbers).

    A joint with several degrees of freedom has the numbers of all of them, one after the other: the damping of a free
    joint is six numbers, along x, y, z and about them.

    Args:
        model: the model.
        field: MjModel field with a row per object or degree of freedom.
        kind: as for :func:`indices`.
        names: the objects.
        columns: which of each object's numbers.

    Raises:
        ValueError: see :func:`check_kind` and :func:`indices`; or the objects have unequal numbers of numbers, or none
            in these columns.
    """
    check_kind(field, kind)
    listed = indices(model, kind, names)
    first, count = listed, np.ones(len(listed), np.intp)
    if field.startswith(("dof_", "qpos")):
        types = model.jnt_type[listed].tolist()
        is_dof = field.startswith("dof_")
        first = (model.jnt_dofadr if is_dof else model.jnt_qposadr)[listed]
        count = np.array([(_DOFS if is_dof else _COORDINATES)[kind_of] for kind_of in types], np.intp)
    if field in _STARTS:
        first, count = getattr(model, _STARTS[field])[listed], _lengths_of_flexes(model, field)[listed]
    values = getattr(model, field)
    width = int(np.prod(values.shape[1:], dtype=int))
    numbers: list[Any] = [
        (np.arange(n * width) + start * width)[columns] for start, n in zip(first, count, strict=True)
    ]
    lengths = {name: len(row) for name, row in zip(names, numbers, strict=True)}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(
            f'"{field}": the numbers to be changed are as many as {lengths}; give each {kind} of one list equally '
            "many, and at least one."
        )
    return np.array(numbers, np.intp)


def _type_of(kind: str) -> int:
    """MuJoCo's number for a kind of objects."""
    return int(getattr(mujoco.mjtObj, f"mjOBJ_{kind.upper()}"))


def _lengths_of_flexes(model: mujoco.MjModel, field: str) -> npt.NDArray[np.intp]:
    """How many numbers of its elements or edges each flex has in a field, (nflex,)."""
    starts = getattr(model, _STARTS[field]).astype(np.intp)
    has = np.flatnonzero(starts >= 0)
    lengths = np.zeros(len(starts), np.intp)
    lengths[has] = np.diff(starts[has], append=len(getattr(model, field)))
    return lengths
