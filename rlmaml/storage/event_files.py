"""TensorBoard's files: their names say in which order they were written, and nothing of the machine or its clock.

A file that is written is named by TensorBoard, after the time and the host. TensorBoard reads files in the order of
their names: where a clock was put back, it would read what a resumed run wrote before what that takes the place of.
"""

from pathlib import Path

BEGIN, OURS = "events.out.tfevents.", ".run"


def event_files(folder: Path) -> list[Path]:
    """The files in a folder, as TensorBoard reads them."""
    return sorted(folder.glob(f"{BEGIN}*"))


def name_event_files(folder: Path) -> None:
    """Number the files of writers that have ended: from 1 on, before any that is named after a time.

    Raises:
        OSError: they cannot be renamed.
    """
    files = event_files(folder)
    numbers = {path: path.name.removeprefix(BEGIN).removesuffix(OURS) for path in files if path.name.endswith(OURS)}
    numbered = {path: int(number) for path, number in numbers.items() if number.isdecimal()}
    last = max(numbered.values(), default=0)
    for number, path in enumerate((path for path in files if path not in numbered), last + 1):
        path.rename(folder / f"{BEGIN}{number:010}{OURS}")
