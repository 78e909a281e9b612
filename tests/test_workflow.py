from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_the_forge_runs_what_a_change_must_pass_and_every_night_what_is_slow_on_every_python() -> None:
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "check.yml").read_text())
    steps = {name: [step.get("run") for step in job["steps"]] for name, job in flow["jobs"].items()}
    assert ".ci/run" in steps["check"]
    assert "make slow" in steps["nightly"]
    for job in flow["jobs"].values():
        assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert flow[True]["schedule"]  # YAML's "on"
    assert "make lint types" in (ROOT / ".ci" / "run").read_text()
