import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from rlmaml.terminal.option_help import as_meant, sentences, shown_options, value_word, wrapped_text


@dataclass(frozen=True)
class Inner:
    """Options of a part."""

    task: tuple[str, ...] = ()
    """Parameters of a task, which are
    many words
    on several lines."""


@dataclass(frozen=True)
class Several:
    """Options that begin with words of any number."""

    run_dirs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN_DIR ...")]
    """Directories of runs."""


@dataclass(frozen=True)
class Outer:
    """Options of a script."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Directory of a run."""
    env_id: tyro.conf.Positional[str | None] = None
    """A family."""
    num_tasks: int = 3
    """Tasks."""
    json: Path | None = None
    """A file."""
    search: Literal["cmaes", "gradient"] | None = None
    """How to search."""
    overwrite: bool = False
    """Replace it."""
    inner: tyro.conf.OmitArgPrefixes[Inner] = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.num_tasks < 0 and self.inner == Inner():
            raise ValueError(self.num_tasks)


def help_of(capsys: pytest.CaptureFixture[str], **how: bool) -> str:
    with pytest.raises(SystemExit):
        tyro.cli(shown_options(Outer, {"num_tasks": "tasks"}, **how), args=["--help"], description="It does.")
    return capsys.readouterr().out


def test_options_are_read_as_the_classes_that_are_meant() -> None:
    words = ["here", "Ant-v0", "--tasks", "7", "--json", "file", "--search", "cmaes", "--task", "a=1", "b=2"]
    read = as_meant(Outer, tyro.cli(shown_options(Outer, {"num_tasks": "tasks"}), args=words))
    assert read == Outer(Path("here"), "Ant-v0", 7, Path("file"), "cmaes", inner=Inner(("a=1", "b=2")))
    assert type(read) is Outer
    assert type(read.inner) is Inner
    assert as_meant(Outer, tyro.cli(shown_options(Outer, {}), args=["here"])) == Outer(Path("here"))


def test_options_are_checked_as_the_classes_that_are_meant() -> None:
    shown = shown_options(Outer, {})
    assert as_meant(Outer, tyro.cli(shown, args=["here", "--num-tasks", "-1", "--task", "a=1"])).num_tasks == -1
    with pytest.raises(ValueError, match="-1"):
        as_meant(Outer, tyro.cli(shown, args=["here", "--num-tasks", "-1"]))


def test_the_classes_that_are_meant_stay_as_they_are() -> None:
    before = [(one.name, one.type) for one in fields(Outer)]
    shown_options(Outer, {"num_tasks": "tasks"})
    assert [(one.name, one.type) for one in fields(Outer)] == before


def test_help_names_values_by_readable_words_and_says_no_default_where_there_is_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = help_of(capsys)
    assert re.search(r"^usage: .* RUN_DIR \[FAMILY\]", text)
    for option in ("--tasks INT", "--json FILE", "--search {cmaes,gradient}", "--task NAME=VALUE ..."):
        assert option in text
    assert "None" not in text
    assert "(default: )" not in text
    with pytest.raises(SystemExit):
        tyro.cli(shown_options(Several, {}), args=["--help"])
    assert "(default" not in capsys.readouterr().out
    assert "(default: 3)" in text
    assert "Options of a part." in text


def test_a_sentence_on_several_lines_of_the_source_is_wrapped_as_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert "Parameters of a task, which are many words on several lines." in help_of(capsys)
    assert sentences(Inner)["task"] == "Parameters of a task, which are many words on several lines."


def test_what_is_inherited_has_its_sentence_too() -> None:
    @dataclass(frozen=True)
    class Further(Inner):
        task: tuple[str, ...] = ("a=1",)
        more: int = 1
        """More."""

    assert sentences(Further) == {"task": sentences(Inner)["task"], "more": "More."}


def test_types_have_words_whatever_may_stand_in_their_place() -> None:
    assert [value_word(hint) for hint in (int, float | None, tuple[Path, ...], bool)] == [
        "INT",
        "FLOAT",
        "FILE ...",
        None,
    ]
    assert value_word(tuple[str, ...] | None, "KIND") == "KIND ..."
    assert value_word(tuple[int, float]) == "INT FLOAT"


def test_a_text_fits_the_terminal_and_keeps_what_is_indented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    text = wrapped_text("It does this\nand much else that is long.\n\n    a.onnx  b.onnx\n\nThe end.\n")
    assert max(map(len, text.splitlines())) < 30
    assert text.split("\n\n") == [" It does this and much else\n that is long.", "     a.onnx  b.onnx", " The end."]
