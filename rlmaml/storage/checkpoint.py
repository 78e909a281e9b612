"""Checkpoints: what is meta-learned, the meta-algorithm's state, and all settings, in one safetensors file.

A safetensors file holds numbers and text only, so nothing in a checkpoint can execute code. Randomness needs no
state: every draw follows from the seed and the iteration. The file is a function of its contents: tensors lie in
sections, ``section/entry``, and everything else is one JSON text, with the order of the entries, because sums go over
them in order, and a SHA-256 checksum over both. Sections beyond those that every checkpoint has are optional.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import safetensors
import safetensors.torch
import torch

from rlmaml.base.errors import UserError
from rlmaml.base.files import check_nameable, write_atomically
from rlmaml.base.lost_updates import LostUpdates
from rlmaml.base.plain_data import as_json, parse_object
from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.core.policy import Policy
from rlmaml.core.types import Memory, Meta, Params
from rlmaml.policies.sizes import Sizes, stored_sizes
from rlmaml.settings.whole import Settings, from_plain
from rlmaml.storage.family_record import FamilyRecord
from rlmaml.storage.no_policy import no_policy_at, what_it_is

FORMAT = "rlmaml-checkpoint-2"
HEADER = "rlmaml"
"""The one key of the file's metadata."""
PARAMS, RATES, STATE, MEMORY = "params", "rates", "state", "memory"


AdaptationRecord: TypeAlias = Mapping[str, Any]
"""``episodes``: how many it adapted on; where they are known, ``task`` in words, ``task_values`` by name, and
``returns``: the mean return ``before`` and ``after``, each with ``sampled`` and with ``mean`` actions, on fresh
episodes. Empty for none."""

CURE = "Choose the variant of the training, or one with the same observations and actions."
"""Where a policy does not fit."""
CURE_OF_WEIGHTS = f"{CURE} Where they are the same, another version of rlmaml wrote it: use that one, or train anew."
"""Where weights have other names or shapes than this version gives them."""
LARGEST_COUNT = 1 << 40
"""Of iterations, observations and the like; more are none."""


class Checkpoint(NamedTuple):
    """A run after ``iteration`` completed meta-iterations; theta may since have taken steps on one task."""

    meta: Meta
    iteration: int
    settings: Settings
    """Of the run; the variant is the one in which theta adapted since, where it did."""
    sizes: Sizes
    state: Params = {}  # noqa: RUF012 (never written to)
    """The meta-algorithm's, by name."""
    steps_taken: int = 0
    memory: Params = {}  # noqa: RUF012 (never written to)
    """What a policy that remembers has lived through on one task, by the fields of a memory; empty for nothing."""
    family: FamilyRecord = {}  # noqa: RUF012 (never written to)
    """What it was trained on."""
    lost: LostUpdates = LostUpdates()
    adaptation: AdaptationRecord = {}  # noqa: RUF012 (never written to)
    """What theta adapted to since, and what came of it."""


def save_checkpoint(path: Path | str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically: an earlier one stays intact until the new one is complete.

    Raises:
        UserError: the directory is not writable or the disk is full.
    """
    write_atomically(path, checkpoint_bytes(checkpoint))


def checkpoint_bytes(checkpoint: Checkpoint) -> bytes:
    """The file's content; the same checkpoint gives the same bytes."""
    sections = {
        PARAMS: checkpoint.meta.params,
        RATES: checkpoint.meta.rates,
        STATE: checkpoint.state,
        MEMORY: checkpoint.memory,
    }
    tensors = {
        f"{section}/{name}": tensor.detach().cpu().contiguous().clone()
        for section, entries in sections.items()
        for name, tensor in entries.items()
    }
    text = {
        "format": FORMAT,
        "iteration": checkpoint.iteration,
        "steps_taken": checkpoint.steps_taken,
        "sizes": checkpoint.sizes._asdict(),
        "settings": checkpoint.settings.as_plain(),
        "order": {section: list(entries) for section, entries in sections.items() if entries},
        "family": dict(checkpoint.family),
        "lost_updates": checkpoint.lost._asdict(),
    }
    if checkpoint.adaptation:
        text["adaptation"] = dict(checkpoint.adaptation)
    text["checksum"] = checksum(text, tensors)
    return safetensors.torch.save(tensors, {HEADER: as_json(text)})


@ordinary_torch()
def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, onto the CPU.

    Raises:
        UserError: there is none, it is truncated or damaged, it holds numbers that are not finite, or it was written by
            something else or by another version.
    """
    check_nameable(path)
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is truncated, or no checkpoint at all: it is no file.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copies: what is mapped would change with the file.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise no_policy_at(path) from error
    except (safetensors.SafetensorError, OSError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        told = what_it_is(path) or f"is truncated, or no checkpoint at all: {error}."
        raise UserError(f"{path} {told}") from error
    try:
        written = metadata.get(HEADER, as_json({"format": metadata.get("format")}))
        text = parse_object(written)
        if text.get("format") != FORMAT:
            raise UserError(
                f"It is not a checkpoint of this version of rlmaml: its format is {text.get('format')!r}; legal is "
                f"{FORMAT!r}. Train anew, or use the version that wrote it."
            )
        as_we_spell_it = as_json(text)
        claimed = text.pop("checksum", None)
        if written != as_we_spell_it or claimed != checksum(text, tensors):
            raise UserError("It is damaged: its contents are not those of which it holds the checksum.")
        sections = {
            section: {name: tensors[f"{section}/{name}"] for name in names} for section, names in text["order"].items()
        }
        check_finite(sections)
        check_counts(text)
        return Checkpoint(
            meta=Meta(sections[PARAMS], sections.get(RATES, {})),
            iteration=text["iteration"],
            settings=from_plain(text["settings"]),
            sizes=stored_sizes(text["sizes"]),
            state=sections.get(STATE, {}),
            steps_taken=text["steps_taken"],
            memory=sections.get(MEMORY, {}),
            family=text.get("family", {}),
            lost=LostUpdates(**text.get("lost_updates", {})),
            adaptation=text.get("adaptation", {}),
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (AttributeError, KeyError, RecursionError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged: what it says of itself cannot be read ({error!r}).") from error


def checksum(text: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over the text and every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(as_json(text, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_finite(sections: Mapping[str, Params]) -> None:
    """Refuse NaN and infinity.

    Raises:
        UserError: names the first entry that has one.
    """
    for section, entries in sections.items():
        for name, tensor in entries.items():
            if not bool(tensor.isfinite().all()):
                raise UserError(f"Its {name}, of {section}, holds NaN or infinite numbers. Use an earlier checkpoint.")


def check_counts(text: Mapping[str, Any]) -> None:
    """Refuse numbers of iterations, steps, observations and actions that are none.

    Raises:
        ValueError: names the first one.
    """
    counts = {key: text[key] for key in ("iteration", "steps_taken")} | text.get("lost_updates", {}) | text["sizes"]
    counts.pop("parts", None)
    for name, count in counts.items():
        if name in ("discrete", "extended"):
            legal = isinstance(count, bool)
        else:
            legal = type(count) is int and 0 <= count <= LARGEST_COUNT
        if not legal:
            raise ValueError(f"{name} is {count!r}")


def check_sizes_fit(stored: Sizes, here: Sizes, observed: str) -> None:
    """Refuse an environment with other numbers of observations or actions, before a policy is made for it.

    Args:
        stored: those of the training.
        here: those of the environment.
        observed: the environment, for the message.

    Raises:
        UserError: names both.
    """

    def words(sizes: Sizes) -> str:
        acts = "choices" if sizes.discrete else "numbers"
        return f"observations of {sizes.observation} numbers and actions of {sizes.action} {acts}"

    if words(stored) != words(here):
        raise UserError(
            f"The policy does not fit {observed}: it has {words(stored)}, and there are {words(here)}. {CURE}"
        )


def check_fits(checkpoint: Checkpoint, fresh: Meta, observed: str) -> None:
    """Refuse a checkpoint whose meta-parameters are not those of the policy and rule that it is used with.

    Args:
        checkpoint: as read.
        fresh: what theta and rates look like here; see :func:`rlmaml.rules.adaptation_rule.meta_like`.
        observed: the environment, for the message.

    Raises:
        UserError: names the first entry that differs in name, shape or type.
    """
    for stored, expected, what in zip(checkpoint.meta, fresh, ("", "rate of "), strict=True):
        check_entries(stored, expected, what, observed)


def check_entries(stored: Params, expected: Params, what: str, observed: str) -> None:
    """Refuse tensors that are not named, shaped and typed as those that are expected.

    Args:
        stored: as read.
        expected: what they should look like.
        what: what they are, before their names in the message.
        observed: what they are used with, for the message.

    Raises:
        UserError: names the first one that differs.
    """
    for name, tensor in expected.items():
        found = stored.get(name)
        if found is None or found.shape != tensor.shape:
            shape = "is missing" if found is None else f"has shape {tuple(found.shape)}"
            raise UserError(
                f"The checkpoint does not fit {observed}: its {what}{name} {shape}, and {tuple(tensor.shape)} is "
                f"needed. {CURE_OF_WEIGHTS}"
            )
        if found.dtype != tensor.dtype:
            raise UserError(
                f"The checkpoint does not fit {observed}: its {what}{name} is of {found.dtype}, and {tensor.dtype} is "
                "needed. Use a checkpoint as a training wrote it."
            )
    for name in stored:
        if name not in expected:
            raise UserError(
                f"The checkpoint does not fit {observed}: its {what}{name} is not known there. {CURE_OF_WEIGHTS}"
            )


def remembered(checkpoint: Checkpoint, policy: Policy) -> Memory | None:
    """What a checkpoint's policy remembers of one task; None for nothing.

    Raises:
        UserError: it is not named, shaped and typed as what this policy remembers.
    """
    if not checkpoint.memory:
        return None
    sizes, observed = checkpoint.sizes, "the policy that it says it holds"
    carry = policy.start(checkpoint.meta.params, (1, 1))
    action = torch.zeros((1, 1), dtype=torch.int64) if sizes.discrete else torch.zeros(1, 1, sizes.action)
    like = Memory(carry, action, torch.zeros(1, 1))._asdict()
    tensors = {name: tensor for name, tensor in like.items() if isinstance(tensor, torch.Tensor)}
    check_entries(checkpoint.memory, tensors, "memory's ", observed)
    return Memory(**checkpoint.memory)
