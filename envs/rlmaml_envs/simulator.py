"""MuJoCo, imported in one place: with a message where it is missing or too old, and without OpenGL where that fails.

``import mujoco`` also imports the OpenGL backend that ``MUJOCO_GL`` names, and fails where that is not installed.
Stepping needs none, so MuJoCo is then imported without; a picture says what is missing when it is asked for.
"""

import os

NEEDED = (
    "The robots of envs need MuJoCo 4 or newer, whose mujoco.batch steps them ({error}). "
    "Install it with: pip install 'mujoco>=4'."
)

try:
    try:
        import mujoco as mujoco
    except ImportError:
        raise
    except Exception:  # the backend's own errors: AttributeError of PyOpenGL, RuntimeError for an unknown name
        _wanted = os.environ.pop("MUJOCO_GL")
        os.environ["MUJOCO_GL"] = "disable"
        try:
            import mujoco as mujoco
        finally:
            os.environ["MUJOCO_GL"] = _wanted
    from mujoco.batch import Batch as Batch
    from mujoco.batch import SimulationError as SimulationError
except ImportError as error:
    raise ImportError(NEEDED.format(error=error)) from error
