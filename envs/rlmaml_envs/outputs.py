"""What of MjData is read besides positions and velocities: refused where MuJoCo does not compute it in this model.

MuJoCo computes some fields for the sensors that need them alone. Without one they are 0, or what they were for another
copy, and whoever reads them is never told.
"""

from collections.abc import Sequence

from rlmaml_envs.simulator import mujoco

_OF_FORCES = ("framelinacc", "frameangacc", "accelerometer", "force", "torque")
_OF_SUBTREES = ("subtreelinvel", "subtreeangmom")
FOR_SENSORS = {
    **dict.fromkeys(("cacc", "cfrc_ext", "cfrc_int"), _OF_FORCES),
    **dict.fromkeys(("subtree_linvel", "subtree_angmom"), _OF_SUBTREES),
}
"""Field of MjData -> the kinds of sensors for any of which, anywhere in the model, it is computed for all bodies."""


def check_outputs(model: mujoco.MjModel, names: Sequence[str]) -> None:
    """Refuse fields of MjData that are never computed in a model.

    Raises:
        ValueError: names the field, and what makes MuJoCo compute it.
    """
    there = {int(kind) for kind in model.sensor_type}
    for name in names:
        kinds = FOR_SENSORS.get(name, ())
        if kinds and there.isdisjoint(getattr(mujoco.mjtSensor, f"mjSENS_{kind.upper()}").value for kind in kinds):
            raise ValueError(
                f'outputs names "{name}", which MuJoCo computes for sensors alone, and this model has none that needs '
                f"it: it would be 0. Add a sensor, of any body: {' or '.join(kinds)}."
            )
        if name == "energy" and not model.opt.enableflags & mujoco.mjtEnableBit.mjENBL_ENERGY.value:
            raise ValueError(
                'outputs names "energy", which is never computed in this model: write <flag energy="enable"/> into the '
                "option of the MJCF file."
            )
        if name == "qfrc_inverse":
            raise ValueError(
                'outputs names "qfrc_inverse", which is never computed in a simulation that goes forward: read '
                '"qfrc_actuator", "qfrc_applied" or "qfrc_constraint".'
            )
