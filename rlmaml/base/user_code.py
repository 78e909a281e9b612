"""Code of the user's own that a command line names: an object of ``FILE.py:NAME`` or of ``package.module:NAME``.

Nothing that is stored runs code; a name that somebody typed does.
"""

import importlib
import importlib.util
import os
import site
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from rlmaml.base.errors import UserError

OURS = "rlmaml", "rlmaml_envs"
"""Packages of which there is one in a process, whatever lies beside a file."""


class Named(NamedTuple):
    """An object of the user's own."""

    value: Any
    name: str
    """Its name in the module."""
    place: str
    """Where it is, ``/path/of/FILE.py:NAME`` or ``package.module:NAME``."""
    text: str | None
    """The module's docstring."""


class OwnCodeError(RuntimeError):
    """Code of the user's own failed while it was used; the cause is what it raised."""

    of_own_code = True


def is_of_own_code(error: Exception) -> bool:
    """Whether an error says of itself, by ``of_own_code``, that code of the user's own is to blame, not ours."""
    return bool(getattr(error, "of_own_code", False))


def named_object(option: str, word: str) -> Named:
    """Run a file, or import a module, and look up a name in it.

    A file is run once in a process. What lies beside it can be imported by it, and modules of the working directory
    can be imported, unless something that is installed has their name; that a script of ours, or another file's
    neighbour, is called alike hides nothing.

    Args:
        option: of the command line, for the messages, e.g. ``"--family"``.
        word: ``FILE.py:NAME`` or ``package.module:NAME``.

    Raises:
        UserError: it is no such word, there is no such file, module or name, or the code fails or ends the program.

    Warns:
        What lies beside this file lies beside another one, too, that was run before.
    """
    source, colon, name = word.rpartition(":")
    if not (colon and source and name.isidentifier()):
        raise UserError(f"{option} is {word!r}; it must be FILE.py:NAME or package.module:NAME.")
    is_file = source.endswith(".py") or not all(part.isidentifier() for part in source.split("."))
    path = Path(source).expanduser().resolve()
    if is_file and not os.path.isfile(path):
        raise UserError(f"{option} is {word!r}, but there is no file {source}.")
    try:
        with _found_in(folder := path.parent if is_file else Path.cwd()) as twice:
            module = _run(path) if is_file else importlib.import_module(source)
    except SystemExit as error:
        raise UserError(
            f"{option}: {source} ends the program when it is run, with {error!r}. Put what it does as a program below "
            'if __name__ == "__main__".'
        ) from error
    except Exception as error:
        raise UserError(f"{option}: {source} cannot be {'run' if is_file else 'imported'}: {error!r}.") from error
    if twice:
        warnings.warn(
            f"{option}: {', '.join(twice)} is found in {folder} and beside another file of your own: a file has what "
            "lies beside it at its top; a function that imports it later has that of the first. Rename one of them.",
            stacklevel=2,
        )
    if not hasattr(module, name):
        raise UserError(f"{option} is {word!r}, but {source} has no {name} at its top level.")
    return Named(getattr(module, name), name, f"{path if is_file else source}:{name}", module.__doc__)


def _run(path: Path) -> ModuleType:
    """The module of a file, known by its path, so that files of one name are not taken for each other."""
    known = str(path)
    if known in sys.modules:
        return sys.modules[known]
    spec = importlib.util.spec_from_file_location(known, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python file, whose name ends in .py")
    module = sys.modules[known] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[known]
        raise
    return module


@contextmanager
def _found_in(folder: Path) -> Iterator[list[str]]:
    """Find modules in a folder, inside the block after what is installed alone, and from then on after all others.

    Modules and packages of a script, or of another folder, that are called as one here are set aside in the block: a
    ``defaults.py`` beside somebody's robot is not that of our scripts. The working directory is as before afterwards.

    Returns:
        What another file of the user's own has beside it, too: a function that imports it later is given the first one.
    """
    before, where = list(sys.path), os.getcwd()
    others = [entry for entry in before if not _is_installed(Path(entry)) and entry != str(folder)]
    inside = [*(entry for entry in before if _is_installed(Path(entry))), str(folder), *others]
    hidden = {name for name in _first_names() if _offers(folder, name) and not _belongs(sys.modules[name], folder)}
    own = {Path(name).parent for name in sys.modules.copy() if os.path.isabs(name)}
    twice = sorted(name for name in hidden if own & set(_places(sys.modules[name])))
    aside = {name: module for name, module in sys.modules.copy().items() if name.partition(".")[0] in hidden}
    for name in aside:
        del sys.modules[name]
    sys.path[:] = inside
    try:
        yield twice
    finally:
        added = [entry for entry in sys.path if entry not in inside]  # by the code itself
        sys.path[:] = [*before, *added, *[str(folder)] * (str(folder) not in before)]
        for name in [name for name in sys.modules.copy() if name.partition(".")[0] in hidden]:
            del sys.modules[name]
        sys.modules.update(aside)
        os.chdir(where)


def _first_names() -> set[str]:
    """Modules and packages that are there, without those in packages and without ours."""
    return {name for name in sys.modules.copy() if "." not in name and name not in (*OURS, "__main__")}


def _offers(folder: Path, name: str) -> bool:
    """Whether a folder has a module or a package of a name."""
    return (folder / f"{name}.py").is_file() or next((folder / name).glob("*.py"), None) is not None


def _places(module: object) -> list[Path]:
    """In which folders a module or a package is; none for what is Python's own."""
    file, paths = getattr(module, "__file__", None), list(getattr(module, "__path__", ()))
    return [Path(path).parent for path in paths] if paths else [Path(file).parent] if file else []


def _belongs(module: object, folder: Path) -> bool:
    """Whether a module is Python's, was installed, or is of a folder."""
    places = _places(module)
    return not places or any(place == folder or _is_installed(place) for place in places)


def _is_installed(place: Path) -> bool:
    """Whether modules in a folder are Python's own, or of packages that were installed."""
    paths = sysconfig.get_paths()
    roots = (paths["stdlib"], paths["platstdlib"], *site.getsitepackages(), site.getusersitepackages())
    return place.suffix == ".zip" or any(place.is_relative_to(root) for root in roots)
