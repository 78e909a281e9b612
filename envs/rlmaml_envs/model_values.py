"""What MuJoCo's compiler sees to when it reads a model, seen to in the fields of copies as well.

A number that a task writes into a model does what it does in a model compiled anew from the changed file. What follows
from it is computed by ``mj_setConst``. What is left is here: directions have length 1, and numbers that the compiler
would refuse, or that no simulation looks at, are refused. What the compiler derives once stays as it was built: the
inertia that follows from geoms, the ``springdamper`` of a joint, the ``dampratio`` of a servo, the length range of a
muscle, the rest length of a tendon, the frame of a mesh.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rlmaml_envs.family import Copies
from rlmaml_envs.model_fields import indices, name_of, objects
from rlmaml_envs.simulator import mujoco
from rlmaml_envs.switched_off import check_switched_on

DIRECTIONS = ("body_quat", "body_iquat", "geom_quat", "site_quat", "cam_quat", "jnt_axis", "light_dir")
"""Fields whose rows have length 1."""

POSITIVE = ("body_mass", "body_inertia")
"""Fields that are larger than 0 in bodies that move."""

NOT_NEGATIVE = (
    "geom_size", "geom_friction", "pair_friction", "flex_friction", "flex_radius", "dof_armature",
    "dof_frictionloss", "tendon_armature", "tendon_frictionloss", "actuator_armature",
)  # fmt: skip

GATES = {
    "jnt_range": "jnt_limited",
    "jnt_margin": "jnt_limited",
    "jnt_actfrcrange": "jnt_actfrclimited",
    "tendon_range": "tendon_limited",
    "tendon_margin": "tendon_limited",
    "tendon_actfrcrange": "tendon_actfrclimited",
    "actuator_ctrlrange": "actuator_ctrllimited",
    "actuator_forcerange": "actuator_forcelimited",
    "actuator_actrange": "actuator_actlimited",
}
"""Field -> the one that says whether MuJoCo looks at it."""

OF_CONTACTS = tuple(
    f"{kind}_{word}"
    for kind in ("geom", "flex")
    for word in ("friction", "solref", "solimp", "solmix", "margin", "gap", "condim", "priority")
)
"""Fields of geoms, and of what bends, that are read where two touch."""

PAIRED = {
    **{word: f"pair_{word}" for word in ("friction", "solref", "solimp", "margin", "gap")},
    "condim": "pair_dim",
    "solmix": "pair_solref and pair_solimp",
    "priority": "pair_friction and the others",
}
"""What of a geom -> what of a ``<pair>`` is read in its place."""

OF_INERTIA = ("body_mass", "body_inertia", "body_ipos", "body_iquat", "body_gravcomp")
"""Fields of bodies that matter where these move."""

Fields = Mapping[str, npt.NDArray[Any]]

FREE, BALL = int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_BALL)
SHAPED = [int(mujoco.mjtGeom.mjGEOM_MESH), int(mujoco.mjtGeom.mjGEOM_HFIELD), int(mujoco.mjtGeom.mjGEOM_SDF)]
"""Types of geoms whose shape is given by data."""
SHORTEST = 1e-9
"""Length below which a direction is none."""


def see_to(model: mujoco.MjModel, fields: Fields, copies: Copies) -> None:
    """Give directions their length of 1, and refuse what would not do what it says.

    Args:
        model: the robot as it was built.
        fields: model field -> its live array (copy, ...); directions are written.
        copies: whose fields were written.

    Raises:
        ValueError: a number that MuJoCo's compiler refuses, or one that its simulation never looks at; names the field,
            the object and what to do instead.
    """
    for name, values in fields.items():
        if name.startswith("opt."):
            if (values[copies] != getattr(model.opt, name.removeprefix("opt."))).any():
                check_switched_on(model, name)
            continue
        if not values.size:
            continue
        built = getattr(model, name)
        written = values[copies]
        changed = (written != built).reshape(len(copies), len(built), -1).any(axis=2)
        if not changed.any():
            continue
        check_switched_on(model, name)
        for illegal, why in _faults(model, name, written, fields, copies):
            if (changed & illegal).any():
                kind, owners = objects(model, name)
                owner = int(owners[np.argwhere(changed & illegal)[0][1]])
                raise ValueError(f'"{name}" of the {kind} "{name_of(model, kind, owner) or owner}" {why}')
        if name in DIRECTIONS:
            values[copies] = _of_length_one(written)


def check_commanded(model: mujoco.MjModel, fields: Fields, copies: Copies) -> None:
    """Refuse ranges of controls that are wider than they were built, where actions command no more than that.

    Args:
        model: the robot as it was built.
        fields: as for :func:`see_to`.
        copies: whose fields were written.

    Raises:
        ValueError: names the actuator and both ranges.
    """
    if "actuator_ctrlrange" not in fields:
        return
    own, built = fields["actuator_ctrlrange"][copies], model.actuator_ctrlrange
    wider = np.argwhere((own[..., 0] < built[:, 0]) | (own[..., 1] > built[:, 1]))
    if wider.size:
        copy, actuator = wider[0].tolist()
        name = name_of(model, "actuator", actuator) or actuator
        raise ValueError(
            f'"actuator_ctrlrange" of the actuator "{name}" has no effect where it is wider, '
            f"{own[copy, actuator].tolist()}, than in the MJCF file, {built[actuator].tolist()}: full actions command "
            "the ends of that. Write the widest range there, and narrow it by tasks."
        )


def check_effect(model: mujoco.MjModel, field: str, names: Sequence[str]) -> list[str]:
    """Refuse to write a number into objects of which none would read it.

    A contact of a ``<pair>`` reads the pair's numbers and never those of its geoms, not even where the file gives none.
    What does not move has a mass that nobody feels.

    Returns:
        What is to be said of geoms that have contacts of both kinds, so that the number matters in some alone; or of
        the size of a geom that touches nothing.

    Raises:
        ValueError: names the geom or flex, and the pair, or why it touches nothing; or the body that does not move.
    """
    if field in OF_INERTIA:
        for name, body in zip(names, indices(model, "body", names).tolist(), strict=True):
            if model.body_weldid[body] == 0:
                raise ValueError(
                    f'"{field}" of the body "{name}" has no effect, because it does not move: it has no joint, and '
                    "nothing that it is part of has one. Name a body that moves."
                )
    if field not in OF_CONTACTS and (field != "geom_size" or reads_shapes(model)):
        return []
    kind, _, word = field.partition("_")
    listed, remarks = indices(model, kind, names), []
    masks = getattr(model, f"{kind}_contype")[listed] | getattr(model, f"{kind}_conaffinity")[listed]
    touched = may_touch(model, listed) if kind == "geom" else (masks | model.flex_selfcollide[listed]) != 0
    for name, index, mask, touches in zip(names, listed.tolist(), masks, touched, strict=True):
        sides = zip(model.pair_geom1.tolist(), model.pair_geom2.tolist(), strict=True)
        own = [number for number, side in enumerate(sides) if kind == "geom" and index in side]
        pairs = ", ".join(name_of(model, "pair", number) or str(number) for number in own)
        if field == "geom_size":
            if not touches and not own:
                remarks.append(
                    f'"geom_size" of the geom "{name}" is seen in pictures alone: it touches nothing, and masses and '
                    "inertias stay as they were built. Name the geom that collides."
                )
        elif touches and own:
            remarks.append(
                f'"{field}" of the geom "{name}" has no effect on its contacts of the pair {pairs}, which have numbers '
                f"of their own; change {PAIRED[word]} with it where these are meant."
            )
        elif not touches:
            why = "nothing is left that it may touch" if mask else "its contype and conaffinity are 0"
            cure = f"write {PAIRED[word]} of the pair {pairs}" if own else f"name the {kind} that collides"
            raise ValueError(f'"{field}" of the {kind} "{name}" has no effect, because {why}: {cure}.')
    return remarks


def reads_shapes(model: mujoco.MjModel) -> bool:
    """Whether a geom's shape may matter without a contact: to a sensor's ray or distance, or in air or water."""
    types = mujoco.mjtSensor
    of_shapes = [types.mjSENS_RANGEFINDER, types.mjSENS_GEOMDIST, types.mjSENS_GEOMNORMAL, types.mjSENS_GEOMFROMTO]
    sensed = np.isin(model.sensor_type, [kind.value for kind in of_shapes]).any()
    return bool(sensed or model.opt.density > 0 or model.opt.viscosity > 0)


def may_touch(model: mujoco.MjModel, geoms: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Which geoms may have a contact whose numbers follow from themselves, (geoms,).

    The other one is of another body, neither its parent nor one that is welded to it, fits by ``contype`` and
    ``conaffinity``, and is in no ``<pair>`` or ``<exclude>`` with it.
    """
    bodies, types, affinities = model.geom_bodyid, model.geom_contype, model.geom_conaffinity
    fits = (types[geoms][:, None] & affinities) | (affinities[geoms][:, None] & types)
    welded = model.body_weldid[bodies]
    above = model.body_weldid[model.body_parentid[welded]]
    fits = (fits != 0) & (welded[geoms][:, None] != welded)
    if not model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_FILTERPARENT.value:
        mine, others = welded[geoms][:, None], welded[None]
        fits &= (mine == 0) | (others == 0) | ((mine != above) & (others != above[geoms][:, None]))
    for first, second in zip(model.pair_geom1.tolist(), model.pair_geom2.tolist(), strict=True):
        fits[geoms == first, second], fits[geoms == second, first] = False, False
    first, second = np.minimum(bodies[geoms][:, None], bodies), np.maximum(bodies[geoms][:, None], bodies)
    fits &= ~np.isin((first << 16) + second, model.exclude_signature)
    by_flex = types[geoms][:, None] & model.flex_conaffinity | affinities[geoms][:, None] & model.flex_contype
    return np.asarray(fits.any(axis=1) | (by_flex != 0).any(axis=1))


def plain(model: mujoco.MjModel, message: str) -> str:
    """A message of MuJoCo with the names of the objects that it counts."""

    def named(found: re.Match[str]) -> str:
        name = getattr(model, found[1])(int(found[2])).name
        return f'{found[1]} "{name}"' if name else found[0]

    return re.sub(r"\b(body|geom|joint) (\d+)\b", named, message)


def _faults(
    model: mujoco.MjModel, name: str, written: npt.NDArray[Any], fields: Fields, copies: Copies
) -> Iterator[tuple[npt.NDArray[np.bool_], str]]:
    """What may be wrong with a field: in which rows, (n, rows) or (rows,), and why."""
    rows, kinds = written.reshape(*written.shape[:2], -1), model.jnt_type
    if name in POSITIVE:
        yield (
            (np.arange(model.nbody) > 0) & (rows <= 0).any(axis=2),
            "must be larger than 0.",
        )
    if name in NOT_NEGATIVE:
        yield np.asarray((rows < 0).any(axis=2)), "must not be negative."
    if name in DIRECTIONS:
        yield np.linalg.norm(rows, axis=2) < SHORTEST, "is no direction: its length is 0."
    if name in ("geom_condim", "flex_condim", "pair_dim"):
        yield ~np.isin(rows[..., 0], (1, 3, 4, 6)), "must be 1, 3, 4 or 6."
    if name in GATES:
        gate = fields[GATES[name]][copies] if GATES[name] in fields else getattr(model, GATES[name])
        yield (
            np.asarray(gate == 0),
            f"has no effect, because {GATES[name]} is off: give the range in the MJCF file as well.",
        )
    if name in ("jnt_springyield", "tendon_springyield"):
        built = getattr(model, name.replace("springyield", "plasticadr")) >= 0
        yield ~built, "has no effect, because it was built without: give one in the MJCF file as well."
    if name == "geom_size":
        yield np.isin(model.geom_type, SHAPED), "has no effect: the size of a mesh or height field is in its data."
    if name == "flex_edgestiffness":
        yield model.flex_dim != 1, "is that of a cable alone; of what has a surface, write flex_stiffness."
    if name in ("body_pos", "body_quat"):
        free = np.isin(np.arange(model.nbody), model.jnt_bodyid[kinds == FREE])
        yield free, "has no effect, because of its free joint: initial_state says where it starts."
    if name in ("jnt_pos", "jnt_axis"):
        unread = kinds == FREE if name == "jnt_pos" else (kinds == FREE) | (kinds == BALL)
        yield unread, "has no effect on a joint of this type."
        simple = model.body_simple[model.jnt_bodyid] > 0
        yield simple, 'is part of how the body was compiled: write simple="false" for the body in the MJCF file.'
    if name == "qpos0":
        unread = (kinds == FREE) | (kinds == BALL)
        yield (
            unread[objects(model, name)[1]],
            "has no effect on a joint of this type: initial_state says where it starts.",
        )


def _of_length_one(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The rows at length 1; those that have it stay bit for bit."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.where(np.abs(lengths - 1) > 1e-12, rows / np.where(lengths > 0, lengths, 1.0), rows)
