"""TensorBoard's files: their names say in which order they were written, and nothing of the machine or its clock.

A file that is written is named by TensorBoard, after the time and the host. TensorBoard reads files in the order of
their names: where a clock was put back, it would read what a resumed run wrote before what that takes the place of.
"""

from pathlib import Path

BEGIN, OURS = "events.out.tfevents.", ".run"


def name_event_files(folder: Path) -> None:
    """Number the files of writers that have ended: from 1 on, before any that is named after a time.

    Raises:
        OSError: they cannot be renamed.
    """
    files = sorted(folder.glob(f"{BEGIN}*"))
    numbered = [path for path in files if path.name.endswith(OURS)]
    last = max((int(path.name.removeprefix(BEGIN).removesuffix(OURS)) for path in numbered), default=0)
    for number, path in enumerate((path for path in files if path not in numbered), last + 1):
        path.rename(folder / f"{BEGIN}{number:010}{OURS}")
