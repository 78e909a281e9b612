"""What a policy was trained on, as its family said of itself, and whether a family still says so."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from rlmaml.base.errors import UserError
from rlmaml.base.plain_data import as_json, parse_object

FamilyRecord: TypeAlias = Mapping[str, Any]
"""``from``: the file, module or package where the family came from, without folders; ``sheet``: its data sheet,
as plain data. Empty where nobody said."""

MOST = 12
"""Fields that a refusal names."""


def family_record(env: Any) -> FamilyRecord:
    """What an environment says of its family; empty for one that says nothing."""
    if not hasattr(env, "sheet"):
        return {}
    record: FamilyRecord = parse_object(as_json({"from": env.origin.rpartition("/")[2], "sheet": env.sheet}))
    return record


def check_same_family(recorded: FamilyRecord, env: Any) -> None:
    """Refuse a policy in a family that has changed since its training.

    A field that the policy's record does not have at all, because data sheets had none of it, is not compared.

    Another variant, or another family, is another problem, in which one may try a policy knowingly.

    Args:
        recorded: of the policy.
        env: where it is to act.

    Raises:
        UserError: names the fields of the data sheet that differ, the first ``MOST`` of them with both values.
    """
    before, now = recorded.get("sheet", {}), family_record(env).get("sheet", {})
    if any(before.get(name) != now.get(name) for name in ("family", "variant")):
        return
    known = {name: value for name, value in now.items() if name in before}
    if before and (differing := sheet_differences(before, known)):
        more = [f"and {len(differing) - MOST} more"] if len(differing) > MOST else []
        raise UserError(
            f"The policy was trained on another {now['family']}, {now['variant']} (from {recorded['from']}): in its "
            f"data sheet, {'; '.join(differing[:MOST] + more)}. Give the family of the training, or train anew; what "
            "is meant to be another problem needs another name, or is another variant."
        )


def sheet_differences(before: Any, now: Any, field: str = "") -> list[str]:
    """The fields in which two data sheets differ, by their path, with both values."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        names = [*before, *(name for name in now if name not in before)]
        return [
            difference
            for name in names
            for difference in sheet_differences(before.get(name), now.get(name), f"{field}.{name}".lstrip("."))
        ]
    return [] if before == now else [f"{field} was {_said(before)} and is now {_said(now)}"]


def _said(value: Any) -> str:
    return "absent" if value is None else as_json(value)
