from pathlib import Path

from rlmaml.storage.event_files import name_event_files


def names(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def test_files_are_numbered_in_the_order_of_their_sessions_whatever_the_clock_said(tmp_path: Path) -> None:
    name_event_files(tmp_path / "absent")
    for content, clock in enumerate((1_700_000_005, 1_700_000_000, 1_700_000_001)):
        (tmp_path / f"events.out.tfevents.{clock}.host.{content}.0").write_text(str(content))
        assert list(names(tmp_path).values()) == [str(one) for one in range(content + 1)]  # as TensorBoard reads them
        name_event_files(tmp_path)
    assert names(tmp_path) == {f"events.out.tfevents.{number + 1:010}.run": str(number) for number in range(3)}
