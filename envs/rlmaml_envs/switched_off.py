"""What the ``<flag>`` elements of an MJCF file switch off, so that no simulation of the model looks at it."""

from collections.abc import Sequence

from rlmaml_envs.simulator import mujoco

_LOSSES = (
    "dof_frictionloss",
    "dof_solref",
    "dof_solimp",
    "tendon_frictionloss",
    "tendon_solref_fri",
    "tendon_solimp_fri",
)
_LIMITS = (
    *(f"jnt_{word}" for word in ("limited", "range", "margin", "solref", "solimp")),
    *(f"tendon_{word}" for word in ("limited", "range", "margin", "solref_lim", "solimp_lim")),
)
_MIXED = ("friction", "solref", "solimp", "margin")
_CONTACTS = (
    *(f"{kind}_{word}" for kind in ("geom", "flex", "pair") for word in (*_MIXED, "gap", "adhesion")),
    *(f"{kind}_{word}" for kind in ("geom", "flex") for word in ("solmix", "condim", "priority", "contype")),
    *("geom_conaffinity", "flex_conaffinity", "geom_surfacevel", "pair_dim", "pair_solreffriction"),
)
_EQUALITIES = ("eq_active0", "eq_data", "eq_solref", "eq_solimp")

DISABLED = {
    "damper": (
        *(f"{kind}_{word}" for kind in ("dof", "tendon", "actuator") for word in ("damping", "dampingpoly")),
        *("flex_damping", "flex_edgedamping"),
    ),
    "spring": (
        *(f"{kind}_{word}" for kind in ("jnt", "tendon") for word in ("stiffness", "stiffnesspoly", "springyield")),
        *("qpos_spring", "tendon_lengthspring", "flex_stiffness", "flex_bending", "flex_edgestiffness"),
    ),
    "frictionloss": _LOSSES,
    "limit": _LIMITS,
    "contact": _CONTACTS,
    "equality": _EQUALITIES,
    "constraint": (*_LOSSES, *_LIMITS, *_CONTACTS, *_EQUALITIES),
    "gravity": ("opt.gravity", "body_gravcomp", "jnt_actgravcomp"),
}
"""Flag, while it is disabled -> the model fields that are not looked at."""

ENABLED = {"override": tuple(f"{kind}_{word}" for kind in ("geom", "flex", "pair") for word in _MIXED)}
"""The same of a flag while it is enabled: all contacts have the same numbers, those of the option."""


def is_disabled(model: mujoco.MjModel, flag: str) -> bool:
    """Whether a flag of what is on by default is off."""
    return bool(model.opt.disableflags & getattr(mujoco.mjtDisableBit, f"mjDSBL_{flag.upper()}").value)


def is_enabled(model: mujoco.MjModel, flag: str) -> bool:
    """Whether a flag of what is off by default is on."""
    return bool(model.opt.enableflags & getattr(mujoco.mjtEnableBit, f"mjENBL_{flag.upper()}").value)


def check_switched_on(model: mujoco.MjModel, field: str) -> None:
    """Refuse to let tasks differ in a model field that no simulation of this model looks at.

    Raises:
        ValueError: names the field and the flag.
    """
    off = [(flag, "disable") for flag, fields in DISABLED.items() if field in fields and is_disabled(model, flag)]
    off += [(flag, "enable") for flag, fields in ENABLED.items() if field in fields and is_enabled(model, flag)]
    for flag, state in off:
        raise ValueError(
            f'"{field}" has no effect, because of <flag {flag}="{state}"/> in the option of the MJCF file: leave that '
            "away, or let tasks differ in something else."
        )


def check_flags(model: mujoco.MjModel, outputs: Sequence[str]) -> None:
    """Refuse a model whose actuators do nothing, or whose state is more than what a copy of it holds.

    Args:
        model: the robot.
        outputs: what is read of MjData.

    Raises:
        ValueError: names the flag, or the actuators.
    """
    for flag in ("sleep", "ipc"):
        if is_enabled(model, flag):
            raise ValueError(
                f'The model has <flag {flag}="enable"/>, whose bookkeeping is no part of the state: copies of a '
                "simulation would not go on alike. Leave it away in the MJCF file."
            )
    if is_disabled(model, "actuation"):
        raise ValueError(
            'The actuators are switched off by <flag actuation="disable"/>, so that nothing can be learned. Leave it '
            "away in the MJCF file."
        )
    if "sensordata" in outputs and is_disabled(model, "sensor"):
        raise ValueError(
            'outputs names "sensordata", which would be 0 because of <flag sensor="disable"/>. Leave that away in the '
            "MJCF file."
        )
    off = [
        model.actuator(index).name or f"number {index}"
        for index, group in enumerate(model.actuator_group.tolist())
        if 0 <= group < 31 and model.opt.disableactuator >> group & 1
    ]
    if off:
        raise ValueError(
            f"The actuators {', '.join(off)} are switched off by actuatorgroupdisable, so that their actions would do "
            "nothing. Leave that away in the MJCF file, or leave them away."
        )
