"""All settings of a run: each group belongs to its owner; a flat view of them serves command lines and tables."""

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlmaml.base.errors import UserError
from rlmaml.settings.advantages import AdvantageSettings
from rlmaml.settings.checks import option, without_folders
from rlmaml.settings.methods.registry import find_method
from rlmaml.settings.policy import policy_settings
from rlmaml.settings.run import RunSettings

CHOICES = ("env_id", "algorithm", "policy")
"""Settings on which depends what others there are, or what they are by default."""
LOSS = {"inner_loss"}
STEPS = {"inner_steps", "inner_step_sizes", "stage_weights", "adapt", "adapt_std"}
"""Settings that another method may be unable to take over."""

SCHEDULES = ("cosine_iterations", "first_order_until", "anneal_stage_weights")
"""Settings that are a number of meta-iterations, of 0 for none."""


class OtherSettingsError(UserError):
    """A run was to be gone on with under settings that would have made it another one."""


@dataclass(frozen=True)
class Settings:
    """All settings of a run; ``algorithm`` and ``policy`` say which classes ``inner``, ``outer``, ``network`` have."""

    algorithm: str
    policy: str
    run: RunSettings
    advantages: AdvantageSettings
    inner: Any
    outer: Any
    network: Any

    def __post_init__(self) -> None:
        """Check what one owner's settings ask of another's, and that the method is the one that its name says.

        Raises:
            UserError: names the option, what was received and what is legal.
        """
        for owner, kind in owner_classes(self.algorithm, self.policy).items():
            if type(getattr(self, owner)) is not kind:
                raise UserError(
                    f"The settings of {owner} are {getattr(self, owner)!r}; {self.algorithm} with a {self.policy} "
                    f"policy needs {kind.__name__}. Make them with rlmaml.settings.whole.configure."
                )
        for name, value in find_method(self.algorithm).stands_for.items():
            received = self.flat()[name]
            if received != value:
                raise UserError(
                    f"{option(name)} is {received!r}, but --algorithm {self.algorithm} stands for {value!r}. Choose "
                    "another --algorithm."
                )
        if getattr(self.network, "memory", 1) == 0 and "memory" not in find_method(self.algorithm).stands_for:
            raise UserError(
                "--memory is 0; it must be at least 1. What remembers nothing is --policy gaussian, and one policy for "
                "all tasks that is trained as rl2 is --algorithm robust."
            )
        if hasattr(self.outer, "check_with"):
            self.outer.check_with(self.inner)
        if hasattr(self.outer, "check_within"):
            self.outer.check_within(self.run, self.advantages)
        self.inner.check_with(self.network)
        if hasattr(self.inner, "check_advantages"):
            self.inner.check_advantages(self.advantages)

    def changed(self, **options: Any) -> "Settings":
        """The same settings but for some fields, given by name whoever owns them.

        Raises:
            UserError: nobody has such a field, or a value is illegal.
        """
        owned: dict[str, dict[str, Any]] = {}
        owners = self._owners()
        for name, value in options.items():
            if name not in owners:
                raise UserError(_unknown(self.algorithm, self.policy, name, list(owners)))
            owned.setdefault(owners[name], {})[name] = value
        parts = {owner: dataclasses.replace(getattr(self, owner), **values) for owner, values in owned.items()}
        return dataclasses.replace(self, **parts)

    @property
    def task_blocks(self) -> int | None:
        """Blocks that the tasks are in for sums over them; None where every task is one."""
        return getattr(self.outer, "blocks", None)

    def has(self, name: str) -> bool:
        """Whether somebody owns a field of this name."""
        return name in self._owners()

    def flat(self) -> dict[str, Any]:
        """Every setting by its field's name, as it is written: :meth:`as_plain`."""
        return {"algorithm": self.algorithm, "policy": self.policy, **self._values(), **self._told()}

    def as_plain(self) -> dict[str, Any]:
        """The settings as plain data, which :func:`from_plain` reads: places without folders, to be written."""
        told, plain = self._told(), dataclasses.asdict(self)
        return {**plain, "policy": told["policy"], "run": {**plain["run"], "start_from": told["start_from"]}}

    def marked(self, mark: str) -> set[str]:
        """Fields with a mark of :func:`rlmaml.settings.checks.free`: ``"free_on_resume"`` or ``"counts"``."""
        return {
            field.name
            for owner in owner_classes(self.algorithm, self.policy)
            for field in dataclasses.fields(getattr(self, owner))
            if field.metadata.get(mark)
        }

    def _owners(self) -> dict[str, str]:
        return _owners_of(self.algorithm, self.policy)

    def _values(self) -> dict[str, Any]:
        """Every field of every owner, as it was given."""
        return {name: getattr(getattr(self, owner), name) for name, owner in self._owners().items()}

    def _told(self) -> dict[str, str]:
        """What is written of the settings that may name a place."""
        return {"policy": without_folders(self.policy), "start_from": without_folders(self.run.start_from)}


def owner_classes(algorithm: str, policy: str) -> dict[str, type[Any]]:
    """Owner -> the class of its settings, for a method and a policy kind.

    Raises:
        UserError: there is no such method or kind.
    """
    method = find_method(algorithm)
    return {
        "run": RunSettings,
        "inner": method.inner,
        "outer": method.outer,
        "network": policy_settings(policy),
        "advantages": AdvantageSettings,
    }


def configure(algorithm: str = "maml-trpo", policy: str | None = None, **options: Any) -> Settings:
    """The settings of a method and a policy kind, with its defaults and these changes, given by field name.

    Without a kind, it is the one that the method needs, or ``gaussian``.

    Raises:
        UserError: there is no such method, kind or field, or a value is illegal.
    """
    method = find_method(algorithm)
    policy = policy or method.policy or "gaussian"
    owned: dict[str, dict[str, Any]] = {owner: {} for owner in owner_classes(algorithm, policy)}
    owners = _owners_of(algorithm, policy)
    begins_from = {name: value for name, value in method.defaults.items() if name in owners}
    for name, value in {**begins_from, **method.stands_for, **options}.items():
        if name not in owners:
            raise UserError(_unknown(algorithm, policy, name, list(owners)))
        owned[owners[name]][name] = value
    parts = {owner: kind(**owned[owner]) for owner, kind in owner_classes(algorithm, policy).items()}
    return Settings(algorithm, policy, **parts)


def as_method(settings: Settings, algorithm: str, policy: str | None = None) -> Settings:
    """The settings of another method or policy kind that agree with these wherever both have a field.

    Without a kind, it is the one that the method needs, or that of these settings.

    What a method stands for, and begins from and still has, is its own, and goes with it, with schedules of this
    length; so are settings of a meta-algorithm that another one has by the same name alone, such as a step size. So is
    its inner loss where these have one that makes no sense for the new one; and where these have no inner steps, or
    others than the new one can take, so are its steps, what adapts in them, and the stages' weights.

    Raises:
        UserError: there is no such method or kind.
    """
    needed = find_method(settings.algorithm).policy  # by the method that is left, and not by any other
    kept = "gaussian" if settings.policy == needed and algorithm != settings.algorithm else settings.policy
    policy = policy or find_method(algorithm).policy or kept
    if (algorithm, policy) == (settings.algorithm, settings.policy):
        return settings
    method, names = find_method(algorithm), {*_owners_of(algorithm, policy)}
    meanings = _declared(type(settings.outer)).items() ^ _declared(method.outer).items()
    others = {name for name, _ in meanings}  # of a meta-algorithm: what one calls epochs need not be another's
    shared = {name: value for name, value in settings._values().items() if name in names - others}
    if algorithm != settings.algorithm:
        left = find_method(settings.algorithm)
        own = {**left.defaults, **left.stands_for}
        shared = {name: value for name, value in shared.items() if name not in own or own[name] != value}
        longer = settings.run.iterations / RunSettings.iterations if settings.run.iterations else 1.0
        shared |= {name: value for name, value in _rescaled(method.defaults, longer).items() if name in names}
        shared |= method.stands_for
        if shared.get("adapt") == "head":
            shared.pop("context", None)  # beside a head that adapts alone it would stay 0
    may_stay = {*method.defaults, *method.stands_for}
    for left_out in (set[str](), LOSS, STEPS):
        with contextlib.suppress(UserError):
            return configure(algorithm, policy, **_without(shared, left_out - may_stay))
    return configure(algorithm, policy, **_without(shared, (LOSS | STEPS) - may_stay))


def of_length(settings: Settings, iterations: int) -> Settings:
    """The settings for a training of another length, whose schedules are as much of it as they were.

    Otherwise a shorter training would end before its step size has fallen, and a longer one would stand still.
    """
    if not settings.run.iterations:
        return settings.changed(iterations=iterations)
    flat = settings.flat()
    return settings.changed(
        iterations=iterations,
        **_rescaled({name: flat[name] for name in SCHEDULES if name in flat}, iterations / settings.run.iterations),
    )


def from_plain(stored: Any) -> Settings:
    """Settings from what :meth:`Settings.as_plain` made of them.

    Raises:
        UserError: it is not a configuration of this version.
    """
    try:
        classes = owner_classes(stored["algorithm"], stored["policy"])
        parts = {owner: kind(**_tuples(stored[owner])) for owner, kind in classes.items()}
        return Settings(stored["algorithm"], stored["policy"], **parts)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"The stored configuration does not fit this version of rlmaml: {error!r}. Use the version that wrote "
            "it, or train anew."
        ) from error


def differences(stored: Settings, requested: Settings, *, counted: bool = False) -> list[str]:
    """Settings that make one run another, where they differ, with both values.

    Args:
        stored: of the run that is there.
        requested: what is asked for.
        counted: also those that a resumed run may change, but that move what it reaches.
    """
    return list(_differing(stored, requested, counted=counted).values())


def _differing(stored: Settings, requested: Settings, *, counted: bool = False) -> dict[str, str]:
    """Name of a setting -> what :func:`differences` says of it."""
    free = stored.marked("free_on_resume") - (stored.marked("counts") if counted else set())
    ours, theirs = requested.flat(), stored.flat()
    return {
        name: f"{option(name)} was {theirs.get(name)!r} and is now {ours.get(name)!r}"
        for name in {**theirs, **ours}
        if name not in free and theirs.get(name) != ours.get(name)
    }


def check_resumable(stored: Settings, requested: Settings) -> None:
    """Refuse to continue a run under settings that would have made it another run.

    Raises:
        OtherSettingsError: names every differing field, with both values; where a family, a method or a policy's kind
            is another, these alone, for they bring other settings with them.
    """
    if differing := _differing(stored, requested):
        told = [words for name, words in differing.items() if name in CHOICES] or list(differing.values())
        if len(told) < len(differing):
            told.append("other settings follow from that")
        raise OtherSettingsError(
            f"The run to resume has another configuration: {'; '.join(told)}. "
            "Repeat its options, or start a new run with another --run-dir."
        )


def _owners_of(algorithm: str, policy: str) -> dict[str, str]:
    """Field -> its owner, for a method and a policy kind."""
    return {
        field.name: owner
        for owner, kind in owner_classes(algorithm, policy).items()
        for field in dataclasses.fields(kind)
    }


def _declared(kind: type[Any]) -> dict[str, type[Any]]:
    """Field of some settings -> the first class that has it: fields of one class mean the same wherever they are."""
    owners = [owner for owner in kind.__mro__ if dataclasses.is_dataclass(owner)]
    return {field.name: owner for owner in owners for field in dataclasses.fields(owner)}


def _rescaled(values: Mapping[str, Any], longer: float) -> dict[str, Any]:
    """The values with schedules so many times as long; one that there is does not vanish."""
    scaled = {name: max(1, round(longer * values[name])) for name in SCHEDULES if values.get(name)}
    return {**values, **scaled}


def _without(values: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _unknown(algorithm: str, policy: str, name: str, known: list[str]) -> str:
    listed = ", ".join(option(other) for other in known)
    return f"{option(name)} is not a setting of {algorithm} with a {policy} policy. It has: {listed}."
