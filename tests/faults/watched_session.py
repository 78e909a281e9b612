"""A test session every public call of which is looked at: ``pytest -p tests.faults.watched_session --watched FILE``."""

import contextlib
import json
from pathlib import Path

import pytest

import rlmaml
import rlmaml_envs
from tests.faults.process_wide import Watch, watching

HELD = contextlib.ExitStack()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--watched", type=Path, help="where to write which functions were called and what they changed")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    watch, _ = HELD.enter_context(watching(rlmaml, rlmaml_envs))
    HELD.callback(write, session.config.getoption("--watched"), watch)


def pytest_sessionfinish(session: pytest.Session) -> None:
    HELD.close()


def write(path: Path, watch: Watch) -> None:
    """Write what was seen as JSON."""
    path.write_text(json.dumps({"called": sorted(watch.calls), "changed": watch.changed}))
