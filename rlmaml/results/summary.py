"""The same experiment under several seeds, in one row."""

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from rlmaml.base.errors import UserError
from rlmaml.base.intervals import half_interval
from rlmaml.settings.config import COUNTED, TrainConfig
from rlmaml.training.record import METRICS
from rlmaml.training.run import EVALUATION


def summarise_seeds(run_dirs: Sequence[Path]) -> str:
    """Markdown rows: each run's mean return after every inner step, and their mean with a 95 % interval over seeds.

    Raises:
        UserError: a directory holds no finished run, or the runs differ in more than the seed.
    """
    reports = [_read(run_dir) for run_dir in run_dirs]
    free = {"seed", *(field.name for field in fields(TrainConfig) if field.metadata.get("free_on_resume"))} - COUNTED
    settings = [
        {name: value for name, value in report["config"]["config"].items() if name not in free} for report in reports
    ]
    if any(other != settings[0] for other in settings):
        raise UserError("The runs differ in more than their seed; summarise runs of one configuration.")
    means = np.array([report["returns"]["mean"] for report in reports])
    steps = means.shape[1]
    rows = [
        "| seed | " + " | ".join(f"after {k}" for k in range(steps)) + " | training, s |",
        "| --- |" + " ---: |" * (steps + 1),
    ]
    seconds = [_training_seconds(run_dir) for run_dir in run_dirs]
    for report, values, duration in zip(reports, means, seconds, strict=True):
        cells = " | ".join(f"{value:.2f}" for value in values)
        rows.append(f"| {report['config']['config']['seed']} | {cells} | {duration:.0f} |")
    cells = " | ".join(f"**{value:.2f}**" for value in means.mean(0))
    rows.append(f"| mean of {len(means)} seeds | {cells} | {np.mean(seconds):.0f} |")
    if len(means) > 1:
        half = half_interval(means)
        rows.append("| 95 % interval over seeds | " + " | ".join(f"± {value:.2f}" for value in half) + " | |")
    return "\n".join(rows)


def _read(run_dir: Path) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads((run_dir / EVALUATION).read_text())
        report["config"]["config"], report["returns"]["mean"]
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise UserError(f"There is no evaluation in {run_dir}: the run is missing or not finished.") from error
    return report


def _training_seconds(run_dir: Path) -> float:
    lines = (run_dir / METRICS).read_text().splitlines()
    return sum(float(json.loads(line)["seconds/iteration"]) for line in lines)
