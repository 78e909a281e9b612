import contextlib
import functools
import io
import runpy
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from rlmaml.settings.methods.registry import METHODS
from rlmaml.terminal import waiting
from tests.once import filled_once

SCRIPTS = Path(__file__).parents[1] / "scripts"

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")  # how fast a machine is decides nothing


@pytest.fixture(autouse=True, scope="session")
def _no_signs_of_life() -> None:
    """Tests read what is written to stderr, however slow the machine is."""
    waiting.PATIENCE = 1e6


@pytest.fixture(scope="session")
def operators_read_once() -> Iterator[None]:
    """ONNX's operators are parsed from their sources once, and not at every export."""
    library = import_module("torch.onnx._internal.exporter._registration").onnxscript_apis
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "get_torchlib_ops", functools.cache(library.get_torchlib_ops))
        yield


@pytest.fixture(scope="session")
def help_texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Script -> what its ``--help`` prints; of a method, too, ``train_nav.py --algorithm NAME``."""
    directory = filled_once(tmp_path_factory, "help", write_help)
    return {path.stem: path.read_text() for path in sorted(directory.glob("*.txt"))}


def write_help(directory: Path) -> None:
    """Write what each script's ``--help`` prints; what scripts share is no command."""
    commands: list[tuple[Path, list[str]]] = [
        (path, []) for path in sorted(SCRIPTS.glob("*.py")) if "__main__" in path.read_text()
    ]
    commands += [(SCRIPTS / "train_nav.py", ["--algorithm", method]) for method in METHODS]
    for path, words in commands:
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
            patch.setattr(sys, "argv", [path.name, *words, "--help"])
            patch.syspath_prepend(str(SCRIPTS))
            with pytest.raises(SystemExit):
                runpy.run_path(str(path), run_name="__main__")
        (directory / f"{' '.join([path.name, *words])}.txt").write_text(printed.getvalue())
