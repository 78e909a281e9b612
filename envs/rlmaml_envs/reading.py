"""Arrays that functions of a family are given to read: a write into one is an error that says whose it is.

Otherwise it would move robots, or change what other functions are told, without a word.
"""

import traceback
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def read_only(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """A view that cannot be written; it shows what is written elsewhere."""
    view = np.asarray(values).view()
    view.flags.writeable = False
    return view


def of_a_write(error: BaseException) -> str | None:
    """What is to be said of numpy's error about a write into such a view; None of any other error."""
    if not isinstance(error, ValueError) or not str(error).endswith("read-only"):
        return None
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(np.__file__).parent not in Path(frame.filename).parents]
    if not own:
        return None
    where = own[-1]
    return (
        f"the function {where.name} (line {where.lineno} of {Path(where.filename).name}: {where.line!r}) writes into "
        "what it is given to read, which would move robots, or change what other functions see. Change a copy, "
        "values.copy(); model fields are written by `changes` alone."
    )
