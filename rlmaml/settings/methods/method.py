"""What the registry of methods knows of one, without importing it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from rlmaml.settings.inner import InnerSettings, MemorySettings


class Method(NamedTuple):
    """A name that ``--algorithm`` takes: settings of an inner rule, a meta-algorithm with its own, and defaults."""

    name: str
    summary: str
    """What it is, with its paper."""
    module: str
    """Where the meta-algorithm is: a module with ``meta_algorithm(settings)``, imported on first use."""
    inner: type[InnerSettings] | type[MemorySettings]
    """Settings of the inner rule."""
    outer: type[Any]
    """Settings of the meta-algorithm, a frozen dataclass."""
    policy: str | None = None
    """The kind of policy that it needs; None where any kind will do."""
    stands_for: Mapping[str, Any] = MappingProxyType({})
    """Values that the name stands for, by field: they cannot be changed."""
    defaults: Mapping[str, Any] = MappingProxyType({})
    """Values from which the method begins, whatever others begin from, by field."""
