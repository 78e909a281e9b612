import ast
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmaml.base.errors import NonFiniteError, UserError
from rlmaml.base.plain_data import DamagedError, as_json, parse_object, read_file, read_json, sealed, unsealed


def test_an_object_is_read_as_it_was_written(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None, True], "b": {"µ": "text"}}
    (tmp_path / "x.json").write_text(json.dumps(content))
    assert read_json(tmp_path / "x.json") == content
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "absent")


def test_an_object_is_sealed_by_what_it_holds_however_it_is_laid_out() -> None:
    content = {"b": [1, 2.5e-7, None, (True,)], "a": {10: "µ", 9: -0.0}}
    written = sealed(content)
    plain = parse_object(as_json(content))
    assert list(written) == ["b", "a", "checksum"]
    assert unsealed(parse_object(as_json(written))) == plain
    assert unsealed(parse_object(as_json(written, indent=7, sort_keys=True))) == plain
    assert unsealed(plain) == plain  # which somebody else wrote
    others: tuple[dict[str, Any], ...] = ({"b": [1, 2.5e-7, None, [False]]}, {"a": {}}, {"more": 0})
    for other in others:
        with pytest.raises(ValueError, match="its checksum is of other contents"):
            unsealed({**parse_object(as_json(written)), **other})


def test_a_file_of_other_contents_than_were_written_is_refused_with_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(as_json(sealed({"return": -9.84})))
    assert read_json(path) == {"return": -9.84}
    path.write_text(path.read_text().replace("-9.84", "-8.84"))
    with pytest.raises(DamagedError, match="Where they were changed on purpose, delete its checksum"):
        read_json(path)
    path.write_text(json.dumps({"return": -8.84}))
    assert read_json(path) == {"return": -8.84}


def test_any_bit_of_a_sealed_file_that_is_another_is_refused_or_nothing_else_is_read(tmp_path: Path) -> None:
    path, content = tmp_path / "x.json", {"a": [1, -2.5e-07], "text": "µ", "n": None}
    for indent in (None, 2):
        written, refused = as_json(sealed(content), indent=indent).encode(), 0
        for bit in range(8 * len(written)):
            damaged = bytearray(written)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            try:
                assert read_json(path) == content, damaged
            except DamagedError:
                refused += 1
        assert refused > 8 * len(written) - 50, "what is laid out, or spelled, in another way"


def test_a_checksum_under_another_name_is_refused_wherever_there_is_none_of_its_own() -> None:
    written = sealed({"commit": "f" * 64, "a": 1})
    others = {name: value for name, value in written.items() if name != "checksum"}
    assert unsealed(others) == others  # deleted on purpose
    with pytest.raises(ValueError, match="its checksum is called 'chgcksum'"):
        unsealed({**others, "chgcksum": written["checksum"]})
    assert unsealed({}) == {}


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"{", b"[]", b"7", b"null", b'"text"', b"\xff{}", b"{}{}"),
        *(b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": 1e999}', b'{"a": 1' + 400 * b"0" + b"}", b'{"a": 1, "a": 2}'),
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"[" * 100_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_no_json_object_is_refused_with_its_file(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text)
    with pytest.raises(DamagedError, match=r"x\.json is damaged, or no such file at all"):
        read_json(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it is no file"):
        read_file(tmp_path)


@given(st.binary(max_size=40))
def test_any_bytes_are_an_object_or_a_value_error(content: bytes) -> None:
    try:
        found: Any = parse_object(content)
    except ValueError:
        return
    assert isinstance(found, dict)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_does_not_have_is_refused_with_where_it_is(wrong: float) -> None:
    plain = {"a": [1, 2.5, None, True], "b": {"µ": ("text", 1e300)}}
    assert parse_object(as_json(plain, indent=2)) == json.loads(json.dumps(plain))
    with pytest.raises(NonFiniteError, match=r"^returns.mean.1 became NaN or infinite: JSON has no such number"):
        as_json({"a": 1.0, "returns": {"mean": (0.0, wrong)}})
    with pytest.raises(NonFiniteError, match=r"^A number became"):
        as_json(wrong)


def test_all_json_is_written_by_one_function_and_read_by_one() -> None:
    root = Path(__file__).parents[3]
    for path in [*(root / "rlmaml").rglob("*.py"), *(root / "scripts").glob("*.py"), *(root / "envs").rglob("*.py")]:
        if path.name != "plain_data.py":
            for node in ast.walk(ast.parse(path.read_text())):
                of = node.value.id if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) else ""
                names = ("load", "loads", "dump", "dumps", "JSONDecoder", "JSONEncoder") if of == "json" else ("dumps",)
                used = isinstance(node, ast.Attribute) and node.attr in names
                brought = isinstance(node, ast.ImportFrom) and node.module == "json"
                assert not used, f"{path}:{getattr(node, 'lineno', 0)}"
                assert not brought, f"{path}:{getattr(node, 'lineno', 0)}"
