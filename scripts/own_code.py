"""Code of the user's own, a policy or a task family, which is run where it is named, and nowhere else."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlmaml.base.errors import UserError
from rlmaml.settings.config_file import Config
from supervised import check_of_episodes

if TYPE_CHECKING:
    from rlmaml.deploy.adaptable import AdaptablePolicy
    from rlmaml.storage.checkpoint import Checkpoint


@dataclass(frozen=True)
class OwnCode:
    """Code of the user's own that a stored policy needs, and that is run where it is named, and nowhere else."""

    policy: str | None = None
    """Let this torch module of your own, FILE.py:NAME, be run; needed where the run's policy is one."""
    family: str | None = None
    """Let this task family of your own, FILE.py:NAME or package.module:NAME, be run; needed where the run's is one."""

    def allow(self) -> None:
        """Run it.

        Raises:
            UserError: there is no such file, module or name, or it is none of the kind.
        """
        allow_policy(self.policy)
        if self.family:
            allow_family(self.family)

    def check(self, trained: "Checkpoint | AdaptablePolicy") -> None:
        """Refuse a policy of another family than the one that was named, or of one that is not known here.

        Raises:
            UserError: names both, or where the policy's family came from; or it is of supervised tasks.
        """
        from rlmaml_envs.registry import FAMILIES

        env_id = trained.settings.run.env_id
        check_of_episodes(env_id)
        if self.family and allow_family(self.family) != env_id:
            raise UserError(
                f"The policy was trained on {env_id}; --family {self.family} is {allow_family(self.family)}."
            )
        if env_id not in FAMILIES and trained.family:
            raise UserError(
                f"The policy was trained on a task family of your own, {env_id}, from {trained.family['from']}. Say "
                "that its code may be run: --family FILE.py:NAME, or package.module:NAME."
            )


def allow_policy(kind: str | None) -> None:
    """Let a torch module of the user's own, FILE.py:NAME, be run; other kinds are known anyway.

    Raises:
        UserError: there is no such file or name.
    """
    if kind and ":" in kind:
        from rlmaml.policies.kinds import register_module

        register_module(kind)


def allow_family(word: str) -> str:
    """Let a task family of the user's own be run, and make it known by its id, NAME-v0, in this process.

    Args:
        word: FILE.py:NAME or package.module:NAME.

    Returns:
        The id.

    Raises:
        UserError: there is no such file, module or name, it is no family, or its id is taken.
    """
    from rlmaml.base.user_code import named_object

    found = named_object("--family", word)
    env_id = f"{found.name}-v0"
    try:
        from rlmaml_envs import register_family
        from rlmaml_envs.registry import FAMILIES, origin_of

        if env_id not in FAMILIES or origin_of(env_id) != found.place:
            register_family(env_id, found.value, origin=found.place, text=found.text)
    except (ImportError, ValueError) as error:
        raise UserError(f"--family {word}: {error}") from error
    return env_id


def chosen_family(env_id: str | None, word: str | None, default: str | None = None) -> str:
    """The id of the family that a command names: its own, that of ``--family``, or the default one.

    Raises:
        UserError: it names two, or none; or see :func:`allow_family`.
    """
    if env_id and word:
        raise UserError(f"{env_id} names a task family, and so does --family {word}. Give one of them.")
    if not (env_id or word or default):
        raise UserError("Give the task family first, e.g. HalfCheetahDir-v0, or one of your own with --family.")
    return allow_family(word) if word else str(env_id or default)


def family_of(config: Config) -> str | None:
    """The id of the family that the file of ``--config`` is of; None where it says nothing.

    Raises:
        UserError: it is one of the user's own that is not known here.
    """
    from rlmaml_envs.registry import FAMILIES

    if config.settings is not None and config.env_id not in FAMILIES:
        raise UserError(
            f"--config is of a run on {config.env_id}, which is none of our families"
            f"{f', from {config.origin}' if config.origin else ''}. Say that its code may be run: --family "
            "FILE.py:NAME, or package.module:NAME; or name one of ours."
        )
    return config.env_id
