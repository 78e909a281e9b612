import json
import warnings
from pathlib import Path

import pytest

from rlmaml.base.errors import UserError
from rlmaml.base.plain_data import sealed
from rlmaml.settings.config_file import Config, config_of, read_config
from rlmaml.settings.whole import configure


def test_a_run_json_gives_all_of_a_runs_settings(tmp_path: Path) -> None:
    settings = configure("reptile", env_id="AntVel-v0", variant="gymnasium", hidden=(3, 4), outer_step="adam")
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"settings": settings.as_plain(), "commit": "abc"}))
    config = read_config(path)
    assert (config.settings, config.origin) == (settings, None)
    path.write_text(json.dumps({"settings": settings.as_plain(), "family": {"from": "ant.py:Ant", "sheet": {}}}))
    assert read_config(path) == config._replace(origin="ant.py:Ant")
    assert (config.words, config.env_id) == (("--algorithm", "reptile"), "AntVel-v0")


def test_a_run_json_that_is_not_as_the_run_wrote_it_is_read_and_told_of(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(sealed({"settings": configure(max_kl=0.01).as_plain()}), indent=2))
    assert read_config(path).settings == configure(max_kl=0.01)
    path.write_text(path.read_text().replace('"max_kl": 0.01', '"max_kl": 0.02'))
    with pytest.warns(UserWarning, match=r"run.json is read as it is now: its checksum is of other contents"):
        assert read_config(path).settings == configure(max_kl=0.02)


def test_a_bit_of_the_checksum_s_name_that_is_another_is_told_of_or_refused(tmp_path: Path) -> None:
    path, settings = tmp_path / "run.json", configure()
    written = json.dumps(sealed({"settings": settings.as_plain()}), indent=2).encode()
    start = written.index(b'"checksum"')
    for bit in range(8 * start, 8 * (start + len(b'"checksum":'))):
        damaged = bytearray(written)
        damaged[bit // 8] ^= 1 << bit % 8  # a quotation mark may come to begin YAML's comment, and all still be YAML
        path.write_bytes(damaged)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                assert read_config(path).settings == settings
            except UserError:
                continue
        assert "is read as it is now" in str(told[0].message), damaged


def test_yaml_gives_options_as_they_would_be_typed(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "algorithm: cavia\nmax-kl: 0.02\nnum_tasks: 7\nhidden: [3, 4]\nlearn_step_sizes: true\nfirst-order: false\n"
        "horizon:\n--env-id: AntVel-v0\n"
    )
    words = "--algorithm cavia --max-kl 0.02 --tasks 7 --hidden 3 4 --learn-step-sizes --no-first-order"
    assert read_config(path) == Config(None, (*words.split(), "--env-id", "AntVel-v0"))
    assert read_config(path).env_id == "AntVel-v0"
    assert read_config(None) == Config(None, ())
    assert read_config(None).env_id is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 3\n", "must hold options and their values"),
        ("3: 4\n", "must hold options and their values"),
        ("", "must hold options and their values"),
        ("a: [", "cannot be read: while parsing"),
        ("run:\n  seed: 3\n", "run holds further names"),
        ("hidden: [[8], 8]\n", "hidden holds further names or lists"),
        ("tasks: 3\ntasks: 4\n", "cannot be read: tasks is given twice"),
        ('{"settings": {"algorithm": "fomaml", "algorithm": "reptile"}}', "cannot be read: algorithm is given twice"),
        ("a: 2001-99-99\n", "cannot be read: month must be in"),
        ("a: !!bool maybe\n", "cannot be read: 'maybe'"),
        ("a: !!timestamp soon\n", "cannot be read: "),
        ("a: " + "[" * 5000, "cannot be read: it is nested too deeply"),
        ("settings: {algorithm: maml-trpo}\n", "does not fit this version"),
        ("tasks: --seed=3\n", "tasks is '--seed=3', which is an option; give it a line of its own"),
        ("hidden: [8, --seed]\n", "hidden is '--seed', which is an option"),
        ("seed=3: true\n", "'seed=3' is the name of no option"),
        ("'': 3\n", "'' is the name of no option"),
        ("config: other.yaml\n", r"mine.yaml names another file, other.yaml; put its options into this one"),
    ],
)
def test_what_holds_no_settings_is_refused_with_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_config(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.yaml cannot be read: No such file"):
        read_config(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    "text", ["policy: net.py:Net\n", "--policy: net.py:Net\n", "family: net.py:Net\n", "family: x\n"]
)
def test_code_that_a_file_names_is_refused_unless_the_command_line_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    name, _, value = text.strip().removeprefix("--").partition(": ")
    with pytest.raises(UserError, match=rf"because a file names it\. Say that its code may be run: --{name} {value}"):
        config_of(["--config", str(path)])
    words = (f"--{name}", value)
    assert config_of(["--config", str(path), f"--{name}", "mine.py:Net"]) == Config(None, words)
    assert config_of([f"--{name}=mine.py:Net", "--config", str(path)]) == Config(None, words)


def test_the_code_of_another_run_s_policy_is_refused_unless_the_command_line_names_it(tmp_path: Path) -> None:
    path, settings = tmp_path / "run.json", configure(policy="net.py:Net")
    path.write_text(json.dumps({"settings": settings.as_plain()}))
    with pytest.raises(UserError, match=r"Say that its code may be run: --policy net\.py:Net"):
        config_of(["--config", str(path)])
    assert config_of(["--config", str(path), "--policy", "gaussian"]).settings == settings
